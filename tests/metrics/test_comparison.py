"""The comparison of two systems picks the test that suits the score, and its error covers seeds and rows."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from pipeline.metrics import comparison, decomposed, paired_tests
from pipeline.metrics.bootstrap import bootstrap_sums, percentile_interval

ROWS = 300


def predictions(generator, gold, accuracy):
    return np.where(generator.random(len(gold)) < accuracy, gold, 1 - gold)


@pytest.fixture
def gold():
    return np.random.default_rng(0).integers(0, 2, ROWS)


@pytest.fixture
def pair(gold):
    generator = np.random.default_rng(1)
    return predictions(generator, gold, 0.9), predictions(generator, gold, 0.8)


def test_accuracy_gets_mcnemars_test(gold, pair):
    first, second = (decomposed.weighted(guess == gold) for guess in pair)
    result = comparison.paired_test(decomposed.ACCURACY, [first], [second])
    split = [int(((pair[i] == gold) & (pair[1 - i] != gold)).sum()) for i in (0, 1)]
    assert (result.name, result.p_value) == (comparison.MCNEMAR, paired_tests.mcnemar_exact(*split))
    assert result.difference == pytest.approx((split[0] - split[1]) / ROWS)
    assert result.discordant_share == sum(split) / ROWS
    assert result.mid_p_value < result.p_value
    deviations = (first - second)[:, 0]
    assert result.standard_error == pytest.approx(deviations.std() / math.sqrt(ROWS), rel=0.03)
    assert result.low < result.difference < result.high


def test_f1_gets_approximate_randomisation_with_the_given_exchanges(gold, pair):
    counts = [decomposed.class_counts(guess, gold, 2) for guess in pair]
    exchanged = paired_tests.exchange_sums(counts, 500, seed=3)
    result = comparison.paired_test(decomposed.MACRO_F1, *([run] for run in counts), None, None, *exchanged)
    expected = paired_tests.approximate_randomization(
        decomposed.MACRO_F1, *([run] for run in counts), *([moved] for moved in exchanged)
    )
    assert (result.name, result.p_value) == (comparison.RANDOMIZATION, expected)


def test_likelihoods_get_the_paired_bootstrap_over_the_given_resamples():
    generator = np.random.default_rng(2)
    hard = generator.gamma(2.0, 1.0, ROWS)
    first, second = (decomposed.weighted(hard + generator.normal(0, 0.3, ROWS)) for _ in range(2))
    sums = bootstrap_sums([first, second], 700, seed=5)
    result = comparison.paired_test(decomposed.LOSS, [first], [second], sums[:1], sums[1:])
    samples = decomposed.LOSS.value(sums[0]) - decomposed.LOSS.value(sums[1])
    assert result.name == comparison.BOOTSTRAP
    assert result.p_value == paired_tests.paired_bootstrap(samples, result.difference)
    assert (result.low, result.high) == percentile_interval(samples)
    assert result.detectable == pytest.approx(2.8016 * samples.std(), rel=1e-4)


def test_with_blocks_accuracy_gets_randomisation_of_blocks(gold, pair):
    runs = [decomposed.weighted(guess == gold) for guess in pair]
    result = comparison.paired_test(decomposed.ACCURACY, *([run] for run in runs), block_length=10)
    assert result.name == comparison.RANDOMIZATION


@pytest.mark.parametrize("runs", [1, 3])
def test_identical_systems_do_not_differ(gold, pair, runs):
    for score, rows in (
        (decomposed.ACCURACY, [decomposed.weighted(guess == gold) for guess in pair]),
        (decomposed.MACRO_F1, [decomposed.class_counts(guess, gold, 2) for guess in pair]),
        (decomposed.LOSS, [decomposed.weighted(np.arange(ROWS) + guess) for guess in pair]),
    ):
        system = [rows[0], rows[1], rows[0]][:runs]
        result = comparison.paired_test(score, system, system)
        assert (result.p_value, result.difference) == (1.0, 0.0)
        assert result.low <= 0 <= result.high


def test_if_only_seeds_matter_the_test_is_students_t_over_the_runs():
    """Each run gets the same on all rows, so rows add no error."""
    first, second = [0.5, 0.7, 0.9], [0.4, 0.3, 0.45]
    systems = [[decomposed.weighted(np.full(50, score)) for score in scores] for scores in (first, second)]
    result = comparison.paired_test(decomposed.LOSS, *systems)
    expected = stats.ttest_ind(first, second)
    assert result.name == comparison.SEEDS_AND_ROWS
    assert result.p_value == pytest.approx(expected.pvalue, rel=1e-9)
    assert result.degrees_of_freedom == pytest.approx(4)
    interval = expected.confidence_interval()
    assert result.high - result.low == pytest.approx(interval.high - interval.low, rel=1e-9)


def test_if_only_rows_matter_the_error_is_that_over_rows():
    """All runs of a system are the same run, so seeds add no error."""
    generator = np.random.default_rng(0)
    rows = [decomposed.weighted(generator.gamma(2, 1, 200)) for _ in range(2)]
    several = comparison.paired_test(decomposed.LOSS, [rows[0]] * 3, [rows[1]] * 3)
    single = comparison.paired_test(decomposed.LOSS, rows[:1], rows[1:])
    assert several.standard_error == pytest.approx(single.standard_error, rel=1e-9)
    assert math.isinf(several.degrees_of_freedom)
    assert (several.low, several.high) == pytest.approx((single.low, single.high))


def test_the_error_over_seeds_and_rows_is_that_of_many_simulated_comparisons():
    generator = np.random.default_rng(0)
    errors, differences = [], []
    for _ in range(150):
        hard = generator.normal(0, 1.0, 100)
        noise = generator.normal(0, 0.1, (2, 3, 1)) + generator.normal(0, 1, (2, 3, 100))
        systems = [[decomposed.weighted(5 + hard * (1 + side) + run) for run in noise[side]] for side in (0, 1)]
        sums = bootstrap_sums([*systems[0], *systems[1]], 300, int(generator.integers(2**32)))
        result = comparison.paired_test(decomposed.LOSS, *systems, sums[:3], sums[3:])
        errors.append(result.standard_error**2)
        differences.append(result.difference)
    # rows 1/100, seeds 2 * 0.01/3, runs on rows 2/(3 * 100)
    assert np.mean(errors) == pytest.approx(0.01 + 0.02 / 3 + 0.02 / 3, rel=0.1)
    assert np.var(differences) == pytest.approx(np.mean(errors), rel=0.25)


def test_a_single_run_is_taken_to_vary_as_the_runs_of_the_other_system():
    scores = [0.5, 0.7, 0.9]
    several = [decomposed.weighted(np.full(50, score)) for score in scores]
    result = comparison.paired_test(decomposed.LOSS, [decomposed.weighted(np.full(50, 0.4))], several)
    assert result.standard_error == pytest.approx(np.std(scores, ddof=1) * math.sqrt(1 + 1 / 3), rel=1e-9)
    assert result.degrees_of_freedom == pytest.approx(2)


def test_an_estimate_is_the_mean_over_runs_within_the_bounds_of_the_score():
    rows = [decomposed.weighted(np.append(np.ones(30), wrong)) for wrong in (0.0, 1.0, 1.0)]
    interval = comparison.estimate(decomposed.ACCURACY, rows)
    assert interval.value == pytest.approx((30 / 31 + 1 + 1) / 3)
    assert 0.9 < interval.low < interval.value < interval.high == 1.0


def test_the_interval_of_one_run_is_that_of_its_percentiles(gold, pair):
    rows = decomposed.weighted(pair[0] == gold)
    interval = comparison.estimate(decomposed.ACCURACY, [rows])
    binomial = math.sqrt(interval.value * (1 - interval.value) / ROWS)
    assert interval.standard_error == pytest.approx(binomial, rel=0.03)
    assert interval.low == pytest.approx(interval.value - 1.96 * binomial, abs=0.006)


def test_the_same_rows_give_the_same_figures():
    rows = [decomposed.weighted(np.random.default_rng(seed).random(80)) for seed in range(4)]
    assert comparison.paired_test(decomposed.LOSS, rows[:2], rows[2:]) == comparison.paired_test(
        decomposed.LOSS, rows[:2], rows[2:]
    )


@pytest.mark.parametrize(
    ("score", "contributions"),
    [(decomposed.PEARSON, decomposed.moments), (decomposed.SPEARMAN, decomposed.rank_pseudovalues)],
)
def test_the_test_of_a_correlation_ignores_the_scale_of_the_predictions_as_the_correlation_does(score, contributions):
    generator = np.random.default_rng(5)
    gold = generator.normal(size=ROWS)
    first, second = (gold + generator.normal(0, error, ROWS) for error in (0.7, 0.9))
    rows = contributions(first, gold)
    others = [contributions(guess, gold) for guess in (second, second / 4 + 3)]
    results = [comparison.paired_test(score, [rows], [other]) for other in others]
    assert results[0].p_value < 0.05
    assert results[1].p_value == pytest.approx(results[0].p_value, abs=1e-9)
    assert (results[1].low, results[1].high) == pytest.approx((results[0].low, results[0].high))
