"""Confidence intervals by the bootstrap: over rows, over blocks of rows, and over seeds and rows.

Shapes: N rows, K columns of contributions (`decomposed`), R resamples, S runs with different seeds.

A resample of the rows is a vector of N counts. The sums of all runs and scores on R resamples are one product
(R, N) @ (N, K), so all of them see the same resamples, and differences between runs are paired.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.metrics.decomposed import DecomposedScore

# Enough for p-values down to 0.0001. With more rows than 20,000 fewer resamples must do, for the time they take.
MOST_RESAMPLES = 10_000
FEWEST_RESAMPLES = 1_000
MOST_DRAWS = 200_000_000
PIECE_BYTES = 32 * 2**20


@dataclass(frozen=True)
class Interval:
    """A score or a difference of scores, its confidence interval and its standard error."""

    value: float
    low: float
    high: float
    standard_error: float


def number_of_resamples(rows: int) -> int:
    """How many resamples are drawn for a number of rows: 10,000 for up to 20,000 rows, 2,000 for 100,000."""
    return int(min(max(MOST_DRAWS // max(rows, 1), FEWEST_RESAMPLES), MOST_RESAMPLES))


def default_block_length(rows: int) -> int:
    """Rows in a block of running text: 2 N^(1/3).

    N^(1/3) is the order that estimates a variance best (Künsch 1989; Hall, Horowitz & Jing 1995).
    Twice as much keeps the rate of false alarms under 6 % if neighbouring differences correlate by 0.5
    (`scripts/false_alarms.py`).
    """
    return max(1, min(rows, round(2 * rows ** (1 / 3))))


def resample_counts(rows: int, draws: int, resamples: int, seed: int = 0) -> Iterator[np.ndarray]:
    """(r, N) float64 counts of how often each row was drawn, in pieces of at most 32 MiB; R rows in all.

    The counts depend on the arguments only, neither on the size of the pieces nor on the machine.
    """
    generator = np.random.Generator(np.random.PCG64(seed))
    piece = max(1, PIECE_BYTES // (8 * rows))
    for start in range(0, resamples, piece):
        counts = np.empty((min(piece, resamples - start), rows))
        for row in counts:
            row[:] = np.bincount(generator.integers(rows, size=draws, dtype=np.int32), minlength=rows)
        yield counts


def bootstrap_sums(
    contributions: Sequence[np.ndarray], resamples: int | None = None, seed: int = 0, block_length: int = 1
) -> list[np.ndarray]:
    """Sums of contributions on resamples of the rows, the same resamples for all.

    With `block_length` b > 1, ceil(N / b) blocks of b consecutive rows are drawn, which keeps the dependence of
    neighbours. Blocks may start anywhere and go on at the beginning after the last row (circular block bootstrap,
    Politis & Romano 1992; blocks as in Künsch 1989).

    Args:
        contributions: arrays (N, K), of the same N rows; K may differ.
        resamples: R; None for `number_of_resamples`.
        seed: of the resamples.
        block_length: rows in a block, from 1 to N.

    Returns:
        An array (R, K) for each of `contributions`.
    """
    rows = len(contributions[0])
    if resamples is None:
        resamples = number_of_resamples(rows // block_length)
    widths = [array.shape[1] for array in contributions]
    joined = np.concatenate([np.asarray(array, dtype=np.float64) for array in contributions], axis=1)
    draws = -(-rows // block_length)
    if block_length > 1:
        joined = circular_block_sums(joined, block_length)
    sums = np.concatenate([counts @ joined for counts in resample_counts(rows, draws, resamples, seed)])
    return np.split(sums, np.cumsum(widths)[:-1], axis=1)


def circular_block_sums(contributions: np.ndarray, length: int) -> np.ndarray:
    """(N, K) sums of the `length` rows that begin at each row; the first row follows the last."""
    total = np.concatenate([np.zeros((1, contributions.shape[1])), np.cumsum(contributions, axis=0)])
    ends = np.arange(length, length + len(contributions))
    wrapped = ends // len(contributions)
    return total[ends % len(contributions)] + wrapped[:, None] * total[-1] - total[:-1]


def percentile_interval(samples: np.ndarray, confidence: float = 0.95) -> tuple[float, float]:
    """Percentiles of bootstrap samples (R,) that leave out (1 - confidence) / 2 on each side (Efron 1979, 1981)."""
    tail = (1 - confidence) / 2
    low, high = np.quantile(samples, [tail, 1 - tail])
    return float(low), float(high)


def hierarchical_samples(values: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """(R,) means over resampled seeds of scores that are already on resampled rows.

    For each resample of the rows, S - 1 of the S runs are drawn with replacement (one, if there is one). S draws would
    give a variance that is too small by the factor (S - 1) / S; S - 1 draws make it unbiased (Rao & Wu 1988).

    Args:
        values: (R, S) score of each run on each resample.
        generator: of the draws.
    """
    resamples, runs = values.shape
    drawn = generator.integers(runs, size=(resamples, max(1, runs - 1)))
    return np.take_along_axis(values, drawn, axis=1).mean(axis=1)


def score_of(score: DecomposedScore, runs: Sequence[np.ndarray]) -> float:
    """The mean over runs of their scores, from the contributions (N, K) of each."""
    return float(np.mean([score.value(run.sum(axis=0)) for run in runs]))
