"""Accuracy, macro F1, per-class scores and confusion matrix of single-label classification: an `evaluate.Metric`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import datasets
import evaluate
import numpy as np

DESCRIPTION = "Scores of single-label classification, between 0 and 1, and the confusion matrix, in rows."

INPUTS = """
Args:
    predictions (N,): class ids.
    references (N,): class ids.
    label_names: names of the classes in the order of their ids.
Returns:
    accuracy; macro_f1: mean F1 over the classes that occur in predictions or references (as in scikit-learn);
    per_class: name -> precision, recall, f1, support, where 0/0 counts as 0;
    confusion: counts; rows are references and columns are predictions, in the order of label_names.
"""


class Classification(evaluate.Metric):
    """Accuracy, macro F1, per-class precision, recall and F1, and the confusion matrix."""

    def _info(self) -> evaluate.MetricInfo:
        features = datasets.Features({"predictions": datasets.Value("int64"), "references": datasets.Value("int64")})
        return evaluate.MetricInfo(description=DESCRIPTION, citation="", inputs_description=INPUTS, features=features)

    def _compute(
        self, predictions: Sequence[int], references: Sequence[int], label_names: Sequence[str]
    ) -> dict[str, Any]:
        matrix = confusion(np.asarray(references), np.asarray(predictions), len(label_names))
        hits, support, predicted = np.diag(matrix), matrix.sum(axis=1), matrix.sum(axis=0)
        precision, recall = ratio(hits, predicted), ratio(hits, support)
        f1 = ratio(2 * hits, support + predicted)
        per_class = zip(label_names, precision, recall, f1, support, strict=True)
        return {
            "accuracy": float(hits.sum() / max(matrix.sum(), 1)),
            "macro_f1": float(f1[(support + predicted) > 0].mean()),
            "per_class": {
                name: {"precision": float(p), "recall": float(r), "f1": float(f), "support": int(n)}
                for name, p, r, f, n in per_class
            },
            "confusion": matrix.tolist(),
        }


def confusion(references: np.ndarray, predictions: np.ndarray, classes: int) -> np.ndarray:
    """Confusion matrix (C, C) of class ids (N,): rows are references, columns are predictions."""
    return np.bincount(references * classes + predictions, minlength=classes * classes).reshape(classes, classes)


def ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """`part` / `whole`, element by element; 0/0 is 0."""
    return np.divide(part, whole, out=np.zeros(len(part)), where=whole > 0)
