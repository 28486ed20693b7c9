"""The finished runs that are compared, as their folders describe them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import run_folder
from pipeline.config.serialization import read_json
from pipeline.errors import UserError, listing, reason, suggest
from pipeline.metrics.scores import flatten

if TYPE_CHECKING:
    from pipeline.predictions import Predictions

# What every run writes under `train` in metrics.json.
TRAIN_METRICS = ("parameters", "seconds", "tokens_per_second", "peak_memory_bytes")
SPLITS = ("test", "validation")


@dataclass(frozen=True)
class ComparedRun:
    """A finished run.

    Attributes:
        folder: its folder.
        metrics: the contents of its metrics.json.
        name: what it is called among the runs that are compared; no two have the same.
    """

    folder: Path
    metrics: dict[str, Any]
    name: str

    @property
    def monitor(self) -> str | None:
        """The score that selected the weights; None if a run of an older version does not say."""
        return self.metrics["train"].get("monitor")

    def scores(self, split: str) -> dict[str, float]:
        """Every score of `split`, nested ones under names such as `per_class.good.f1`."""
        return flatten(self.metrics.get(split, {}))

    @cached_property
    def settings(self) -> dict[str, Any]:
        """Each setting in recipe.json, as `optim.learning_rate`.

        Raises:
            UserError: there is no recipe.json, or it cannot be read.
        """
        return run_folder.settings_of(read_json(self.folder / run_folder.RECIPE))

    @cached_property
    def history(self) -> list[dict[str, Any]]:
        """The records of history.jsonl in their order; none if there is no such file.

        Raises:
            UserError: a line of it is not JSON.
        """
        return run_folder.history(self.folder)

    def predictions_file(self, split: str) -> Path:
        """Where the run has written what it answered for each row of `split`; versions until 2026 did not."""
        return run_folder.predictions_of(self.folder, split)

    def predictions(self, split: str) -> Predictions:
        """What the run answered for each row of `split`, read anew each time.

        Raises:
            UserError: the file is missing or damaged.
        """
        from pipeline import predictions

        return predictions.read(self.predictions_file(split))


def read_runs(folders: Sequence[Path]) -> list[ComparedRun]:
    """The runs in `folders`, named after their folders, with as many folders above as it takes to tell them apart.

    Raises:
        UserError: a folder is not that of a finished run, or is named twice.
    """
    resolved = [folder.resolve() for folder in folders]
    for folder, count in Counter(resolved).items():
        if count > 1:
            raise UserError(f"finetune compare: {folders[resolved.index(folder)]} is named twice; name each run once")
    names = distinct_names(resolved)
    return [ComparedRun(folder, read_metrics(folder), name) for folder, name in zip(folders, names, strict=True)]


def split_of(runs: Sequence[ComparedRun], split: str | None) -> str:
    """The split on which `runs` are compared: `split`, or if it is None test, or validation if a run has no test split.

    Raises:
        UserError: a run has no such split.
    """
    chosen = split or ("test" if all("test" in run.metrics for run in runs) else "validation")
    without = [run for run in runs if chosen not in run.metrics]
    if without and split:
        raise UserError(f"--split: {without[0].folder} has no scores on {split}; leave out --split {split}")
    return chosen


def distinct_names(folders: Sequence[Path]) -> list[str]:
    """The last part of each of these different, absolute paths, preceded by as many others as make it distinct."""
    return [next(name for name in _names(folder) if _is_only(name, folders)) for folder in folders]


def _names(folder: Path) -> list[str]:
    return ["/".join(folder.parts[-size:]) for size in range(1, len(folder.parts) + 1)] or [str(folder)]


def _is_only(name: str, folders: Sequence[Path]) -> bool:
    return sum(name in _names(folder) for folder in folders) == 1


def is_unfinished(folder: Path) -> bool:
    """Whether `folder` is that of a run that has begun and not finished. Models, exports and the best trial of a
    search have a recipe, too."""
    is_other = (folder / run_folder.METRICS).is_file() or any(folder.glob("*.onnx")) or _named_instead(folder)
    return (folder / run_folder.RECIPE).is_file() and not is_other


def _is_model(folder: Path) -> bool:
    """Whether `folder` is that of the model in the folder of a finished run."""
    return folder.name == run_folder.MODEL and (folder.parent / run_folder.METRICS).is_file()


def _named_instead(folder: Path) -> str:
    """What to name instead of `folder`, which is not that of a run; empty if there is no run near it."""
    if _is_model(folder):
        return f"; name the run whose model it is: {folder.parent}"
    inside = sorted(str(file.parent) for file in folder.glob(f"*/{run_folder.METRICS}"))
    return f"; name the runs in it: {listing(inside)}" if inside else ""


def read_metrics(folder: Path) -> dict[str, Any]:
    """metrics.json of a finished run.

    Raises:
        UserError: the file is missing, or is not what a run writes.
    """
    file = folder / run_folder.METRICS
    if not folder.exists():
        others = [path.parent.name for path in folder.parent.glob(f"*/{run_folder.METRICS}")]
        raise UserError(f"{folder}: there is no such folder{suggest(folder.name, others) if others else ''}")
    if not file.is_file():
        state = "has not finished" if is_unfinished(folder) else "is not the folder of a run"
        raise UserError(f"{folder}: it {state}; there is no {run_folder.METRICS} in it{_named_instead(folder)}")
    try:
        metrics = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{file}: not JSON: {reason(error)}") from error
    if not _are_of_a_run(metrics):
        raise UserError(f"{file}: not the metrics of a run, or some of them are missing; run it again")
    return metrics


def _are_of_a_run(metrics: Any) -> bool:
    if not isinstance(metrics, dict) or not isinstance(metrics.get("train"), dict):
        return False
    scores = [metrics[split] for split in SPLITS if split in metrics]
    return (
        bool(scores)
        and all(isinstance(score, dict) for score in scores)
        and all(isinstance(metrics["train"].get(name), (int, float)) for name in TRAIN_METRICS)
    )
