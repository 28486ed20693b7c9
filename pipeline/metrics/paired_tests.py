"""Tests of whether two systems differ, each on its own: McNemar, approximate randomisation, paired bootstrap, t-test,
permutation of runs, and Holm's correction.

`comparison` chooses between them. All are two-sided. Shapes: N rows, K columns of contributions, S runs, R resamples.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np

from pipeline.metrics.bootstrap import BLOCK_BYTES
from pipeline.metrics.decomposed import DecomposedScore

RANDOMIZATIONS = 10_000
# All splits of 10 + 10 runs are enumerated; of more runs, as many are drawn.
MOST_SPLITS = 184_756
# Two differences that are equal but for rounding count as equal.
ROUNDING = 1e-12


def mcnemar_exact(first_only: int, second_only: int) -> float:
    """P-value of McNemar's exact test: of the discordant rows, each system should be right on half (McNemar 1947).

    It is at most as large as it should be under the null hypothesis, never larger: with few discordant rows it rejects
    less often than alpha (see `mcnemar_mid_p`).

    Args:
        first_only: rows that only the first system gets right.
        second_only: rows that only the second gets right.
    """
    from scipy.stats import binomtest

    discordant = first_only + second_only
    return float(binomtest(first_only, discordant).pvalue) if discordant else 1.0


def mcnemar_mid_p(first_only: int, second_only: int) -> float:
    """McNemar's test with the mid-p-value: the probability of the observed split itself counts half.

    Its rate of false alarms is close to alpha, and may lie slightly above it (Fagerland, Lydersen & Laake 2013).
    """
    from scipy.stats import binom

    discordant = first_only + second_only
    if first_only == second_only:
        return 1.0 - float(binom.pmf(first_only, discordant, 0.5)) / 2 if discordant else 1.0
    return mcnemar_exact(first_only, second_only) - float(binom.pmf(first_only, discordant, 0.5))


def approximate_randomization(
    score: DecomposedScore,
    first: Sequence[np.ndarray],
    second: Sequence[np.ndarray],
    randomizations: int = RANDOMIZATIONS,
    seed: int = 0,
) -> float:
    """P-value of the paired permutation test: does exchanging the systems on random rows give so great a difference?

    p = (k + 1) / (R + 1), where k of R random exchanges give an absolute difference at least as great as the observed
    one (Noreen 1989, section 2; Yeh 2000, section 3.2; Phipson & Smyth 2010 for the + 1). Identical systems get 1.

    With several runs, a row is exchanged in all of them at once, and the difference is that of the mean scores. The
    test then says whether these very runs differ, as it does for one run: it knows nothing of other seeds.

    Args:
        score: of the contributions.
        first: contributions (N, K) of each of S runs.
        second: the same of the other system, of as many runs.
        randomizations: R, at least 1.
        seed: of the exchanges.

    Raises:
        ValueError: the systems have different numbers of runs.
    """
    if len(first) != len(second):
        raise ValueError(
            f"rows can be exchanged only between equal numbers of runs, not {len(first)} and {len(second)}"
        )
    runs = len(first)
    one, other = (np.concatenate(list(system), axis=1, dtype=np.float64) for system in (first, second))
    totals = [_per_run(array.sum(axis=0), runs) for array in (one, other)]
    observed = abs(float(_mean_difference(score, *totals)))
    least = observed - ROUNDING * float(np.abs([score.value(sums) for sums in totals]).max())
    exchanged = one - other
    patterns, counts = _distinct(exchanged[np.any(exchanged != 0, axis=1)])
    extreme = 0
    for moved in _moved(patterns, counts, randomizations, np.random.Generator(np.random.PCG64(seed))):
        moved_of_runs = _per_run(moved, runs)
        differences = _mean_difference(score, totals[0] - moved_of_runs, totals[1] + moved_of_runs)
        extreme += int((np.abs(differences) >= least).sum())
    return (extreme + 1) / (randomizations + 1)


def _per_run(sums: np.ndarray, runs: int) -> np.ndarray:
    """(..., S * K) -> (..., S, K)."""
    return sums.reshape(*sums.shape[:-1], runs, -1)


def _mean_difference(score: DecomposedScore, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(...) difference of the mean scores, from sums (..., S, K)."""
    return score.value(first).mean(axis=-1) - score.value(second).mean(axis=-1)


def _distinct(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The distinct rows (P, K), and how often each occurs (P,)."""
    if not len(rows):
        return rows, np.zeros(0, dtype=np.int64)
    order = np.lexsort(rows.T)
    ordered = rows[order]
    begins = np.flatnonzero(np.append(True, np.any(ordered[1:] != ordered[:-1], axis=1)))
    return ordered[begins], np.diff(np.append(begins, len(rows)))


def _moved(
    patterns: np.ndarray, counts: np.ndarray, randomizations: int, generator: np.random.Generator
) -> itertools.chain[np.ndarray] | list[np.ndarray]:
    """Pieces (r, K) of what random exchanges move from the first system to the second, R rows in all.

    Of equal rows only the number that is exchanged matters, and this is binomial.
    """
    piece = max(1, BLOCK_BYTES // (8 * max(len(counts), 1)))
    sizes = [min(piece, randomizations - start) for start in range(0, randomizations, piece)]
    single = bool(np.all(counts == 1))

    def exchanges(size: int) -> np.ndarray:
        if single:  # a bit each, eight from a random byte
            bits = np.unpackbits(np.frombuffer(generator.bytes(size * -(-len(counts) // 8)), dtype=np.uint8))
            return bits.reshape(size, -1)[:, : len(counts)].astype(np.float64)
        return generator.binomial(counts, 0.5, size=(size, len(counts))).astype(np.float64)

    return itertools.chain.from_iterable([exchanges(size) @ patterns] for size in sizes)


def paired_bootstrap(differences: np.ndarray, observed: float) -> float:
    """P-value of the paired bootstrap: how often does a resample's difference stray so far from the observed one?

    p = (k + 1) / (R + 1), where k of the R resampled differences d* have |d* - d| >= |d|: the resampled differences,
    centred, stand for those under the null hypothesis (Berg-Kirkpatrick, Burkett & Klein 2012, section 3.1, here
    two-sided; Efron & Tibshirani 1993, section 16.4).

    Args:
        differences: (R,) d*, of two systems on the same resamples.
        observed: d.
    """
    far = np.abs(differences - observed) >= abs(observed) * (1 - ROUNDING)
    return (int(far.sum()) + 1) / (len(differences) + 1)


def permutation_of_runs(first: Sequence[float], second: Sequence[float], seed: int = 0) -> float:
    """P-value of the exact permutation test over whole runs: m + n scores can be split in (m + n choose m) ways.

    The share of all splits whose means differ at least as much as the observed ones; the observed split is one of them.
    See `smallest_p_of_runs` for how small it can be. If there are more than 184,756 splits, as many are drawn, and
    p = (k + 1) / (R + 1).

    Args:
        first: score of each of m runs.
        second: score of each of n runs.
        seed: of the drawn splits.
    """
    scores = np.array([*first, *second], dtype=np.float64)
    scores = scores - scores.mean()  # keeps the digits of small differences
    size, total = len(first), len(scores)
    splits = math.comb(total, size)
    if splits <= MOST_SPLITS:
        chosen = np.fromiter(
            itertools.chain.from_iterable(itertools.combinations(range(total), size)), np.int64, splits * size
        ).reshape(splits, size)
    else:
        generator = np.random.Generator(np.random.PCG64(seed))
        chosen = generator.permuted(np.tile(np.arange(total), (MOST_SPLITS, 1)), axis=1)[:, :size]
    # With the scores centred, the difference of the means is a multiple of the sum of one side.
    sums = np.abs(scores[chosen].sum(axis=1))
    observed = abs(scores[:size].sum())
    extreme = int((sums >= observed - ROUNDING * max(np.abs(scores).max(), ROUNDING)).sum())
    return extreme / splits if splits <= MOST_SPLITS else (extreme + 1) / (MOST_SPLITS + 1)


def smallest_p_of_runs(first: int, second: int) -> float:
    """The smallest p-value that `permutation_of_runs` can give: 0.1 for 3 runs against 3, 0.029 for 4, 0.008 for 5.

    With equally many runs on both sides, each split has a mirror image with the same difference.
    """
    return (2 if first == second else 1) / math.comb(first + second, first)


def t_test(difference: float, standard_error: float, degrees_of_freedom: float) -> float:
    """P-value of Student's t; 1 if there is no difference, 0 if there is one and no error."""
    from scipy.stats import t

    if standard_error == 0:
        return float(difference == 0)
    return float(2 * t.sf(abs(difference) / standard_error, degrees_of_freedom))


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values adjusted for as many comparisons (Holm 1979), in the order given."""
    from statsmodels.stats.multitest import multipletests

    return [float(p) for p in multipletests(list(p_values), method="holm")[1]] if p_values else []
