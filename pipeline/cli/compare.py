"""`finetune compare`: the scores of several runs in a table, and which of their differences are more than chance."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Literal

import tyro

from pipeline.cli import arguments, startup
from pipeline.cli.arguments import Arguments
from pipeline.config import paths
from pipeline.errors import UserError, writing

PAGES = (".html", ".htm")


def _compare(
    runs: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUN ...")],
    split: Literal["test", "validation"] | None = None,
    common: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False,
    over_seeds: bool = True,
    as_json: Annotated[bool, tyro.conf.FlagCreatePairsOff, tyro.conf.arg(name="json")] = False,
    markdown: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False,
    html: Annotated[str | None, tyro.conf.arg(metavar="PAGE")] = None,
) -> None:
    """Compare runs row by row: their scores with 95 % intervals, and a test of each pair.

    Example: finetune compare runs/sentiment-bilstm runs/sentiment-bert --html page.html

    Args:
        runs: folders of finished runs.
        split: split to compare; by default test, or validation if a run has no test split.
        common: compare the rows that all runs have, instead of refusing runs with different rows.
        over_seeds: join runs that differ only in their seed: mean, standard deviation, and tests over seeds and rows.
        as_json: print every figure as JSON instead of the table.
        markdown: print a table and sentences for a model card or a paper.
        html: write a page with everything in it, to look at in a browser.
    """
    folders = _folders(runs)
    if as_json and markdown:
        raise UserError("--json and --markdown: both print to standard output; give one of them")
    if common and len(folders) < 2:
        raise UserError("--common: there is nothing to have in common with; name at least two runs")
    page = None if html is None else _page(html)
    with startup.importing("pipeline.compare.judging"):
        from pipeline.compare import judging, table
        from pipeline.compare import markdown as as_markdown

    verdict = judging.judge(folders, split, common, over_seeds)
    if as_json:
        print(json.dumps(verdict.to_json(), indent=2, ensure_ascii=False, allow_nan=False))
    elif markdown:
        print(as_markdown.text(verdict), end="")
    else:
        table.print_verdict(verdict, folders)
    if page is not None:
        from pipeline.compare.page import write

        with writing("html", page):
            write(page, verdict)
        print(f"page: {page}", file=sys.stderr if as_json or markdown else sys.stdout)


def _folders(runs: tuple[Path, ...]) -> list[Path]:
    """The folders of finished runs among `runs`; those of others are reported.

    Raises:
        UserError: there is none, or something is not the folder of a run.
    """
    if not runs:
        raise UserError("finetune compare: name the folder of at least one run")
    from pipeline.compare.runs import is_unfinished, read_metrics

    folders = [paths.local(str(run), "runs") for run in runs]
    finished = [folder for folder in folders if not is_unfinished(folder)]
    for folder in folders:
        if folder in finished:
            read_metrics(folder)  # refuses it before anything slow is imported
        else:
            print(f"{folder}: it has not finished, and is left out", file=sys.stderr)
    if not finished:
        raise UserError("finetune compare: none of these runs has finished")
    return finished


def _page(name: str) -> Path:
    file = paths.local(name, "html")
    if file.is_dir() or not file.parent.is_dir():
        wrong = f"{name} is a folder" if file.is_dir() else f"there is no folder {file.parent}"
        raise UserError(f"--html: {wrong}; name a file in an existing folder")
    if file.suffix.lower() not in PAGES:
        raise UserError(f"--html: {name} must end with {' or '.join(PAGES)}")
    return file


def command(given: Arguments) -> None:
    arguments.call(_compare, given, "finetune compare")
