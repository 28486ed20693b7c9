"""The loss that training minimises: the model's own, one with class weights and label smoothing, or one against a
teacher's answers.

Shapes: B rows, C classes, M places: rows, words or tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline.config.distil import Distil
from pipeline.config.training import Train
from pipeline.errors import UserError, suggest
from pipeline.models.recurrent.crf import IGNORED

# What a teacher says about the places of a batch; the model does not get it.
TEACHER = "teacher"


class Objective:
    """The loss that the model computes itself, a mean over labels."""

    def inputs(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """What of a micro-batch the model gets."""
        return batch

    def loss(self, outputs: Any, batch: dict[str, Tensor]) -> Tensor:
        """Mean loss of a micro-batch, a scalar."""
        return outputs.loss

    def losses(self, logits: Tensor, labels: Tensor) -> Tensor:
        """(M,) what each label costs on its own, 0 where there is none.

        Args:
            logits: (M, C).
            labels: (M,) or (M, C).
        """
        return F.cross_entropy(logits.float(), labels, ignore_index=IGNORED, reduction="none")

    def weight(self, batch: Mapping[str, Tensor], labels: int) -> float:
        """The weight of the micro-batch's mean loss in an update: the number of its `labels`."""
        return labels

    def metadata(self) -> dict[str, Any]:
        """What metrics.json should contain about the loss."""
        return {}


class WeightedObjective(Objective):
    """A loss over classes, with weights of the classes and label smoothing."""

    def __init__(self, names: Sequence[str], weights: Tensor | None, smoothing: float):
        """Args:
        names: of the C classes.
        weights: (C,) float32, at least 0; None: all 1.
        smoothing: in [0, 1).
        """
        self._names, self._weights, self._smoothing = names, weights, smoothing

    def metadata(self) -> dict[str, Any]:
        if self._weights is None:
            return {}
        return {"class_weights": dict(zip(self._names, self._weights.tolist(), strict=True))}


class LabelObjective(WeightedObjective):
    """Cross-entropy with class weights (King & Zeng 2001) and label smoothing (Szegedy et al. 2016, section 7).

    As in `torch.nn.functional.cross_entropy`: a label y with weight w_y and smoothing e costs
    (1 - e) w_y nll_y + e / C * sum_c w_c nll_c, and the mean divides by the sum of the w_y.
    """

    def loss(self, outputs: Any, batch: dict[str, Tensor]) -> Tensor:
        logits = outputs.logits
        return self._cross_entropy(logits.reshape(-1, logits.shape[-1]), batch["labels"].reshape(-1), "mean")

    def losses(self, logits: Tensor, labels: Tensor) -> Tensor:
        return self._cross_entropy(logits, labels, "none")

    def _cross_entropy(self, logits: Tensor, labels: Tensor, reduction: str) -> Tensor:
        return F.cross_entropy(
            logits.float(),
            labels,
            weight=None if self._weights is None else self._weights.to(logits.device),
            label_smoothing=self._smoothing,
            ignore_index=IGNORED,
            reduction=reduction,
        )

    def weight(self, batch: Mapping[str, Tensor], labels: int) -> float:
        if self._weights is None:
            return labels
        known = batch["labels"][batch["labels"] != IGNORED]
        # In float64: the shares of an update must add up to one, however its rows are split.
        return float(self._weights[known].double().sum())


class MultiLabelObjective(WeightedObjective):
    """Binary cross-entropy, the mean over rows and classes, with weights of the positive labels and label smoothing.

    As in `torch.nn.functional.binary_cross_entropy_with_logits`: a class with the target t and the probability p costs
    -w t log p - (1 - t) log(1 - p), where w is its weight. With the smoothing e, the target is 1 - e/2 instead of 1 and
    e/2 instead of 0, which is the uniform smoothing of Szegedy et al. 2016, section 7, over having a label or not.
    """

    def loss(self, outputs: Any, batch: dict[str, Tensor]) -> Tensor:
        return self._cross_entropy(outputs.logits, batch["labels"]).mean()

    def losses(self, logits: Tensor, labels: Tensor) -> Tensor:
        known = ~labels.isnan()
        return (self._cross_entropy(logits, labels.where(known, 0.0)) * known).mean(dim=-1)

    def _cross_entropy(self, logits: Tensor, labels: Tensor) -> Tensor:
        """(B, C)."""
        return F.binary_cross_entropy_with_logits(
            logits.float(),
            labels * (1 - self._smoothing) + self._smoothing / 2,
            pos_weight=None if self._weights is None else self._weights.to(logits.device),
            reduction="none",
        )


class RegressionObjective(Objective):
    """Mean squared error of the model's only output, whose gradient is that of the error in units of `scale`.

    So the gradient does not grow with the numbers, and neither clipping nor Adam's epsilon depends on their unit.
    """

    def __init__(self, scale: float):
        """Args:
        scale: standard deviation of the training numbers, above 0.
        """
        self._scale = scale

    def loss(self, outputs: Any, batch: dict[str, Tensor]) -> Tensor:
        return in_units(self.losses(outputs.logits, batch["labels"]).mean(), self._scale)

    def losses(self, logits: Tensor, labels: Tensor) -> Tensor:
        known = ~labels.isnan()
        error = (logits.float()[:, 0] - labels.where(known, 0.0)) / self._scale
        return (error * known).square()


def in_units(scaled: Tensor, scale: float) -> Tensor:
    """A squared error in units of `scale`, with its own gradient and the value that it has in the units of the data."""
    return scaled.detach() * scale**2 + (scaled - scaled.detach())  # value + 0


class TeacherLosses(Protocol):
    """What places of a micro-batch cost, see `tasks.teacher_hooks.TeacherLosses`."""

    @property
    def soft(self) -> Tensor: ...
    @property
    def hard(self) -> Tensor: ...
    @property
    def labelled(self) -> Tensor: ...


class DistilObjective(Objective):
    """The loss against a teacher's answers, of which labels may take a share (Hinton et al. 2015, section 2).

    A place costs (1 - h) soft + h hard if it has a label, and soft if it has none, where h is the share; the loss is
    the mean over places. So every place weighs the same, whichever others are in its update. Weights of classes are
    divided by their mean over the training labels, so they do not change the share of the labels.
    """

    def __init__(
        self,
        settings: Distil,
        places: Callable[[Any, dict[str, Tensor], Distil, Callable[[Tensor, Tensor], Tensor]], TeacherLosses],
        labels: Objective,
        mean_weight: float = 1.0,
        output_scale: float = 1.0,
    ):
        """Args:
        places: `Task.teacher_losses`.
        labels: the objective of the labels alone.
        mean_weight: of the training labels.
        output_scale: see `Task`.
        """
        self._settings, self._places, self._labels = settings, places, labels
        self._mean_weight, self._scale = mean_weight, output_scale

    def inputs(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        return {name: values for name, values in batch.items() if name != TEACHER}

    def losses(self, logits: Tensor, labels: Tensor) -> Tensor:
        return self._labels.losses(logits, labels) / self._mean_weight

    def loss(self, outputs: Any, batch: dict[str, Tensor]) -> Tensor:
        found, share = self._places(outputs, batch, self._settings, self.losses), self._settings.hard_share
        losses = found.soft
        if share:
            losses = torch.where(found.labelled, (1 - share) * found.soft + share * found.hard, found.soft)
        return in_units(losses.mean(), self._scale)

    def metadata(self) -> dict[str, Any]:
        return self._labels.metadata()


def build_objective(
    settings: Train,
    names: Sequence[str],
    labels: Callable[[], Iterable[Tensor]],
    problem_type: str | None = None,
    output_scale: float = 1.0,
) -> Objective:
    """The objective that `settings` ask for.

    Args:
        names: of the classes, in the order of their ids.
        labels: returns all labels of the training split, in parts of any shape; called for balanced weights only.
        problem_type, output_scale: see `Task`.

    Raises:
        UserError: a weight names a class that the data does not have, or all weights are 0.
    """
    if problem_type == "regression":
        return RegressionObjective(output_scale)
    multi_label = problem_type == "multi_label_classification"
    if settings.class_weights is None and not settings.label_smoothing and not multi_label:
        return Objective()
    weights = None
    if settings.class_weights == "balanced":
        weights = (_positive_weights if multi_label else _balanced)(len(names), labels())
    elif settings.class_weights is not None:
        weights = _given(names, settings.class_weights)
    return (MultiLabelObjective if multi_label else LabelObjective)(names, weights, settings.label_smoothing)


def mean_weight(objective: Objective, labels: Iterable[Tensor]) -> float:
    """The mean weight of the classes of all `labels`; 1 for an objective without such weights."""
    total, count = 0.0, 0
    for part in labels if isinstance(objective, LabelObjective) else ():
        known = int((part != IGNORED).sum())
        total, count = total + objective.weight({"labels": part}, known), count + known
    return total / count if total else 1.0


def _positive_weights(classes: int, labels: Iterable[Tensor]) -> Tensor:
    """(C,) rows without the label / rows with it; 1 for a label that no row or every row has."""
    with_it, rows = torch.zeros(classes, dtype=torch.float64), 0
    for part in labels:  # (B, C)
        known = part[~part.isnan().any(dim=1)]
        with_it += known.double().sum(dim=0)
        rows += len(known)
    without = rows - with_it
    return torch.where((with_it > 0) & (without > 0), without / with_it.clamp(min=1), 1.0).float()


def _balanced(classes: int, labels: Iterable[Tensor]) -> Tensor:
    """(C,) all labels / (C * labels of the class), as scikit-learn's "balanced"; 1 for a class without any."""
    counts = torch.zeros(classes, dtype=torch.int64)
    for part in labels:
        counts += torch.bincount(part[part != IGNORED].flatten(), minlength=classes)
    return torch.where(counts > 0, counts.sum() / (classes * counts.clamp(min=1)), 1.0).float()


def _given(names: Sequence[str], given: Mapping[str, float]) -> Tensor:
    """(C,) the weight given to each class, else 1. An entity type means all of its tags: PER is B-PER and I-PER."""
    weights = dict.fromkeys(names, 1.0)
    for name, weight in given.items():
        named = [label for label in names if label == name or label.partition("-")[2] == name]
        if not named:
            raise UserError(f"train.class_weights: the data has no label {name!r}{suggest(name, names)}")
        weights |= dict.fromkeys(named, weight)
    if not any(weights.values()):
        raise UserError("train.class_weights: all of them are 0, which leaves nothing to learn; raise one")
    return torch.tensor([weights[name] for name in names])
