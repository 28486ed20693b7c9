"""One table from the metrics of several runs, or of several settings over seeds."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from pipeline import run_folder
from pipeline.config.serialization import read_json
from pipeline.errors import UserError, reason

# heading -> where it stands in metrics.json, how it is written
TRAIN_COLUMNS = {
    "parameters": ("parameters", "{:,}"),
    "seconds": ("seconds", "{:,.0f}"),
    "tokens/s": ("tokens_per_second", "{:,.0f}"),
    "memory MiB": ("peak_memory_bytes", "{:,.0f}"),
}
MEBIBYTE = 2**20
SEED = "train.seed"


def read_metrics(run: Path) -> dict[str, Any]:
    """metrics.json of a finished run.

    Raises:
        UserError: there is none, or it is not what a run leaves.
    """
    file = run / run_folder.METRICS
    if not file.is_file():
        state = "has not finished" if (run / run_folder.RECIPE).is_file() else "is not the folder of a run"
        raise UserError(f"{run}: it {state}; there is no {run_folder.METRICS} in it")
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
    split, names = _scores(all_metrics)
    rows = [
        (run.resolve().name, [_score([metrics], split, name) for name in names], [metrics])
        for run, metrics in zip(runs, all_metrics, strict=True)
    ]
    _print("run", split, names, rows)


def print_seeds(runs: list[Path]) -> None:
    """Runs that differ in their seed alone in one row: mean of each score, with the standard deviation over the seeds.

    A row is named by the settings in which it differs from others; what has not finished is told of and left out.

    Raises:
        UserError: a folder is not one of a run, two runs have everything in common, or none has finished.
    """
    groups: dict[str, dict[int, dict[str, Any]]] = {}
    settings: dict[str, dict[str, Any]] = {}
    for run in runs:
        if (run / run_folder.RECIPE).is_file() and not (run / run_folder.METRICS).is_file():
            print(f"{run}: it has not finished, and is left out")
            continue
        metrics, own = read_metrics(run), run_folder.settings_of(read_json(run / run_folder.RECIPE))
        seed = own.pop(SEED)
        key = json.dumps({name: value for name, value in own.items() if name not in run_folder.FREE})
        settings[key] = own
        if seed in groups.setdefault(key, {}):
            raise UserError(f"{run}: another of these runs has the same settings and the seed {seed}; name one of them")
        groups[key][seed] = metrics
    if not groups:
        raise UserError("finetune compare: none of these runs has finished")
    split, names = _scores([metrics for group in groups.values() for metrics in group.values()])
    titles = _differing(list(settings.values()))
    rows = [
        (title, [str(len(group)), *(_score(list(group.values()), split, name) for name in names)], list(group.values()))
        for title, group in zip(titles, groups.values(), strict=True)
    ]
    _print("settings", split, names, rows, "seeds")


def _differing(all_settings: list[dict[str, Any]]) -> list[str]:
    """What tells each from the others, as `optim.learning_rate 0.01`; the recipe's name where nothing does."""
    names = dict.fromkeys(name for settings in all_settings for name in settings if name not in run_folder.FREE)
    differing = [name for name in names if len({str(settings.get(name)) for settings in all_settings}) > 1]
    return [
        "  ".join(f"{name} {settings[name]}" for name in differing if settings.get(name) is not None)
        or str(settings["name"])
        for settings in all_settings
    ]


def _scores(all_metrics: list[dict[str, Any]]) -> tuple[str, list[str]]:
    """The split that all were scored on, and the names of the scores; the loss last."""
    split = "test" if all("test" in metrics for metrics in all_metrics) else "validation"
    found = [name for m in all_metrics for name, value in m.get(split, {}).items() if isinstance(value, float)]
    return split, [*dict.fromkeys(name for name in found if name != "loss"), "loss"]


def _score(group: list[dict[str, Any]], split: str, name: str) -> str:
    """The mean over a group, and how far it spreads."""
    scores = [metrics[split][name] for metrics in group if isinstance(metrics.get(split, {}).get(name), float)]
    spread = f" ({statistics.stdev(scores):.4f})" if len(scores) > 1 else ""
    return f"{statistics.mean(scores):.4f}{spread}" if scores else ""


def _print(
    title: str, split: str, names: list[str], rows: list[tuple[str, list[str], list[dict[str, Any]]]], *more: str
) -> None:
    """Rows of a name, cells of scores, and the metrics whose mean cost is shown; `more`: headings before the scores."""
    table = Table(title, *more, *(f"{split} {name}" for name in names), *TRAIN_COLUMNS)
    for column in table.columns[1:]:
        column.justify, column.overflow = "right", "fold"  # a name cut short could be another's
    for name, cells, group in rows:
        costs = [m["train"] | {"peak_memory_bytes": m["train"].get("peak_memory_bytes", 0) / MEBIBYTE} for m in group]
        means = {key: statistics.mean(cost.get(key, 0) for cost in costs) for key, _ in TRAIN_COLUMNS.values()}
        table.add_row(name, *cells, *(form.format(means[key]) for key, form in TRAIN_COLUMNS.values()))
    console = Console(markup=False, emoji=False)  # the name of a run is nothing but a name
    if not console.is_terminal:
        console.width = 160  # where nobody watches, a narrow default width would fold the columns
    console.print(table)
