"""The table of `finetune compare`: the metrics of several runs, or of several settings over seeds.

A new column is an entry in `COLUMNS`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from pipeline import run_folder
from pipeline.compare.runs import ComparedRun, is_unfinished, read_metrics
from pipeline.errors import UserError
from pipeline.metrics import statistics

MEBIBYTE = 2**20
SEED = "train.seed"


@dataclass(frozen=True)
class Column:
    """A column after those of the scores.

    Attributes:
        header: its heading.
        value: the number of a run, whose mean over the seeds is shown; None if a run does not have it.
        format: how the number is written, for `str.format`.
    """

    header: str
    value: Callable[[ComparedRun], float | None]
    format: str


def _of_training(name: str, unit: float = 1.0) -> Callable[[ComparedRun], float | None]:
    """The number called `name` under `train` in metrics.json, in units of `unit`; None if a run lacks it."""

    def value(run: ComparedRun) -> float | None:
        found = run.metrics["train"].get(name)
        return found / unit if isinstance(found, (int, float)) else None

    return value


COLUMNS = (
    Column("parameters", _of_training("parameters"), "{:,.0f}"),
    Column("seconds", _of_training("seconds"), "{:,.0f}"),
    Column("tokens/s", _of_training("tokens_per_second"), "{:,.0f}"),
    Column("memory MiB", _of_training("peak_memory_bytes", MEBIBYTE), "{:,.0f}"),
)


def print_table(folders: Sequence[Path]) -> None:
    """One row for each run: its scores on the test split, or on validation if a run has no test split, and `COLUMNS`.

    Raises:
        UserError: a folder is not that of a finished run.
    """
    runs = [ComparedRun(folder, read_metrics(folder), folder.resolve().name) for folder in folders]
    split, metrics = _scores_of(runs)
    _print(["run"], split, metrics, [([run.name], [run]) for run in runs])


def print_seeds(folders: Sequence[Path]) -> None:
    """One row for all runs that differ only in the seed: mean and standard deviation of each score, and `COLUMNS`.

    A row is named by the settings in which it differs from the others. Unfinished runs are reported and left out.

    Raises:
        UserError: a folder is not that of a run, two runs have the same settings and seed, or no run has finished.
    """
    groups = _group_by_settings(folders)
    if not groups:
        raise UserError("finetune compare: none of these runs has finished")
    split, metrics = _scores_of([run for group in groups for run in group])
    titles = _differing_settings([group[-1].settings for group in groups])
    rows = [([title, str(len(group))], group) for title, group in zip(titles, groups, strict=True)]
    _print(["settings", "seeds"], split, metrics, rows)


def _group_by_settings(folders: Sequence[Path]) -> list[list[ComparedRun]]:
    """The finished runs, grouped by all settings that change what a run computes, except the seed."""
    groups: dict[str, dict[int, ComparedRun]] = {}
    for folder in folders:
        if is_unfinished(folder):
            print(f"{folder}: it has not finished, and is left out")
            continue
        run = ComparedRun(folder, read_metrics(folder), folder.resolve().name)
        seed = run.settings[SEED]
        key = json.dumps({n: v for n, v in run.settings.items() if n not in (SEED, *run_folder.FREE)})
        if seed in groups.setdefault(key, {}):
            raise UserError(f"{folder}: another of these runs has the same settings and the seed {seed}; name only one")
        groups[key][seed] = run
    return [list(group.values()) for group in groups.values()]


def _differing_settings(all_settings: Sequence[dict[str, Any]]) -> list[str]:
    """The settings that distinguish each from the others, as `optim.learning_rate 0.01`; else the recipe's name."""
    every_name = dict.fromkeys(name for settings in all_settings for name in settings)
    names = [name for name in every_name if name not in (SEED, *run_folder.FREE)]
    differing = [name for name in names if len({str(settings.get(name)) for settings in all_settings}) > 1]
    return [
        "  ".join(f"{name} {settings[name]}" for name in differing if settings.get(name) is not None)
        or str(settings["name"])
        for settings in all_settings
    ]


def _scores_of(runs: Sequence[ComparedRun]) -> tuple[str, list[str]]:
    """The split on which all runs have scores, and the names of these scores, the loss last."""
    split = "test" if all("test" in run.metrics for run in runs) else "validation"
    found = [name for run in runs for name in run.scores(split) if "." not in name or name == run.monitor]
    return split, [*dict.fromkeys(name for name in found if name != "loss"), "loss"]


def _score(runs: Sequence[ComparedRun], split: str, metric: str) -> str:
    """Mean and, for several runs, standard deviation; empty if no run has the score."""
    scores = [found[metric] for found in (run.scores(split) for run in runs) if metric in found]
    if not scores:
        return ""
    return f"{statistics.mean(scores):.4f}" + (f" ({statistics.spread(scores):.4f})" if len(scores) > 1 else "")


def _cost(runs: Sequence[ComparedRun], column: Column) -> str:
    values = [value for value in map(column.value, runs) if value is not None]
    return column.format.format(statistics.mean(values)) if values else ""


def _print(
    headers: Sequence[str], split: str, metrics: Sequence[str], rows: Sequence[tuple[list[str], list[ComparedRun]]]
) -> None:
    """Print a table; a row is the cells under `headers`, and the runs whose scores and `COLUMNS` follow."""
    table = Table(*headers, *(f"{split} {metric}" for metric in metrics), *(column.header for column in COLUMNS))
    for column in table.columns[1:]:
        column.justify, column.overflow = "right", "fold"  # a truncated heading would be ambiguous
    for cells, runs in rows:
        scores, costs = [_score(runs, split, metric) for metric in metrics], [_cost(runs, column) for column in COLUMNS]
        table.add_row(*cells, *scores, *costs)
    console = Console(markup=False, emoji=False)  # a name in brackets is not markup
    if not console.is_terminal:
        console.width = 160  # the default width for files and pipes would fold the columns
    console.print(table)
