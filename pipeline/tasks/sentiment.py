"""Sentiment analysis, and any other task with one answer per text: here, one of several labels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch.nn import functional as F

from pipeline.config.distil import Distil
from pipeline.data.checks import label_set
from pipeline.errors import UserError, listing
from pipeline.models.recurrent.crf import IGNORED
from pipeline.predictions import Predictions
from pipeline.tasks.base import Batch, Task
from pipeline.tasks.multi_label import MultiLabel
from pipeline.tasks.regression import Regression
from pipeline.tasks.text_answers import TextAnswers, lists_of
from pipeline.training import divergences

if TYPE_CHECKING:
    from datasets import Dataset


class Sentiment(TextAnswers):
    """One label per text. Shapes: B rows of a batch, T time, C classes, N rows of a split."""

    problem_type: ClassVar[str | None] = "single_label_classification"
    monitor: ClassVar[str] = "accuracy"
    stratify_by: ClassVar[str | None] = "label"
    keeps_logits: ClassVar[bool] = True
    unused: ClassVar[Mapping[str, str]] = {
        "threshold": "each text has exactly one label, the most likely one, so nothing is decided by a threshold",
    }

    def variant(self, problem_type: str | None) -> Task:
        """This task, or that of several labels per text or of numbers.

        Raises:
            UserError: transformers has no such type.
        """
        if problem_type in (None, self.problem_type):
            return self
        if problem_type not in VARIANTS:
            raise UserError(f"model: problem_type {problem_type!r} is unknown; expected one of {listing([*VARIANTS])}")
        return VARIANTS[problem_type](self.reads_pairs)

    def labels(self, source_label_names: Sequence[str] | None, splits: Mapping[str, Dataset]) -> list[str]:
        return label_set(source_label_names, splits)

    def monitors(self, labels: Sequence[str]) -> Sequence[str]:
        figures = (f"per_class.{label}.{figure}" for label in labels for figure in ("precision", "recall", "f1"))
        return ("loss", "accuracy", "macro_f1", *figures)

    def targets(self, answers: list[Any], labels: list[str]) -> list[int]:
        """Class ids."""
        ids = {label: index for index, label in enumerate(labels)}
        return [ids[label] for label in answers]

    def no_targets(self, count: int, labels: list[str]) -> list[int]:
        return [IGNORED] * count

    def divergence(self, student: torch.Tensor, teacher: torch.Tensor, settings: Distil) -> torch.Tensor:
        return divergences.of_classes(student, teacher, settings)

    def stacked(self, targets: pa.ChunkedArray) -> torch.Tensor:
        """(B,) int64."""
        return torch.tensor(targets.to_numpy())

    def outcome(self, outputs: Any, batch: Batch) -> dict[str, Any]:
        logits = outputs.logits.float()  # (B, C)
        nll = F.cross_entropy(logits, batch["labels"], reduction="none")
        return {"nll": nll, "prediction": logits.argmax(dim=-1), "label": batch["labels"], "logits": logits}

    def score(self, outcome: dict[str, Any], labels: list[str]) -> dict[str, Any]:
        return _scores(outcome["label"], outcome["prediction"], outcome["nll"].astype(np.float64), labels)

    def recorded(self, outcome: dict[str, Any], labels: list[str]) -> dict[str, pa.Array]:
        """Both answers by name, the probabilities of all classes as `scores`, and the `nll` of the right one."""
        names = pa.array(labels, pa.string())
        probabilities = torch.from_numpy(outcome["logits"]).softmax(dim=-1).numpy()
        return {
            "gold": names.take(pa.array(outcome["label"])),
            "prediction": names.take(pa.array(outcome["prediction"])),
            "scores": lists_of(probabilities),
            "nll": pa.array(outcome["nll"].astype(np.float64)),
        }

    def score_rows(self, rows: Predictions) -> dict[str, Any]:
        labels = pa.array(rows.info.labels, pa.string())
        label, prediction = (
            pc.index_in(rows.table[name], labels).to_numpy().astype(np.int64) for name in ("gold", "prediction")
        )
        return _scores(label, prediction, rows.table["nll"].to_numpy(), rows.info.labels)

    def concern(self, scores: dict[str, Any]) -> str | None:
        """Warns if all texts get the same label although the data has several."""
        confusion, names = np.array(scores["confusion"]), list(scores["per_class"])
        predicted = confusion.any(axis=0)
        if predicted.sum() != 1 or confusion.any(axis=1).sum() == 1:
            return None
        return f"every text is predicted as {names[int(predicted.argmax())]}; other labels are never predicted"

    def answers(self, logits: torch.Tensor, labels: list[str]) -> Iterator[dict[str, Any]]:
        for row in logits.softmax(dim=-1).tolist():  # (B, C)
            best = max(range(len(row)), key=row.__getitem__)
            yield {"label": labels[best], "score": row[best], "scores": dict(zip(labels, row, strict=True))}


def _scores(label: np.ndarray, prediction: np.ndarray, nll: np.ndarray, labels: list[str]) -> dict[str, Any]:
    """Scores of class ids and NLL in float64, all (N,)."""
    from pipeline.metrics.classification import Classification  # takes a second, and prediction needs no metric

    metric = Classification(keep_in_memory=True)
    scores = metric.compute(predictions=prediction, references=label, label_names=labels)
    return {"loss": float(nll.mean()), **(scores or {})}


VARIANTS: dict[str, type[TextAnswers]] = {
    "single_label_classification": Sentiment,
    "multi_label_classification": MultiLabel,
    "regression": Regression,
}
