"""What each `finetune` command does; torch and transformers, which take seconds to import, only after its checks."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, Literal

import tyro

from pipeline import run_folder
from pipeline.config import offline, paths, sources
from pipeline.config.data import Data, DataFormat
from pipeline.config.hub import Hub, check_trust
from pipeline.config.loading import check_paths, load_recipe, nearby, override
from pipeline.config.recipe import Recipe
from pipeline.errors import STOPPING, Interrupted, UserError
from pipeline.training.monitoring import trackers

Arguments = Sequence[str]


def run(arguments: Arguments) -> None:
    """RECIPE.(py|json) [settings]: train, evaluate, save."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(
            "usage: finetune run RECIPE.(py|json) [--section.setting VALUE ...]\n\nSettings: finetune run RECIPE --help"
        )
        return
    stop_on_signals()
    file, *settings = arguments
    offline.use_caches_beside(Path(file))
    train(load_recipe(file), settings, f"finetune run {file}")


def train(recipe: Recipe, arguments: Arguments, program: str) -> None:
    recipe = override(recipe, arguments, program)
    check_paths(recipe)
    run_folder.check(recipe)
    trackers.check(recipe.train.trackers)
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # of sockets and of a layout that is meant so (world.py)
    from pipeline import run  # only now: torch and transformers take seconds to import
    from pipeline.cli.quiet import quiet

    quiet()

    run.train(recipe)
    for number in STOPPING:
        signal.signal(number, signal.SIG_IGN)  # the run is finished, and whoever asks must not start it again
    if is_first():
        _compare_table([recipe.folder])
        print(f"model: {recipe.folder / run_folder.MODEL}   metrics: {recipe.folder / run_folder.METRICS}")


def stop_on_signals() -> None:
    """Leave a run that has not begun as one that is under way is left: a scheduler starts both again."""
    for number in STOPPING:
        signal.signal(number, _interrupt)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise Interrupted


def is_first() -> bool:
    """Whether this process speaks for those that a launcher has started beside it."""
    return os.environ.get("RANK", "0") == "0"


def evaluate(arguments: Arguments) -> None:
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
        format: DataFormat | None = None,
        label_names: tuple[str, ...] | None = None,
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
            format: of local files, whatever their names end in, such as conll.
            label_names: names of labels that are numbers in the data, such as 0=negative 1=positive.
            separate: for next_word, whether rows are documents of their own rather than lines of a running text.
            model_revision: commit, tag or branch of a Hub model.
            trust_remote_code: run the code that comes with a model that transformers does not know.
            allow_pickle: read weights from pytorch_model.bin, too, where there are no safetensors.
        """
        chosen = Data(
            source=data,
            revision=revision,
            subset=subset,
            format=format,
            label_names=label_names,
            text_column=text_column,
            label_column=label_column,
            token_column=token_column,
            tag_column=tag_column,
            limit=limit,
            separate=separate,
        )
        if batch_size < 1:
            raise UserError(f"batch-size: {batch_size} is out of range; it must be >= 1")
        sources.resolve(chosen)
        _check_model(model, model_revision, trust_remote_code, "model-revision")
        from pipeline import inference
        from pipeline.cli.quiet import quiet

        quiet()
        source = {"revision": model_revision, "trust_remote_code": trust_remote_code, "allow_pickle": allow_pickle}
        scores = inference.evaluate(model, chosen, split, batch_size, **source)
        if is_first():
            print(json.dumps(scores, indent=2, ensure_ascii=False))

    tyro.cli(command, args=list(arguments), prog="finetune evaluate")


def predict(arguments: Arguments) -> None:
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
        from pipeline import inference
        from pipeline.cli.quiet import quiet

        quiet()
        for answer in inference.predict(model, _lines(input), **options):
            print(json.dumps(answer, ensure_ascii=False), flush=input == "-")

    tyro.cli(command, args=list(arguments), prog="finetune predict")


def _check_model(name: str, revision: str | None, trusted: bool, setting: str) -> None:
    folder = paths.saved_model(run_folder.model_in(name), "model", adapters=True)
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
        raise UserError(f"input: there is no file {name}{nearby(file)}")


def _lines(name: str) -> Iterator[str]:
    """Lines of a file or of standard input, without their ends; UTF-8 with or without BOM."""
    with sys.stdin.buffer if name == "-" else Path(name).open("rb") as stream:
        for number, line in enumerate(stream, start=1):
            try:
                yield line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
            except UnicodeDecodeError as error:
                raise UserError(f"{name}:{number}: not UTF-8 at byte {error.start} of the line") from error


def compare(arguments: Arguments) -> None:
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
    from pipeline.compare import table as reports

    (reports.print_seeds if over_seeds else reports.print_table)(runs)


def push(arguments: Arguments) -> None:
    """MODEL REPO_ID [--private] [--revision BRANCH] [--tag TAG]: put a finished run on the Hub."""

    def command(
        model: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")],
        repo_id: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="REPO_ID")],
        private: bool = False,
        revision: str | None = None,
        tag: str | None = None,
        create_pr: bool = False,
        license: str | None = None,
        languages: tuple[str, ...] = (),
        seeds: tuple[str, ...] = (),
        overwrite: bool = False,
    ) -> None:
        """Check the model of a finished run and push it, with its recipe, its metrics and a card made of them.

        Args:
            model: folder of a finished run.
            repo_id: user/name or organisation/name.
            private: make a repository that you alone, or your organisation, may read.
            revision: branch; it is made where there is none of that name.
            tag: name for the commit that is made.
            create_pr: propose the change to a repository that is there, instead of making it.
            license: of the model, by its id on the Hub, such as apache-2.0.
            languages: of the texts, by their codes, such as en.
            seeds: folders of runs that differ in the seed alone; the card gives mean and spread over all of them.
            overwrite: write into a repository that holds something else than a run that was pushed.
        """
        hub = Hub(
            push=True,
            repo_id=repo_id,
            private=private,
            revision=revision,
            tag=tag,
            create_pr=create_pr,
            license=license,
            languages=languages or None,
            overwrite=overwrite,
        )
        from pipeline.publish import staging

        staging.open_run(model)
        from pipeline.cli.quiet import quiet
        from pipeline.publish import push as pushing

        quiet()
        pushing.push(model, hub, seeds)

    try:
        tyro.cli(command, args=list(arguments), prog="finetune push")
    except UserError as error:  # here a setting is a flag
        raise UserError(str(error).removeprefix("hub.")) from error


def fetch(arguments: Arguments) -> None:
    """RECIPE [--to FOLDER] [settings]: gather what a recipe needs, for a machine without network."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print("usage: finetune fetch RECIPE.(py|json) [--to FOLDER] [--section.setting VALUE ...]")
        return
    file, *rest = arguments
    to, settings = _taken(rest, "--to")
    if to:
        offline.use_caches_in(paths.local(to, "to"))
    recipe = override(load_recipe(file), settings, f"finetune fetch {file}")
    check_paths(recipe)
    from pipeline import fetch
    from pipeline.cli.quiet import quiet

    quiet()

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


def doctor(arguments: Arguments) -> None:
    """[RECIPE] [settings]: what this machine has, and what a recipe will do on it."""
    recipe = None
    if arguments and not arguments[0].startswith("-"):
        recipe = override(load_recipe(arguments[0]), arguments[1:], f"finetune doctor {arguments[0]}")
        check_paths(recipe)
    elif arguments and arguments[0] not in ("-h", "--help"):
        raise UserError(f"finetune doctor {arguments[0]}: name the recipe before its settings")
    elif arguments:
        print("usage: finetune doctor [RECIPE.(py|json)] [--section.setting VALUE ...]")
        return
    from pipeline.cli.quiet import quiet
    from pipeline.doctor import estimate

    quiet()

    estimate.examine(recipe)


COMMANDS: dict[str, Callable[[Arguments], None]] = {
    "run": run,
    "evaluate": evaluate,
    "predict": predict,
    "compare": compare,
    "push": push,
    "fetch": fetch,
    "doctor": doctor,
}
