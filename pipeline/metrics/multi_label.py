"""Scores of multi-label classification, an `evaluate.Metric`, and the thresholds that maximise F1.

Shapes: N rows, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import datasets
import evaluate
import numpy as np

from pipeline.metrics.classification import ratio

DESCRIPTION = "Scores of classification with any number of labels in each row, between 0 and 1."

INPUTS = """
Args:
    predictions (N, C): whether the model gives the row the label.
    references (N, C): whether the row has the label.
    label_names: names of the classes in the order of their ids.
Returns:
    micro_f1: F1 of all N * C decisions; macro_f1: mean F1 over all classes; accuracy: share of rows whose labels are
    all right (subset accuracy); per_class: name -> precision, recall, f1, support. 0/0 counts as 0. All as in
    scikit-learn.
"""


class MultiLabelClassification(evaluate.Metric):
    """Micro and macro F1, subset accuracy, and precision, recall and F1 of each class."""

    def _info(self) -> evaluate.MetricInfo:
        labels = datasets.List(datasets.Value("bool"))
        features = datasets.Features({"predictions": labels, "references": labels})
        return evaluate.MetricInfo(description=DESCRIPTION, citation="", inputs_description=INPUTS, features=features)

    def _compute(
        self, predictions: Sequence[Sequence[bool]], references: Sequence[Sequence[bool]], label_names: Sequence[str]
    ) -> dict[str, Any]:
        return scores(np.asarray(predictions, dtype=bool), np.asarray(references, dtype=bool), label_names)


def scores(predictions: np.ndarray, references: np.ndarray, label_names: Sequence[str]) -> dict[str, Any]:
    """What `MultiLabelClassification` returns, of bool arrays (N, C)."""
    hits, support, predicted = (found.sum(axis=0) for found in (predictions & references, references, predictions))
    precision, recall, f1 = ratio(hits, predicted), ratio(hits, support), ratio(2 * hits, support + predicted)
    per_class = zip(label_names, precision, recall, f1, support, strict=True)
    return {
        "micro_f1": float(2 * hits.sum() / max(support.sum() + predicted.sum(), 1)),
        "macro_f1": float(f1.mean()),
        "accuracy": float((predictions == references).all(axis=1).mean()),
        "per_class": {
            name: {"precision": float(p), "recall": float(r), "f1": float(f), "support": int(n)}
            for name, p, r, f, n in per_class
        },
    }


def best_threshold(probabilities: np.ndarray, references: np.ndarray) -> float:
    """The threshold t for which `probabilities >= t` has the highest F1; of several, the highest one.

    Every cut between two different probabilities is tried, so no other threshold is better on these rows. The result
    lies halfway between the neighbours of the cut: a probability that differs in its last bits is not decided
    otherwise.

    Args:
        probabilities: (M,) in [0, 1], as many as there are decisions.
        references: (M,) bool, the right decisions.

    Returns:
        A number in [0, 1]; 0.5 if no decision should be positive, for then no threshold is better than another.
    """
    positives = int(references.sum())
    if not positives:
        return 0.5
    order = np.argsort(-probabilities, kind="stable")
    ranked = probabilities[order].astype(np.float64)
    hits = np.cumsum(references[order])
    # The cut after rank k accepts k + 1 decisions. Equal probabilities cannot be cut apart.
    f1 = 2 * hits / (np.arange(1, len(ranked) + 1) + positives)
    lower = np.append(ranked[1:], 0.0)
    f1[:-1][ranked[:-1] == ranked[1:]] = -1.0
    cut = int(f1.argmax())
    return float((ranked[cut] + lower[cut]) / 2)


def best_thresholds(probabilities: np.ndarray, references: np.ndarray, per_label: bool) -> list[float]:
    """(C,) a threshold for each class: the one that maximises the F1 of the class with `per_label`, else the same one
    for all, which maximises the micro F1.

    Args:
        probabilities: (N, C).
        references: (N, C) bool.
    """
    classes = probabilities.shape[1]
    if not per_label:
        return [best_threshold(probabilities.ravel(), references.ravel())] * classes
    return [best_threshold(probabilities[:, index], references[:, index]) for index in range(classes)]
