"""One table from the metrics of several runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from pipeline import folder as folders
from pipeline.errors import UserError, reason

# heading -> where it stands in metrics.json, how it is written
TRAIN_COLUMNS = {
    "parameters": ("parameters", "{:,}"),
    "seconds": ("seconds", "{:,.0f}"),
    "tokens/s": ("tokens_per_second", "{:,.0f}"),
    "memory MiB": ("peak_memory_bytes", "{:,.0f}"),
}
MEBIBYTE = 2**20


def read_metrics(run: Path) -> dict[str, Any]:
    """metrics.json of a finished run.

    Raises:
        UserError: there is none, or it is not what a run leaves.
    """
    file = run / folders.METRICS
    if not file.is_file():
        state = "has not finished" if (run / folders.RECIPE).is_file() else "is not the folder of a run"
        raise UserError(f"{run}: it {state}; there is no {folders.METRICS} in it")
    try:
        metrics = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{file}: not JSON: {reason(error)}") from error
    if not _is_of_a_run(metrics):
        raise UserError(f"{file}: it lacks the figures of a run, or has others in their places; run it again")
    return metrics


def _is_of_a_run(metrics: Any) -> bool:
    if not isinstance(metrics, dict) or not isinstance(metrics.get("train"), dict):
        return False
    scores = [metrics[split] for split in ("validation", "test") if split in metrics]
    costs = [metrics["train"].get(key) for key, _ in TRAIN_COLUMNS.values()]
    return (
        bool(scores)
        and all(isinstance(score, dict) for score in scores)
        and all(isinstance(cost, (int, float)) for cost in costs)
    )


def print_table(runs: list[Path]) -> None:
    """Scores on the test split, or on validation where there is no test, and what training took, a row a run."""
    all_metrics = [read_metrics(run) for run in runs]
    split = "test" if all("test" in metrics for metrics in all_metrics) else "validation"
    scores = [{k: v for k, v in m.get(split, {}).items() if isinstance(v, float)} for m in all_metrics]
    names = [*dict.fromkeys(name for row in scores for name in row if name != "loss"), "loss"]
    table = Table("run", *(f"{split} {name}" for name in names), *TRAIN_COLUMNS)
    for column in table.columns[1:]:
        column.justify, column.overflow = "right", "fold"  # a name cut short could be another's
    for run, row, metrics in zip(runs, scores, all_metrics, strict=True):
        train = metrics["train"] | {"peak_memory_bytes": metrics["train"].get("peak_memory_bytes", 0) / MEBIBYTE}
        cells = [f"{row[name]:.4f}" if name in row else "" for name in names]
        cells += [form.format(train.get(key, 0)) for key, form in TRAIN_COLUMNS.values()]
        table.add_row(run.resolve().name, *cells)
    console = Console(markup=False, emoji=False)  # the name of a run is nothing but a name
    if not console.is_terminal:
        console.width = 160  # where nobody watches, a narrow default width would fold the columns
    console.print(table)
