"""Any number of labels per text: a sigmoid for each, and thresholds that are tuned on the validation split."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch.nn import functional as F

from pipeline.config.distil import Distil
from pipeline.config.training import Train
from pipeline.data import labels as labelling
from pipeline.data.checks import MANY_CLASSES, in_order
from pipeline.data.rows import whole
from pipeline.errors import UserError
from pipeline.predictions import Predictions
from pipeline.tasks.base import Batch
from pipeline.tasks.text_answers import TextAnswers, lists_of
from pipeline.training import divergences

if TYPE_CHECKING:
    from datasets import Dataset

DEFAULT_THRESHOLD = 0.5


class MultiLabel(TextAnswers):
    """Any number of labels per text, none included. Shapes: B rows of a batch, C classes, N rows of a split.

    A text gets the labels whose probability is at least their threshold.

    Attributes:
        thresholds: of the C classes, each in [0, 1]; None: 0.5 for all.
    """

    problem_type: ClassVar[str | None] = "multi_label_classification"
    monitor: ClassVar[str] = "micro_f1"
    stratify_by: ClassVar[str | None] = "label"

    def __init__(self, reads_pairs: bool | None = None, thresholds: Sequence[float] | None = None):
        super().__init__(reads_pairs)
        self.thresholds = None if thresholds is None else [float(threshold) for threshold in thresholds]

    def fitted(self, outcome: dict[str, Any], labels: list[str], train: Train) -> MultiLabel:
        """With the thresholds that maximise F1 on this outcome, or that train.threshold sets."""
        from pipeline.metrics.multi_label import best_thresholds

        if isinstance(train.threshold, float):
            return MultiLabel(self.reads_pairs, [train.threshold] * len(labels))
        per_label = train.threshold == "per_label"
        return MultiLabel(self.reads_pairs, best_thresholds(outcome["probability"], outcome["label"], per_label))

    def recall(self, config: Any) -> None:
        super().recall(config)
        thresholds = getattr(config, "thresholds", None)
        if thresholds is not None and not _are_thresholds(thresholds, config.num_labels):
            wanted = f"{config.num_labels} numbers from 0 to 1, one for each label"
            raise UserError(f"model: thresholds in config.json must be {wanted}")
        self.thresholds = thresholds

    def monitors(self, labels: Sequence[str]) -> Sequence[str]:
        figures = (f"per_class.{label}.{figure}" for label in labels for figure in ("precision", "recall", "f1"))
        return ("loss", "micro_f1", "macro_f1", "accuracy", *figures)

    def labels(self, source_label_names: Sequence[str] | None, splits: Mapping[str, Dataset]) -> list[str]:
        """Names of the classes in the order of their ids: that of the source, numerical or alphabetical.

        Raises:
            UserError: no row of train has a label, all have the same ones, or nearly every row has its own.
        """
        counts = {split: labelling.count(rows, "label") for split, rows in splits.items()}
        found, train, rows = set().union(*counts.values()), counts["train"], len(splits["train"])
        if not train:
            raise UserError("data.label_column: no row of train has a label; is it the right column?")
        if all(count == rows for count in train.values()):
            raise UserError("data.label_column: every row of train has the same labels, which leaves nothing to learn")
        if len(found) > MANY_CLASSES and len(found) > rows / 2:
            raise UserError(
                f"data.label_column: {len(found)} different labels in {rows} rows, such as {sorted(found)[0][:40]!r}:"
                " these are not classes; name the column of the labels"
            )
        return in_order(found, source_label_names)

    def targets(self, answers: list[Any], labels: list[str]) -> pa.Array:
        """Whether each class is among the labels of a row: lists of C bools, a bit each."""
        ids = {label: index for index, label in enumerate(labels)}
        hot = np.zeros((len(answers), len(labels)), dtype=bool)
        for row, names in enumerate(answers):
            hot[row, [ids[name] for name in names]] = True
        return pa.FixedSizeListArray.from_arrays(pa.array(hot.ravel()), len(labels)).cast(pa.list_(pa.bool_()))

    def no_targets(self, count: int, labels: list[str]) -> pa.Array:
        """Lists of C nulls."""
        nulls = pa.nulls(count * len(labels), pa.bool_())
        return pa.FixedSizeListArray.from_arrays(nulls, len(labels)).cast(pa.list_(pa.bool_()))

    def divergence(self, student: torch.Tensor, teacher: torch.Tensor, settings: Distil) -> torch.Tensor:
        return divergences.of_each_class(student, teacher, settings)

    def stacked(self, targets: pa.ChunkedArray) -> torch.Tensor:
        """(B, C) float32, 1 for the labels of a text and 0 for all others; NaN if nothing is known about them."""
        flat = whole(targets).flatten().cast(pa.float32()).to_numpy(zero_copy_only=False)
        return torch.tensor(flat.reshape(len(targets), -1))

    def outcome(self, outputs: Any, batch: Batch) -> dict[str, Any]:
        logits, labels = outputs.logits.float(), batch["labels"].float()  # (B, C)
        nll = F.binary_cross_entropy_with_logits(logits, labels, reduction="none").mean(dim=-1)
        return {"nll": nll, "probability": logits.sigmoid(), "label": labels > 0, "logits": logits}

    def score(self, outcome: dict[str, Any], labels: list[str]) -> dict[str, Any]:
        chosen, nll = self._chosen(outcome["probability"]), outcome["nll"].astype(np.float64)
        return _scores(outcome["label"], chosen, nll, labels, self._limits(len(labels)))

    def _limits(self, classes: int) -> list[float]:
        return self.thresholds or [DEFAULT_THRESHOLD] * classes

    def _chosen(self, probabilities: np.ndarray) -> np.ndarray:
        """(N, C) bool, in float64: a threshold lies between two probabilities in float32."""
        return probabilities.astype(np.float64) >= np.array(self._limits(probabilities.shape[1]))

    def recorded(self, outcome: dict[str, Any], labels: list[str]) -> dict[str, pa.Array]:
        """Both answers as lists of names, the probability of each class as `scores`, and the mean `nll` over all
        classes."""
        names = pa.array(labels, pa.string())
        return {
            "gold": _named(outcome["label"], names),
            "prediction": _named(self._chosen(outcome["probability"]), names),
            "scores": lists_of(outcome["probability"]),
            "nll": pa.array(outcome["nll"].astype(np.float64)),
        }

    def scored_by(self, outcome: dict[str, Any], labels: list[str]) -> dict[str, Any]:
        return {"thresholds": self._limits(len(labels))}

    def score_rows(self, rows: Predictions) -> dict[str, Any]:
        labels = rows.info.labels
        label, chosen = (_hot(rows.table[name], labels) for name in ("gold", "prediction"))
        return _scores(label, chosen, rows.table["nll"].to_numpy(), labels, rows.info.settings["thresholds"])

    def concern(self, scores: dict[str, Any]) -> str | None:
        """Warns if none of the labels is found."""
        there = sum(figures["support"] for figures in scores["per_class"].values())
        found = any(figures["recall"] for figures in scores["per_class"].values())
        return None if found or not there else f"the model finds none of the {there:,} labels"

    def answers(self, logits: torch.Tensor, labels: list[str]) -> Iterator[dict[str, Any]]:
        """`labels`, the likeliest first, and the probabilities of all as `scores`."""
        probabilities = logits.sigmoid().cpu().numpy()
        for row, chosen in zip(probabilities.tolist(), self._chosen(probabilities).tolist(), strict=True):
            scores = dict(zip(labels, row, strict=True))
            own = [label for label, is_own in zip(labels, chosen, strict=True) if is_own]
            yield {"labels": sorted(own, key=lambda label: -scores[label]), "scores": scores}


def _scores(
    label: np.ndarray, chosen: np.ndarray, nll: np.ndarray, labels: list[str], thresholds: list[float]
) -> dict[str, Any]:
    """Scores of decisions (N, C) and NLL (N,) in float64."""
    from pipeline.metrics.multi_label import MultiLabelClassification  # takes a second

    metric = MultiLabelClassification(keep_in_memory=True)
    scores = metric.compute(predictions=chosen, references=label, label_names=labels)
    return {"loss": float(nll.mean()), **(scores or {}), "thresholds": dict(zip(labels, thresholds, strict=True))}


def _named(chosen: np.ndarray, names: pa.Array) -> pa.ListArray:
    """The names of the classes that each row of `chosen`, (N, C) bool, has."""
    offsets = np.concatenate([[0], np.cumsum(chosen.sum(axis=1))]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), names.take(pa.array(np.nonzero(chosen)[1])))


def _hot(names: pa.ChunkedArray, labels: list[str]) -> np.ndarray:
    """The inverse of `_named`."""
    lists = names.combine_chunks()
    hot = np.zeros((len(lists), len(labels)), dtype=bool)
    classes = pc.index_in(lists.flatten(), pa.array(labels, pa.string())).to_numpy().astype(np.int64)
    hot[pc.list_parent_indices(lists).to_numpy(), classes] = True
    return hot


def _are_thresholds(values: Any, classes: int) -> bool:
    numbers = isinstance(values, list) and all(isinstance(value, (int, float)) and 0 <= value <= 1 for value in values)
    return numbers and len(values) == classes
