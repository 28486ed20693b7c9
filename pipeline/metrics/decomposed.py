"""Scores as functions of sums over rows, so that thousands of resamples of the rows cost one matrix product.

Shapes: N rows, K columns of what a row adds ("contributions"), C classes. `...` is any number of leading dimensions,
such as resamples.

Every score here is homogeneous of degree 0: twice the same rows give the same score (BLEU, unless a precision is 0).
The intervals and tests in `bootstrap` and `comparison` rely on it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from pipeline.metrics import ngrams

# share: one 0 or 1 a row, so that McNemar's test applies; f1: from counts of hits, support and predictions; nll: a
# negative log-likelihood per unit of text, or a function of one; other: anything else.
Kind = Literal["share", "f1", "nll", "other"]


@dataclass(frozen=True)
class DecomposedScore:
    """A score as a function of sums over rows.

    Attributes:
        name: as in metrics.json.
        value: (..., K) sums of contributions -> (...) scores.
        lower_is_better: whether it measures an error.
        kind: which test suits it.
        bounds: the lowest and the highest value that it can have.
    """

    name: str
    value: Callable[[np.ndarray], np.ndarray]
    lower_is_better: bool
    kind: Kind
    bounds: tuple[float, float] = (0.0, np.inf)


# Contributions


def weighted(values: Any, weights: Any = 1.0) -> np.ndarray:
    """(N, 2) contributions of a mean: values (N,) that are already sums over the `weights` units of each row.

    Accuracy: `weighted(predictions == references)`. Loss: `weighted(nll, tokens)`.
    """
    numbers = np.asarray(values, dtype=np.float64)
    return np.stack([numbers, np.broadcast_to(np.asarray(weights, dtype=np.float64), numbers.shape)], axis=1)


def class_counts(predictions: np.ndarray, references: np.ndarray, classes: int) -> np.ndarray:
    """(N, 3C) hits, support and predictions of each class, from class ids (N,)."""
    return label_counts(*(ids[:, None] == np.arange(classes) for ids in map(np.asarray, (predictions, references))))


def label_counts(predictions: np.ndarray, references: np.ndarray) -> np.ndarray:
    """(N, 3C) hits, support and predictions of each class, from (N, C) bool: whether the row has the label."""
    return np.concatenate([predictions & references, references, predictions], axis=1).astype(np.float64)


def span_counts(
    predictions: Sequence[Iterable[tuple[str, int, int]]],
    references: Sequence[Iterable[tuple[str, int, int]]],
    types: Sequence[str],
) -> np.ndarray:
    """(N, 3C) right, true and predicted spans (type, start, end) of each of C types in N sentences.

    A span of a type that is not in `types` raises KeyError.
    """
    columns = {kind: column for column, kind in enumerate(types)}
    counts = np.zeros((len(references), 3, len(types)))
    for row, (guess, truth) in enumerate(zip(predictions, references, strict=True)):
        predicted, true = set(guess), set(truth)
        for part, found in enumerate((predicted & true, true, predicted)):
            for kind, _, _ in found:
                counts[row, part, columns[kind]] += 1
    return counts.reshape(len(references), -1)


def moments(predictions: np.ndarray, references: np.ndarray) -> np.ndarray:
    """(N, 6) contributions of Pearson's correlation: 1, x, y, x^2, y^2, xy.

    Each side is measured from its own mean in units of its own standard deviation. That changes no correlation, and it
    makes the rows of two runs exchangeable: the correlation ignores the scale of a run's predictions, but mixed with
    those of a run on another scale, they would correlate with nothing.
    """
    x, y = (_standardized(np.asarray(values, dtype=np.float64)) for values in (predictions, references))
    return np.stack([np.ones_like(x), x, y, x * x, y * y, x * y], axis=1)


def _standardized(values: np.ndarray) -> np.ndarray:
    """(N,) with mean 0 and standard deviation 1; zeros if all are equal."""
    if np.ptp(values) == 0:
        return np.zeros_like(values)
    deviations = values - values.mean()
    deviations /= np.abs(deviations).max()  # keeps the squares of very small or very large numbers in range
    return deviations / deviations.std()


def rank_pseudovalues(predictions: np.ndarray, references: np.ndarray) -> np.ndarray:
    """(N, 2) contributions whose mean is Spearman's correlation.

    A rank depends on all rows, so this score is no function of sums. It is replaced by its linear approximation around
    these rows, rho + (influence of the row), where the influence counts that the row moves the ranks of the others
    (infinitesimal jackknife; Efron 1982, chapter 6). On these rows themselves it is exact.
    """
    x, y = (_midranks(np.asarray(values, dtype=np.float64)) for values in (predictions, references))
    n = len(x)
    zx, zy = (values - values.mean() for values in (x, y))
    spread = np.sqrt((zx @ zx) * (zy @ zy))
    if spread == 0:
        return weighted(np.zeros(n))
    rho = float(np.clip(zx @ zy / spread, -1.0, 1.0))
    vx, vy = zx @ zx / n, zy @ zy / n
    direct = zx * zy / np.sqrt(vx * vy) - rho * (zx * zx / vx + zy * zy / vy) / 2
    # N times d rho / d rank of each row. A further copy of a row adds 1 to the ranks above its own, 1/2 to its equals.
    slope_x = zy / np.sqrt(vx * vy) - rho * zx / vx
    slope_y = zx / np.sqrt(vx * vy) - rho * zy / vy
    influence = direct + _sum_above(x, slope_x) + _sum_above(y, slope_y)
    return weighted(rho + influence - influence.mean())


def _midranks(values: np.ndarray) -> np.ndarray:
    """(N,) rank of each value, from 1; equal values share the mean of their ranks."""
    _, group, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[group]


def _sum_above(ranks: np.ndarray, amounts: np.ndarray) -> np.ndarray:
    """(N,) sum of `amounts` over the rows with a higher rank, and half of it over those with the same."""
    _, group = np.unique(ranks, return_inverse=True)
    totals = np.bincount(group, weights=amounts)
    return (totals.sum() - np.cumsum(totals) + totals / 2)[group]


# Values


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """`part` / `whole`, element by element; 0/0 is 0."""
    return np.divide(part, whole, out=np.zeros(np.shape(part)), where=np.asarray(whole) > 0)


def _mean(sums: np.ndarray) -> np.ndarray:
    return _ratio(sums[..., 0], sums[..., 1])


def _perplexity(sums: np.ndarray) -> np.ndarray:
    mean = _mean(sums)
    return np.where(mean < 700, np.exp(np.minimum(mean, 700)), np.inf)  # as next_word: no overflow, but infinity


def _bits(sums: np.ndarray) -> np.ndarray:
    return _mean(sums) / np.log(2)


def _counts(sums: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Hits, support and predictions, each (..., C)."""
    parts = sums.reshape(*sums.shape[:-1], 3, -1)
    return parts[..., 0, :], parts[..., 1, :], parts[..., 2, :]


def _f1_of_classes(sums: np.ndarray) -> np.ndarray:
    hits, support, predicted = _counts(sums)
    return _ratio(2 * hits, support + predicted)


def _macro_f1_of_all(sums: np.ndarray) -> np.ndarray:
    return _f1_of_classes(sums).mean(axis=-1)


def _macro_f1_of_present(sums: np.ndarray) -> np.ndarray:
    _, support, predicted = _counts(sums)
    return _ratio(_f1_of_classes(sums).sum(axis=-1), (support + predicted > 0).sum(axis=-1).astype(np.float64))


def _micro_f1(sums: np.ndarray) -> np.ndarray:
    hits, support, predicted = (part.sum(axis=-1) for part in _counts(sums))
    return _ratio(2 * hits, support + predicted)


def _micro_precision(sums: np.ndarray) -> np.ndarray:
    hits, _, predicted = (part.sum(axis=-1) for part in _counts(sums))
    return _ratio(hits, predicted)


def _micro_recall(sums: np.ndarray) -> np.ndarray:
    hits, support, _ = (part.sum(axis=-1) for part in _counts(sums))
    return _ratio(hits, support)


def _pearson(sums: np.ndarray) -> np.ndarray:
    n, x, y, xx, yy, xy = np.moveaxis(sums, -1, 0)
    vx, vy = n * xx - x * x, n * yy - y * y
    # What rounding leaves of the variance of a constant is none.
    varies = (vx > 1e-13 * n * xx) & (vy > 1e-13 * n * yy)
    product = np.where(varies, vx * vy, 1.0)
    return np.where(varies, np.clip((n * xy - x * y) / np.sqrt(product), -1.0, 1.0), 0.0)


# The scores, each with the function that makes its contributions.
ACCURACY = DecomposedScore("accuracy", _mean, False, "share", (0.0, 1.0))  # weighted(correct)
ACCURACY_OF_UNITS = DecomposedScore("accuracy", _mean, False, "other", (0.0, 1.0))  # weighted(correct, words or tokens)
ACCURACY_TOP5 = DecomposedScore("accuracy_top5", _mean, False, "other", (0.0, 1.0))  # weighted(in_five, tokens)
MACRO_F1 = DecomposedScore("macro_f1", _macro_f1_of_present, False, "f1", (0.0, 1.0))  # class_counts
MACRO_F1_OF_LABELS = DecomposedScore("macro_f1", _macro_f1_of_all, False, "f1", (0.0, 1.0))  # label_counts
MICRO_F1 = DecomposedScore("micro_f1", _micro_f1, False, "f1", (0.0, 1.0))  # label_counts
F1 = DecomposedScore("f1", _micro_f1, False, "f1", (0.0, 1.0))  # span_counts
STRICT_F1 = DecomposedScore("strict_f1", _micro_f1, False, "f1", (0.0, 1.0))  # span_counts of valid spans
PRECISION = DecomposedScore("precision", _micro_precision, False, "f1", (0.0, 1.0))  # span_counts
RECALL = DecomposedScore("recall", _micro_recall, False, "f1", (0.0, 1.0))  # span_counts
LOSS = DecomposedScore("loss", _mean, True, "nll")  # weighted(nll) or weighted(nll, tokens)
PERPLEXITY_PER_TOKEN = DecomposedScore("perplexity_per_token", _perplexity, True, "nll")  # weighted(nll, tokens)
PERPLEXITY_PER_WORD = DecomposedScore("perplexity_per_word", _perplexity, True, "nll")  # weighted(nll, words)
BITS_PER_BYTE = DecomposedScore("bits_per_byte", _bits, True, "nll")  # weighted(nll, bytes)
MSE = DecomposedScore("mse", _mean, True, "other")  # weighted(squared_error)
BLEU = DecomposedScore("bleu", ngrams.bleu, False, "other", (0.0, 100.0))  # ngrams.bleu_counts
CHRF = DecomposedScore("chrf", ngrams.chrf, False, "other", (0.0, 100.0))  # ngrams.chrf_counts
PEARSON = DecomposedScore("pearson", _pearson, False, "other", (-1.0, 1.0))  # moments
SPEARMAN = DecomposedScore("spearman", _mean, False, "other", (-1.0, 1.0))  # rank_pseudovalues


def of_class(
    prefix: str, name: str, column: int, classes: int, figure: Literal["precision", "recall", "f1"] = "f1"
) -> DecomposedScore:
    """The figure of one class or type, from the same (N, 3C) contributions as the average over all.

    Named as in metrics.json flattened: `per_class.good.f1` for prefix `per_class` and name `good`.
    """
    columns = [column, classes + column, 2 * classes + column]
    average = {"precision": _micro_precision, "recall": _micro_recall, "f1": _micro_f1}[figure]
    return DecomposedScore(
        f"{prefix}.{name}.{figure}", lambda sums: average(sums[..., columns]), False, "f1", (0.0, 1.0)
    )
