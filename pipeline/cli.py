"""The `finetune` command, and `main`, which makes a recipe file a script."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Literal

import tyro

from pipeline import folder as folders
from pipeline import samples
from pipeline.errors import EXIT_INTERRUPTED, Interrupted, UserError, report, suggest
from pipeline.recipe import Data, Pretrained, Recipe, Recurrent, from_json

Arguments = Sequence[str]


def main(recipe: Recipe) -> None:
    """Run `recipe`, changed by the flags on the command line; then exit."""
    sys.exit(_guarded(lambda: _train(recipe, sys.argv[1:], Path(sys.argv[0]).name)))


def entry() -> None:
    """The `finetune` command."""
    sys.exit(_guarded(lambda: _dispatch(sys.argv[1:])))


def _guarded(action: Callable[[], None]) -> int:
    """The exit code of `action`: 0 done, 2 the user's mistake, 75 stopped by a signal with a checkpoint."""
    try:
        action()
    except UserError as error:
        return report(error)
    except Interrupted:
        print("stopped; the checkpoint is complete and the same command continues", file=sys.stderr)
        return EXIT_INTERRUPTED
    except KeyboardInterrupt:
        print("stopped before the first checkpoint was due; nothing can be continued", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output has left; the interpreter must not flush into it again
        sys.stdout = None
        return 141
    return 0


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
    file, *settings = arguments
    _train(load_recipe(file), settings, f"finetune run {file}")


def _train(recipe: Recipe, arguments: Arguments, program: str) -> None:
    recipe = override(recipe, arguments, program)
    _check_paths(recipe)
    folders.check(recipe)
    from pipeline import run  # only now: torch and transformers take seconds to import

    run.train(recipe)
    if os.environ.get("RANK", "0") == "0":
        _compare_table([recipe.folder])
        print(f"model: {recipe.folder / folders.MODEL}   metrics: {recipe.folder / folders.METRICS}")


def override(recipe: Recipe, arguments: Arguments, program: str) -> Recipe:
    """`recipe` with the settings that `arguments` give; the parser exits with 2 on a name or value it refuses."""
    # The recipe's kind of model stays: its settings are --model.*, and another kind's are refused by name.
    return tyro.cli(Recipe, default=recipe, args=list(arguments), prog=program, config=(tyro.conf.AvoidSubcommands,))


def _check_paths(recipe: Recipe) -> None:
    """What can be refused before torch is imported."""
    if samples.is_sample(recipe.data.source):
        samples.find("data", recipe.data.source, "data.source")
    if isinstance(recipe.model, Pretrained) and samples.is_sample(recipe.model.checkpoint):
        samples.find("checkpoint", recipe.model.checkpoint, "model.checkpoint")
    if samples.is_sample(recipe.tokenizer) and recipe.data.tokenizer is not None:
        short = recipe.tokenizer.removeprefix(samples.PREFIX)
        kind = "checkpoint" if short in samples.SAMPLES["checkpoint"] else "tokenizer"
        samples.find(kind, recipe.tokenizer, "data.tokenizer")
    vectors = recipe.model.vectors if isinstance(recipe.model, Recurrent) else None
    if vectors and samples.is_sample(vectors):
        samples.find("vectors", vectors, "model.vectors")
    elif vectors and not Path(vectors).is_file():
        raise UserError(f"model.vectors: there is no file {vectors}")


def load_recipe(name: str) -> Recipe:
    """The recipe in a .json file, or the value called `recipe` of a .py file.

    Raises:
        UserError: there is no such file, it fails, or it holds no recipe.
    """
    file = Path(name)
    if file.suffix not in (".py", ".json"):
        raise UserError(f"{name}: a recipe is a .py or .json file")
    if not file.is_file():
        raise UserError(f"{name}: there is no such file{_nearby(file)}")
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{name}: not UTF-8 at byte {error.start}") from error
    return from_json(text, name) if file.suffix == ".json" else _from_python(file)


def _nearby(file: Path) -> str:
    names = [path.name for path in file.parent.glob(f"*{file.suffix}")] if file.parent.is_dir() else []
    return suggest(file.name, names) if names else ""


def _from_python(file: Path) -> Recipe:
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(file.parent.resolve()))  # siblings derive from one another
    try:
        spec.loader.exec_module(module)
    except UserError as error:
        raise UserError(f"{file}: {error}") from error
    except Exception as error:  # a recipe is the user's own code: whatever it raises is for the user to mend
        raise UserError(f"{_place(file, error)}: {error}") from error
    recipe = getattr(module, "recipe", None)
    if not isinstance(recipe, Recipe):
        raise UserError(f"{file}: it holds no recipe; assign recipe = Recipe(...) in it")
    return recipe


def _place(file: Path, error: Exception) -> str:
    """file:line where `error` was raised in the recipe."""
    if isinstance(error, SyntaxError):
        return f"{file}:{error.lineno}"
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
        limit: int | None = None,
        revision: str | None = None,
        subset: str | None = None,
        separate: bool | None = None,
    ) -> None:
        """Score a model on new data.

        Args:
            model: folder of a run or a model, or Hub id.
            data: file, folder, Hub id or sample:NAME.
            split: which of the data; a single file is taken as it is.
            batch_size: rows at once; the scores do not depend on it.
            text_column: column of the texts, where there is more than one sane guess.
            label_column: column of the labels, where there is more than one sane guess.
            limit: use at most so many rows.
            revision: of a Hub data set.
            subset: of a Hub data set that has several.
            separate: for next_word, whether rows are documents of their own rather than lines of a running text.
        """
        chosen = Data(
            source=data,
            revision=revision,
            subset=subset,
            text_column=text_column,
            label_column=label_column,
            limit=limit,
            separate=separate,
        )
        if batch_size < 1:
            raise UserError(f"batch-size: {batch_size} is out of range; it must be >= 1")
        from pipeline import run

        print(json.dumps(run.evaluate(model, chosen, split, batch_size), indent=2, ensure_ascii=False))

    tyro.cli(command, args=list(arguments), prog="finetune evaluate")


def _predict(arguments: Arguments) -> None:
    """MODEL [--input FILE | -]: one JSON line out for each line in."""

    def command(model: tyro.conf.Positional[str], input: str = "-", generate: int | None = None) -> None:
        """Ask a model about texts, one a line.

        Args:
            model: folder of a run or a model, or Hub id.
            input: file of texts, or - for standard input.
            generate: for a model that predicts the next word: continue each text by so many tokens.
        """
        if generate is not None and generate < 1:
            raise UserError(f"generate: {generate} is out of range; it must be >= 1")
        options = {} if generate is None else {"generate": generate}
        if input != "-" and not Path(input).is_file():
            raise UserError(f"input: there is no file {input}{_nearby(Path(input))}")
        from pipeline import run

        for answer in run.predict(model, _lines(input), **options):
            print(json.dumps(answer, ensure_ascii=False), flush=input == "-")

    tyro.cli(command, args=list(arguments), prog="finetune predict")


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

    def command(runs: Annotated[tuple[Path, ...], tyro.conf.Positional]) -> None:
        """Put the metrics of runs side by side.

        Args:
            runs: folders of finished runs.
        """
        if not runs:
            raise UserError("finetune compare: name the folders of at least one run")
        _compare_table(list(runs))

    tyro.cli(command, args=list(arguments), prog="finetune compare")


def _compare_table(runs: list[Path]) -> None:
    from pipeline import report as reports

    reports.print_table(runs)


def _doctor(arguments: Arguments) -> None:
    """[RECIPE] [settings]: what this machine has, and what a recipe will do on it."""
    recipe = None
    if arguments and not arguments[0].startswith("-"):
        recipe = override(load_recipe(arguments[0]), arguments[1:], f"finetune doctor {arguments[0]}")
        _check_paths(recipe)
    elif arguments:
        print("usage: finetune doctor [RECIPE.(py|json)] [--section.setting VALUE ...]")
        return
    from pipeline import doctor

    doctor.examine(recipe)


COMMANDS: dict[str, Callable[[Arguments], None]] = {
    "run": _run,
    "evaluate": _evaluate,
    "predict": _predict,
    "compare": _compare,
    "doctor": _doctor,
}
