"""The end of a study: its finished runs compared, a verdict for each task, on one page for each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from pipeline.config.expansion import StudyRun
from pipeline.errors import UserError, writing
from pipeline.studies.jobs import is_finished

PAGE = "page.html"


def conclude(runs: Sequence[StudyRun], folder: Path, say: Callable[[str], None]) -> None:
    """Compare the finished runs among `runs`, print the verdict and write the page into `folder`.

    Runs of different tasks have no score in common, so each task has its own verdict and page.
    """
    finished = [run for run in runs if is_finished(run.folder)]
    if len(finished) < len(runs):
        say(f"{len(finished)} of {len(runs)} runs have finished; only these are compared")
    by_task: dict[str, list[Path]] = {}
    for run in finished:
        by_task.setdefault(run.recipe.task, []).append(run.folder)
    for task, folders in by_task.items():
        compare(folders, folder / (PAGE if len(by_task) == 1 else f"page-{task.rpartition(':')[2]}.html"), say)


def compare(folders: Sequence[Path], page: Path, say: Callable[[str], None]) -> None:
    """Print the verdict on the runs in `folders`, seeds joined, and write its page; or say why they have none."""
    from pipeline.compare import judging, table
    from pipeline.compare.page import write

    try:
        verdict = judging.judge(folders)
    except UserError as error:  # the runs are as the study wants them; they only cannot be compared
        say(f"no comparison: {error}")
        return
    table.print_verdict(verdict, folders)
    with writing("folder", page.parent):
        write(page, verdict)
    say(f"page: {page}")
