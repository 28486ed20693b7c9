"""Which score of the validation split selects the best weights: that of the task, or the one train.monitor names."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from pipeline.config.training import Train
from pipeline.errors import UserError, suggest
from pipeline.metrics.scores import flatten, is_lower_better
from pipeline.tasks.base import Task


class Monitor(NamedTuple):
    """A score by its name in `metrics.scores.flatten`, and its direction."""

    name: str
    lower_is_better: bool

    def read(self, scores: Mapping[str, Any]) -> float:
        """The score, as it was reported.

        Raises:
            UserError: there is no such score.
        """
        if self.name in scores:
            return float(scores[self.name])
        found = flatten(scores)
        if self.name not in found:
            raise UserError(_unknown(self.name, list(found)))
        return found[self.name]

    def is_better(self, score: float, best: float | None) -> bool:
        """Whether `score`, signed so that higher is better, exceeds `best`; one that is not a number never does."""
        return not math.isnan(score) and (best is None or score > best)

    def signed(self, score: float) -> float:
        """`score` such that higher is better."""
        return -score if self.lower_is_better else score


def choose(train: Train, task: Task, labels: Sequence[str]) -> Monitor:
    """The score that `train` names, or that of the task.

    Raises:
        UserError: the task does not report a score of this name.
    """
    if train.monitor is None:
        return Monitor(task.monitor, task.lower_is_better)
    known = task.monitors(labels)
    if known and train.monitor not in known:
        raise UserError(_unknown(train.monitor, known))
    if train.monitor == task.monitor:
        return Monitor(task.monitor, task.lower_is_better)
    return Monitor(train.monitor, is_lower_better(train.monitor))


def check_support(monitor: Monitor, counts: Mapping[str, int]) -> None:
    """Refuse a score of a single label that never occurs in the validation split, where it would always be the same.

    Args:
        counts: label, or type of entity -> how often it occurs in the validation split; empty if that is not known.

    Raises:
        UserError: as above.
    """
    kind, _, rest = monitor.name.partition(".")
    label = rest.rpartition(".")[0]
    if kind.startswith("per_") and label and counts and not counts.get(label):
        raise UserError(
            f"train.monitor: the validation split has no {label!r}, so {monitor.name} cannot tell which weights are"
            " better; choose another metric, or set data.validation_share to hold out more rows"
        )


def _unknown(name: str, known: Sequence[str]) -> str:
    near = suggest(name, known)
    if "did you mean" not in near:
        near = suggest("", sorted({_outline(score) for score in known}))
    return f"train.monitor: the task reports no score {name!r}{near}"


def _outline(score: str) -> str:
    """`per_class.NAME.f1` for the f1 of any class."""
    first, *inner = score.split(".")
    return f"{first}.NAME.{inner[-1]}" if len(inner) > 1 else score
