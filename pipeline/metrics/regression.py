"""Mean squared error, and the correlations of Pearson and Spearman: an `evaluate.Metric`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import datasets
import evaluate
import numpy as np

DESCRIPTION = "How near predicted numbers are to the true ones, and how well they correlate."

CITATION = "Used together by the Semantic Textual Similarity Benchmark of GLUE (Wang et al. 2019, section 3.2)."

INPUTS = """
Args:
    predictions (N,): numbers.
    references (N,): the true numbers.
Returns:
    mse: mean squared error, at least 0, in squared units of the numbers; pearson: linear correlation, in [-1, 1];
    spearman: correlation of the ranks, where equal numbers share the mean of their ranks. The correlation with numbers
    that are all equal counts as 0.
"""


class Regression(evaluate.Metric):
    """Mean squared error, Pearson's and Spearman's correlation."""

    def _info(self) -> evaluate.MetricInfo:
        features = datasets.Features(
            {"predictions": datasets.Value("float64"), "references": datasets.Value("float64")}
        )
        return evaluate.MetricInfo(
            description=DESCRIPTION, citation=CITATION, inputs_description=INPUTS, features=features
        )

    def _compute(self, predictions: Sequence[float], references: Sequence[float]) -> dict[str, Any]:
        found, true = np.asarray(predictions, dtype=np.float64), np.asarray(references, dtype=np.float64)
        return {
            "mse": float(np.square(found - true).mean()),
            "pearson": pearson(found, true),
            "spearman": pearson(ranks(found), ranks(true)),
        }


def pearson(one: np.ndarray, other: np.ndarray) -> float:
    """Pearson's correlation of two (N,) arrays; 0 if one of them is constant."""
    if np.ptp(one) == 0 or np.ptp(other) == 0:
        return 0.0
    # Dividing by the largest deviation first keeps the squares of very small or very large numbers in range.
    one, other = (values - values.mean() for values in (one, other))
    one, other = (values / np.abs(values).max() for values in (one, other))
    return float(np.clip(one @ other / np.sqrt((one @ one) * (other @ other)), -1.0, 1.0))


def ranks(values: np.ndarray) -> np.ndarray:
    """(N,) rank of each value, from 1; equal values share the mean of their ranks."""
    _, group, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[group]
