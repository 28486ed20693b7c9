"""Two systems compared on the same rows: the difference of their scores, its interval, and the test that suits it.

Shapes: N rows, K columns of contributions (`decomposed`), R resamples, S runs of a system that differ in the seed.

With one run each, the question is whether these two runs differ on such rows. With several, it is whether the systems
differ: other seeds would give other runs, so the error is that over seeds and rows together.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from pipeline.metrics import paired_tests, power
from pipeline.metrics.bootstrap import (
    Interval,
    bootstrap_sums,
    hierarchical_samples,
    percentile_interval,
    score_of,
)
from pipeline.metrics.decomposed import DecomposedScore

MCNEMAR = "exact McNemar test"
RANDOMIZATION = "approximate randomisation"
BOOTSTRAP = "paired bootstrap"
SEEDS_AND_ROWS = "t-test over seeds and rows"

Runs = Sequence[np.ndarray]


@dataclass(frozen=True)
class TestResult:
    """A test of one score of two systems. Differences are first - second, whatever is better.

    Attributes:
        name: of the test.
        p_value: two-sided.
        difference: of the mean scores over runs.
        low, high: bounds of the interval of the difference.
        standard_error: of the difference.
        detectable: the smallest true difference that this test would have found with a power of 0.8 at 0.05.
        degrees_of_freedom: of the standard error; infinite if it comes from rows alone.
        mid_p_value: McNemar's mid-p-value beside the exact one; None for other tests.
        discordant_share: rows that one of two runs alone gets right; None for other tests.
    """

    name: str
    p_value: float
    difference: float
    low: float
    high: float
    standard_error: float
    detectable: float
    degrees_of_freedom: float = math.inf
    mid_p_value: float | None = None
    discordant_share: float | None = None


def estimate(
    score: DecomposedScore,
    runs: Runs,
    sums: Runs | None = None,
    block_length: int = 1,
    seed: int = 0,
    confidence: float = 0.95,
) -> Interval:
    """The mean score of a system's runs and its interval: over rows, or over seeds and rows with several runs.

    Args:
        score: of the contributions.
        runs: contributions (N, K) of each run.
        sums: (R, K) of each run from `bootstrap_sums`; None to draw them here.
        block_length: rows in a block, for running text.
        seed: of the resamples.
        confidence: of the interval, in (0, 1).
    """
    if sums is None:
        sums = bootstrap_sums(runs, seed=seed, block_length=block_length)
    values = _values(score, sums)
    observed = np.array([score_of(score, [run]) for run in runs])
    value = float(observed.mean())
    error, quantile = _error_of_one(values, observed, confidence)
    samples = hierarchical_samples(values, _generator(seed)) if len(runs) > 1 else values[:, 0]
    low, high = _interval(samples, value, error, quantile, confidence)
    return Interval(value, max(low, score.bounds[0]), min(high, score.bounds[1]), error)


def paired_test(
    score: DecomposedScore,
    first: Runs,
    second: Runs,
    first_sums: Runs | None = None,
    second_sums: Runs | None = None,
    first_exchanged: np.ndarray | None = None,
    second_exchanged: np.ndarray | None = None,
    block_length: int = 1,
    seed: int = 0,
    confidence: float = 0.95,
) -> TestResult:
    """Whether two systems differ in `score`, by the test that suits it.

    One run each: the exact McNemar test for shares of rows, the paired bootstrap for negative log-likelihoods, and
    approximate randomisation for F1 and the rest. With blocks, whole blocks are exchanged. Several runs of one or both:
    Student's t, with the error over seeds and rows (`_error_of_two`).

    Args:
        score: of the contributions.
        first: contributions (N, K) of each run of the first system.
        second: those of the second, on the same rows.
        first_sums: (R, K) of each run from `bootstrap_sums`, on the same resamples as `second_sums`; None to draw both.
        second_sums: see `first_sums`.
        first_exchanged: (R, K) of the first system's run from `paired_tests.exchange_sums`, with single runs; None to
            draw both where the test needs them.
        second_exchanged: that of the second.
        block_length: rows in a block, for running text; that of the sums, if they are given.
        seed: of the resamples and exchanges.
        confidence: of the interval, in (0, 1).
    """
    if first_sums is None or second_sums is None:
        sums = bootstrap_sums([*first, *second], seed=seed, block_length=block_length)
        first_sums, second_sums = sums[: len(first)], sums[len(first) :]
    ours, theirs = _values(score, first_sums), _values(score, second_sums)
    if len(first) == len(second) == 1:
        samples = ours[:, 0] - theirs[:, 0]
        given = None if first_exchanged is None or second_exchanged is None else (first_exchanged, second_exchanged)
        return _of_single_runs(score, (first[0], second[0]), samples, given, block_length, seed, confidence)
    observed = [np.array([score_of(score, [run]) for run in runs]) for runs in (first, second)]
    difference = float(observed[0].mean() - observed[1].mean())
    error, freedom = _error_of_two(ours, theirs, *observed)
    generator = _generator(seed)
    samples = hierarchical_samples(ours, generator) - hierarchical_samples(theirs, generator)
    low, high = _interval(samples, difference, error, _quantile(confidence, freedom), confidence)
    p_value = paired_tests.t_test(difference, error, freedom)
    detectable = power.detectable_difference(error, freedom)
    return TestResult(SEEDS_AND_ROWS, p_value, difference, low, high, error, detectable, freedom)


def _of_single_runs(
    score: DecomposedScore,
    rows: tuple[np.ndarray, np.ndarray],
    samples: np.ndarray,
    exchanged: tuple[np.ndarray, np.ndarray] | None,
    block_length: int,
    seed: int,
    confidence: float,
) -> TestResult:
    """The test of one run against another.

    Args:
        score: of the contributions.
        rows: contributions (N, K) of both runs.
        samples: (R,) resampled differences.
        exchanged: (R, K) of both from `paired_tests.exchange_sums`; None to draw them where they are needed.
        block_length: rows in a block.
        seed: of the exchanges.
        confidence: of the interval.
    """
    difference = score_of(score, rows[:1]) - score_of(score, rows[1:])
    error = float(samples.std())
    result = TestResult("", 1.0, difference, *percentile_interval(samples, confidence), error, 0.0)
    if score.kind == "share" and block_length == 1:
        return _mcnemar(result, *rows)
    if score.kind == "nll":
        name, p_value = BOOTSTRAP, paired_tests.paired_bootstrap(samples, difference)
    else:
        name = RANDOMIZATION
        first, second = exchanged or paired_tests.exchange_sums(rows, seed=seed, block_length=block_length)
        p_value = paired_tests.approximate_randomization(score, rows[:1], rows[1:], [first], [second])
    return replace(result, name=name, p_value=p_value, detectable=power.detectable_difference(error))


def _mcnemar(result: TestResult, first: np.ndarray, second: np.ndarray) -> TestResult:
    """`result` with McNemar's test of two runs (N, 2), whose first column says whether the row is right."""
    right, others_right = first[:, 0] > 0, second[:, 0] > 0
    split = int((right & ~others_right).sum()), int((others_right & ~right).sum())
    share = sum(split) / len(first)
    return replace(
        result,
        name=MCNEMAR,
        p_value=paired_tests.mcnemar_exact(*split),
        detectable=power.detectable_difference_of_shares(share, len(first)),
        mid_p_value=paired_tests.mcnemar_mid_p(*split),
        discordant_share=share,
    )


def _values(score: DecomposedScore, sums: Runs) -> np.ndarray:
    """(R, S) score of each run on each resample."""
    return np.stack([score.value(run) for run in sums], axis=1)


def _own_noise(values: np.ndarray) -> float:
    """Variance over resamples of what a run does not share with the other runs of its system, from (R, S)."""
    own = values - values.mean(axis=1, keepdims=True)
    return float(own.var(axis=0).sum() / (values.shape[1] - 1))


def _error_of_one(values: np.ndarray, observed: np.ndarray, confidence: float) -> tuple[float, float | None]:
    """Standard error over seeds and rows of a system's mean score, and by how many of it the interval reaches out.

    See `_error`. Of two or three seeds alone, Satterthwaite's degrees of freedom promise too much, so the quantiles of
    the two parts are averaged with their variances as weights (Cochran & Cox 1950).

    Args:
        values: (R, S) scores of the runs on resamples.
        observed: (S,) their scores on the rows.
        confidence: of the interval.

    Returns:
        The error and the quantile; None for the quantile if rows are the only source of error.
    """
    runs = len(observed)
    if runs == 1:
        return float(values[:, 0].std()), None
    seeds, noise = float(observed.var(ddof=1)) / runs, _own_noise(values) / runs
    error, freedom = _error(float(values.mean(axis=1).var()), noise, seeds, runs - 1)
    if math.isinf(freedom):
        return error, None
    share = seeds / error**2
    return error, share * _t(confidence, runs - 1) + (1 - share) * _t(confidence, math.inf)


def _error_of_two(ours: np.ndarray, theirs: np.ndarray, first: np.ndarray, second: np.ndarray) -> tuple[float, float]:
    """Standard error over seeds and rows of the difference of two mean scores, and its degrees of freedom.

    See `_error`. The variance over seeds is pooled, as the runs of both systems should vary alike if the systems are
    equal; a system with a single run is taken to vary as much as the other one.

    Args:
        ours: (R, m) scores of the first system's runs on resamples.
        theirs: (R, n) those of the second.
        first: (m,) scores of the first system's runs on the rows.
        second: (n,) those of the second.
    """
    over_rows = float((ours.mean(axis=1) - theirs.mean(axis=1)).var())
    several = [(values, scores) for values, scores in ((ours, first), (theirs, second)) if len(scores) > 1]
    freedom = sum(len(scores) - 1 for _, scores in several)
    weight = 1 / len(first) + 1 / len(second)
    seeds = sum(scores.var(ddof=1) * (len(scores) - 1) for _, scores in several) / freedom * weight
    noise = sum(_own_noise(values) * (len(scores) - 1) for values, scores in several) / freedom * weight
    return _error(over_rows, noise, seeds, freedom)


def _error(over_rows: float, noise: float, seeds: float, freedom: int) -> tuple[float, float]:
    """Standard error and its degrees of freedom, as for readers and cases in Obuchowski & Rockette 1995; Hillis 2007.

    The runs are the readers, each of one system (nested, Hillis 2014), and the rows are the cases. The scores of runs
    with different seeds vary because of the seeds and because of what each run gets right by chance on these rows;
    `seeds` measures both together. `over_rows` holds the second as well, so it is taken out there. The degrees of
    freedom are Satterthwaite's, with the part over rows taken as known (Hillis 2007).

    Args:
        over_rows: variance over resampled rows, with these runs.
        noise: the part of `over_rows` that runs of the same system do not share.
        seeds: variance of the mean, or of the difference of means, estimated from the scores of the runs.
        freedom: degrees of freedom of `seeds`.
    """
    variance = max(over_rows - noise, 0.0) + seeds
    return math.sqrt(variance), float(freedom * (variance / seeds) ** 2) if seeds else math.inf


def _generator(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64([seed, 1]))


def _quantile(confidence: float, freedom: float) -> float | None:
    """Student's t for an interval; None if rows are the only source of error."""
    return None if math.isinf(freedom) else _t(confidence, freedom)


def _t(confidence: float, freedom: float) -> float:
    from scipy.stats import norm, t

    probability = (1 + confidence) / 2
    return float(norm.ppf(probability) if math.isinf(freedom) else t.ppf(probability, freedom))


def _interval(
    samples: np.ndarray, value: float, error: float, quantile: float | None, confidence: float
) -> tuple[float, float]:
    """Percentile interval of hierarchical samples (R,), made as wide as that of Student's t: 2 * quantile * error.

    With few seeds the plain percentiles lie too near: two draws from three runs are never far from their mean, and
    their quantiles are not those of t (Hesterberg 2015 expands them for the same reasons). What is kept
    of them is the ratio of the upper part to the lower. Samples over rows alone are kept as they are.
    """
    low, high = percentile_interval(samples, confidence)
    if quantile is None or low == high:
        return low, high
    stretch = 2 * error * quantile / (high - low)
    centre = float(samples.mean())
    return value + stretch * (low - centre), value + stretch * (high - centre)
