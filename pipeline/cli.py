"""The `finetune` command, and `main`, which makes a recipe file a script."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, Literal

import tyro

from pipeline import commands, fetched, paths
from pipeline import folder as folders
from pipeline.errors import EXIT_INTERRUPTED, EXIT_LOST, STOPPING, Interrupted, UserError, reason, report, suggest
from pipeline.recipe import TRAINED_TOKENIZERS, Data, Pretrained, Recipe, Recurrent, check_trust, read_json
from pipeline.training import dashboards

Arguments = Sequence[str]

LOST = (
    "stopped: another process of this run has ended, and has said why if it could; the same command goes on from the"
    " last checkpoint"
)

# The recipe file that is being imported: its `main` must not run then.
_loading: list[Path] = []


def main(recipe: Recipe) -> None:
    """Run `recipe`, changed by the flags on the command line; then exit."""
    if _loading:
        raise UserError(f"main(recipe) runs while {_loading[-1]} is loaded; put it under: if __name__ == '__main__':")
    _stop_on_signals()
    sys.exit(_guarded(lambda: _train(recipe, sys.argv[1:], Path(sys.argv[0]).name)))


def entry() -> None:
    """The `finetune` command."""
    signal.signal(signal.SIGTERM, _terminate)
    sys.exit(_guarded(lambda: _dispatch(sys.argv[1:])))


def _guarded(action: Callable[[], None]) -> int:
    """The exit code of `action`: 0 done, 2 the user's mistake, 75 stopped by a signal, to be continued, 69 left alone
    by another process of the run, 1 all else."""
    try:
        try:
            action()
        finally:
            if sys.stdout:
                sys.stdout.flush()  # here, where a reader that has left is understood
    except UserError as error:
        return _leave(report(error))
    except Interrupted:
        print("stopped; what is written is complete and the same command continues", file=sys.stderr)
        return _leave(EXIT_INTERRUPTED)
    except KeyboardInterrupt:
        print("stopped; a run goes on from its last checkpoint, if it has left one", file=sys.stderr)
        return _leave(130)
    except BrokenPipeError:  # the reader of our output has left; the interpreter must not flush into it again
        sys.stdout = None
        return _leave(141)
    except Exception as error:
        if _has_lost_another(error):
            print(LOST, file=sys.stderr)
            return _leave(EXIT_LOST)
        sys.excepthook(*sys.exc_info())
        return _leave(1)
    return _leave(0)


def _leave(code: int) -> int:
    """`code`, unless others run beside this process: it ends here then."""
    if "torch" in sys.modules:  # a command that has not imported it has joined nobody
        from pipeline.training import world

        world.leave(code)
    return code


def _has_lost_another(error: Exception) -> bool:
    if "torch" not in sys.modules:
        return False
    from pipeline.training import world

    return world.has_lost_another(error)


def _is_first() -> bool:
    """Whether this process speaks for those that a launcher has started beside it."""
    return os.environ.get("RANK", "0") == "0"


def _terminate(number: int, frame: FrameType | None) -> None:
    """Leave as after an error, so that nothing half-written stays; training has a better answer of its own."""
    sys.exit(128 + number)


def _stop_on_signals() -> None:
    """Leave a run that has not begun as one that is under way is left: a scheduler starts both again."""
    for number in STOPPING:
        signal.signal(number, _interrupt)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise Interrupted


def _dispatch(arguments: Arguments) -> None:
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_usage())
        return
    name, *rest = arguments
    if name not in COMMANDS:
        raise UserError(f"finetune {name}: no such command{suggest(name, COMMANDS)}")
    COMMANDS[name](rest)


def _usage() -> str:
    lines = [f"  {name:<10}{command.__doc__.splitlines()[0]}" for name, command in COMMANDS.items()]  # type: ignore[union-attr]
    return "\n".join(["usage: finetune COMMAND ...", "", *lines, "", "finetune COMMAND --help tells more."])


def _run(arguments: Arguments) -> None:
    """RECIPE.(py|json) [settings]: train, evaluate, save."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(
            "usage: finetune run RECIPE.(py|json) [--section.setting VALUE ...]\n\nSettings: finetune run RECIPE --help"
        )
        return
    _stop_on_signals()
    file, *settings = arguments
    fetched.use_caches_beside(Path(file))
    _train(load_recipe(file), settings, f"finetune run {file}")


def _train(recipe: Recipe, arguments: Arguments, program: str) -> None:
    recipe = override(recipe, arguments, program)
    _check_paths(recipe)
    folders.check(recipe)
    dashboards.check(recipe.train.trackers)
    from pipeline import run  # only now: torch and transformers take seconds to import

    run.train(recipe)
    for number in STOPPING:
        signal.signal(number, signal.SIG_IGN)  # the run is finished, and whoever asks must not start it again
    if _is_first():
        _compare_table([recipe.folder])
        print(f"model: {recipe.folder / folders.MODEL}   metrics: {recipe.folder / folders.METRICS}")


def override(recipe: Recipe, arguments: Arguments, program: str) -> Recipe:
    """`recipe` with the settings that `arguments` give; the parser exits with 2 on a name or value it refuses."""
    # The recipe's kind of model stays: its settings are --model.*, and another kind's are refused by name.
    return tyro.cli(Recipe, default=recipe, args=list(arguments), prog=program, config=(tyro.conf.AvoidSubcommands,))


def _check_paths(recipe: Recipe) -> None:
    """What can be refused before torch is imported."""
    paths.data_files(recipe.data)
    if recipe.data.tokenizer not in (None, *TRAINED_TOKENIZERS):
        folder = paths.saved_tokenizer(str(recipe.data.tokenizer), "data.tokenizer")
        if folder and recipe.data.tokenizer_revision:
            recipe.data.refuse("tokenizer_revision", f"{folder} is a folder, which has none; remove this setting")
    if isinstance(recipe.model, Pretrained):
        folder = paths.saved_model(recipe.model.checkpoint, "model.checkpoint")
        if folder and recipe.model.revision:
            recipe.model.refuse("revision", f"{folder} is a folder, which has none; remove this setting")
    if isinstance(recipe.model, Recurrent) and recipe.model.vectors:
        paths.vectors(recipe.model.vectors, "model.vectors")


def load_recipe(name: str) -> Recipe:
    """The recipe in a .json file, or the value called `recipe` of a .py file.

    Raises:
        UserError: there is no such file, it fails, or it holds no recipe.
    """
    file = paths.local(name, "recipe")
    if file.suffix not in (".py", ".json"):
        raise UserError(f"{name}: a recipe is a .py or .json file")
    if not file.is_file():
        raise UserError(f"{name}: there is no such file{_nearby(file)}")
    return fetched.at_home(read_json(file), file) if file.suffix == ".json" else _from_python(file)


def _nearby(file: Path) -> str:
    names = [path.name for path in file.parent.glob(f"*{file.suffix}")] if file.parent.is_dir() else []
    return suggest(file.name, names) if names else ""


def _from_python(file: Path) -> Recipe:
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(file.parent.resolve()))  # siblings derive from one another
    _loading.append(file)
    try:
        with warnings.catch_warnings():  # a line on stderr is a mistake's
            warnings.simplefilter("ignore")
            spec.loader.exec_module(module)
    except UserError as error:
        raise UserError(f"{file}: {error}") from error
    except SystemExit as error:
        raise UserError(f"{_place(file, error)}: the recipe ends the program; call main(recipe) last") from error
    except Exception as error:  # a recipe is the user's own code: whatever it raises is for the user to mend
        raise UserError(f"{_place(file, error)}: {reason(error)}") from error
    finally:
        _loading.remove(file)
    recipe = getattr(module, "recipe", None)
    if not isinstance(recipe, Recipe):
        raise UserError(f"{file}: it holds no recipe; assign recipe = Recipe(...) in it")
    return recipe


def _place(file: Path, error: BaseException) -> str:
    """file:line where `error` was raised in the recipe."""
    if isinstance(error, SyntaxError):
        return f"{file}:{error.lineno or 1}"
    own = [
        frame.lineno
        for frame in traceback.extract_tb(error.__traceback__)
        if Path(frame.filename).resolve() == file.resolve()
    ]
    return f"{file}:{own[-1]}" if own else str(file)


def _evaluate(arguments: Arguments) -> None:
    """MODEL --data SOURCE [--split test]: the task's metrics on new data, as JSON."""

    def command(
        model: tyro.conf.Positional[str],
        data: str,
        split: Literal["train", "validation", "test"] = "test",
        batch_size: int = 32,
        text_column: str | None = None,
        label_column: str | None = None,
        token_column: str | None = None,
        tag_column: str | None = None,
        limit: int | None = None,
        revision: str | None = None,
        subset: str | None = None,
        separate: bool | None = None,
        model_revision: str | None = None,
        trust_remote_code: bool = False,
        allow_pickle: bool = False,
    ) -> None:
        """Score a model on new data.

        Args:
            model: folder of a run or a model, or Hub id.
            data: file, folder, Hub id or sample:NAME.
            split: which of the data; a single file is taken as it is.
            batch_size: rows at once; the scores do not depend on it.
            text_column: column of the texts, where there is more than one sane guess.
            label_column: column of the labels, where there is more than one sane guess.
            token_column: column of the words of sentences, likewise.
            tag_column: column of the tags of words, likewise.
            limit: use at most so many rows.
            revision: of a Hub data set.
            subset: of a Hub data set that has several.
            separate: for next_word, whether rows are documents of their own rather than lines of a running text.
            model_revision: commit, tag or branch of a Hub model.
            trust_remote_code: run the code that comes with a model that transformers does not know.
            allow_pickle: read weights from pytorch_model.bin, too, where there are no safetensors.
        """
        chosen = Data(
            source=data,
            revision=revision,
            subset=subset,
            text_column=text_column,
            label_column=label_column,
            token_column=token_column,
            tag_column=tag_column,
            limit=limit,
            separate=separate,
        )
        if batch_size < 1:
            raise UserError(f"batch-size: {batch_size} is out of range; it must be >= 1")
        paths.data_files(chosen)
        _check_model(model, model_revision, trust_remote_code, "model-revision")
        from pipeline import run

        source = {"revision": model_revision, "trust_remote_code": trust_remote_code, "allow_pickle": allow_pickle}
        scores = run.evaluate(model, chosen, split, batch_size, **source)
        if _is_first():
            print(json.dumps(scores, indent=2, ensure_ascii=False))

    tyro.cli(command, args=list(arguments), prog="finetune evaluate")


def _predict(arguments: Arguments) -> None:
    """MODEL [--input FILE | -]: one JSON line out for each line in."""

    def command(
        model: tyro.conf.Positional[str],
        input: str = "-",
        generate: int | None = None,
        revision: str | None = None,
        trust_remote_code: bool = False,
        allow_pickle: bool = False,
    ) -> None:
        """Ask a model about texts, one a line.

        Args:
            model: folder of a run or a model, or Hub id.
            input: file of texts, or - for standard input.
            generate: for a model that predicts the next word: continue each text by so many tokens.
            revision: commit, tag or branch of a Hub model.
            trust_remote_code: run the code that comes with a model that transformers does not know.
            allow_pickle: read weights from pytorch_model.bin, too, where there are no safetensors.
        """
        if generate is not None and generate < 1:
            raise UserError(f"generate: {generate} is out of range; it must be >= 1")
        options: dict[str, Any] = {} if generate is None else {"generate": generate}
        options |= {"revision": revision, "trust_remote_code": trust_remote_code, "allow_pickle": allow_pickle}
        _check_input(input)
        _check_model(model, revision, trust_remote_code, "revision")
        from pipeline import run

        for answer in run.predict(model, _lines(input), **options):
            print(json.dumps(answer, ensure_ascii=False), flush=input == "-")

    tyro.cli(command, args=list(arguments), prog="finetune predict")


def _check_model(name: str, revision: str | None, trusted: bool, setting: str) -> None:
    folder = paths.saved_model(folders.model_in(name), "model", adapters=True)
    if folder and revision:
        raise UserError(f"{setting}: {folder} is a folder, which has none; leave it out")
    check_trust(name, revision, trusted, "trust-remote-code")


def _check_input(name: str) -> None:
    if name == "-":
        if sys.stdin is None:
            raise UserError("input: standard input is closed; give --input FILE")
        return
    file = paths.local(name, "input")
    if file.is_dir():
        raise UserError(f"input: {name} is a folder; give a file of texts, one a line")
    if not file.exists():
        raise UserError(f"input: there is no file {name}{_nearby(file)}")


def _lines(name: str) -> Iterator[str]:
    """Lines of a file or of standard input, without their ends; UTF-8 with or without BOM."""
    with sys.stdin.buffer if name == "-" else Path(name).open("rb") as stream:
        for number, line in enumerate(stream, start=1):
            try:
                yield line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
            except UnicodeDecodeError as error:
                raise UserError(f"{name}:{number}: not UTF-8 at byte {error.start} of the line") from error


def _compare(arguments: Arguments) -> None:
    """RUN_DIR...: one table from the metrics of several runs."""

    def command(runs: Annotated[tuple[Path, ...], tyro.conf.Positional], over_seeds: bool = False) -> None:
        """Put the metrics of runs side by side.

        Args:
            runs: folders of finished runs.
            over_seeds: put runs that differ in their seed alone into one row, with mean and spread.
        """
        if not runs:
            raise UserError("finetune compare: name the folders of at least one run")
        _compare_table([paths.local(str(run), "runs") for run in runs], over_seeds)

    tyro.cli(command, args=list(arguments), prog="finetune compare")


def _compare_table(runs: list[Path], over_seeds: bool = False) -> None:
    from pipeline import report as reports

    (reports.print_seeds if over_seeds else reports.print_table)(runs)


def _doctor(arguments: Arguments) -> None:
    """[RECIPE] [settings]: what this machine has, and what a recipe will do on it."""
    recipe = None
    if arguments and not arguments[0].startswith("-"):
        recipe = override(load_recipe(arguments[0]), arguments[1:], f"finetune doctor {arguments[0]}")
        _check_paths(recipe)
    elif arguments and arguments[0] not in ("-h", "--help"):
        raise UserError(f"finetune doctor {arguments[0]}: name the recipe before its settings")
    elif arguments:
        print("usage: finetune doctor [RECIPE.(py|json)] [--section.setting VALUE ...]")
        return
    from pipeline import doctor

    doctor.examine(recipe)


def _fetch(arguments: Arguments) -> None:
    """RECIPE [--to FOLDER] [settings]: gather what a recipe needs, for a machine without network."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print("usage: finetune fetch RECIPE.(py|json) [--to FOLDER] [--section.setting VALUE ...]")
        return
    file, *rest = arguments
    to, settings = _taken(rest, "--to")
    if to:
        fetched.use_caches_in(paths.local(to, "to"))
    recipe = override(load_recipe(file), settings, f"finetune fetch {file}")
    _check_paths(recipe)
    from pipeline import fetch

    fetch.fetch(recipe, paths.local(to, "to") if to else None)


def _taken(arguments: Arguments, flag: str) -> tuple[str | None, Arguments]:
    """The value of `flag`, as `--flag VALUE` or `--flag=VALUE`, and the other arguments."""
    rest = list(arguments)
    for place, argument in enumerate(rest):
        if argument.startswith(f"{flag}="):
            return argument.partition("=")[2], rest[:place] + rest[place + 1 :]
        if argument == flag:
            if place + 1 == len(rest):
                raise UserError(f"{flag}: it needs a value, the name of a folder")
            return rest[place + 1], rest[:place] + rest[place + 2 :]
    return None, rest


COMMANDS: dict[str, Callable[[Arguments], None]] = {
    "run": _run,
    "evaluate": _evaluate,
    "predict": _predict,
    "compare": _compare,
    "push": commands.push,
    "fetch": _fetch,
    "doctor": _doctor,
}
