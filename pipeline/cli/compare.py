"""`finetune compare`: the metrics of several runs in one table."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro

from pipeline.cli.arguments import Arguments
from pipeline.config import paths
from pipeline.errors import UserError


def _compare(
    runs: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUN ...")], over_seeds: bool = False
) -> None:
    """Compare the metrics of runs in one table.

    Example: finetune compare runs/sentiment-bilstm runs/sentiment-bert

    Args:
        runs: folders of finished runs.
        over_seeds: one row for runs that differ only in their seed, with mean and standard deviation.
    """
    if not runs:
        raise UserError("finetune compare: name the folder of at least one run")
    folders = [paths.local(str(run), "runs") for run in runs]
    from pipeline.compare import table

    (table.print_seeds if over_seeds else table.print_table)(folders)


def command(given: Arguments) -> None:
    tyro.cli(_compare, args=list(given), prog="finetune compare")
