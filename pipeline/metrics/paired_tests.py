"""Tests of whether two systems differ, each on its own: McNemar, approximate randomisation, paired bootstrap, t-test,
permutation of runs, and Holm's correction.

`comparison` chooses between them. All are two-sided. Shapes: N rows, K columns of contributions, S runs, R resamples.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np

from pipeline.metrics.bootstrap import PIECE_BYTES, number_of_resamples
from pipeline.metrics.decomposed import DecomposedScore

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


def exchange_sums(
    contributions: Sequence[np.ndarray], randomizations: int | None = None, seed: int = 0, block_length: int = 1
) -> list[np.ndarray]:
    """Sums of contributions over rows chosen at random, each with probability 1/2, the same rows for all.

    These are the rows that two systems exchange in `approximate_randomization`.

    Args:
        contributions: arrays (N, K), of the same N rows; K may differ.
        randomizations: R; None for `number_of_resamples`.
        seed: of the choice.
        block_length: consecutive rows that are chosen together, for running text.

    Returns:
        An array (R, K) for each of `contributions`.
    """
    joined = np.concatenate(list(contributions), axis=1, dtype=np.float64)
    if block_length > 1:
        joined = np.add.reduceat(joined, np.arange(0, len(joined), block_length), axis=0)
    rows = len(joined)
    if randomizations is None:
        randomizations = number_of_resamples(rows)
    generator = np.random.Generator(np.random.PCG64([seed, 2]))
    sums, piece = [], max(1, PIECE_BYTES // (8 * rows))
    for start in range(0, randomizations, piece):
        size, width = min(piece, randomizations - start), -(-rows // 8)
        bits = np.unpackbits(np.frombuffer(generator.bytes(size * width), dtype=np.uint8).reshape(size, width), axis=1)
        sums.append(bits[:, :rows].astype(np.float64) @ joined)
    widths = [array.shape[1] for array in contributions]
    return np.split(np.concatenate(sums), np.cumsum(widths)[:-1], axis=1)


def approximate_randomization(
    score: DecomposedScore,
    first: Sequence[np.ndarray],
    second: Sequence[np.ndarray],
    first_exchanged: Sequence[np.ndarray],
    second_exchanged: Sequence[np.ndarray],
) -> float:
    """P-value of the paired permutation test: does exchanging the systems on random rows give so great a difference?

    p = (k + 1) / (R + 1), where k of R random exchanges give an absolute difference at least as great as the observed
    one (Noreen 1989; Yeh 2000; Phipson & Smyth 2010 for the + 1). Identical systems get 1.

    With several runs, a row is exchanged in all of them at once, and the difference is that of the mean scores. The
    test then says whether these very runs differ, as it does for one run: it knows nothing of other seeds.

    Args:
        score: of the contributions.
        first: contributions (N, K) of each of S runs.
        second: the same of the other system, of as many runs.
        first_exchanged: (R, K) of each run of `first` from `exchange_sums`.
        second_exchanged: the same of `second`, from the same call.

    Raises:
        ValueError: the systems have different numbers of runs.
    """
    pairs = list(zip(first, second, first_exchanged, second_exchanged, strict=True))
    totals = [(one.sum(axis=0), other.sum(axis=0)) for one, other, _, _ in pairs]
    values = [(float(score.value(one)), float(score.value(other))) for one, other in totals]
    observed = abs(float(np.mean([one - other for one, other in values])))
    differences = np.mean(
        [
            score.value(one - ours + theirs) - score.value(other + ours - theirs)
            for (one, other), (_, _, ours, theirs) in zip(totals, pairs, strict=True)
        ],
        axis=0,
    )
    extreme = np.abs(differences) >= observed - ROUNDING * float(np.abs(values).max())
    return (int(extreme.sum()) + 1) / (len(differences) + 1)


def paired_bootstrap(differences: np.ndarray, observed: float) -> float:
    """P-value of the paired bootstrap: how often does a resample's difference stray so far from the observed one?

    p = (k + 1) / (R + 1), where k of the R resampled differences d* have |d* - d| >= |d|: the resampled differences,
    centred, stand for those under the null hypothesis (Berg-Kirkpatrick, Burkett & Klein 2012, here
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
