"""P-values agree with full enumeration, scipy and statsmodels."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar

from pipeline.metrics import paired_tests
from pipeline.metrics.decomposed import LOSS, MACRO_F1, PEARSON, class_counts, moments, weighted


def randomized(score, first, second, randomizations=40_000):
    exchanged = paired_tests.exchange_sums([*first, *second], randomizations)
    return paired_tests.approximate_randomization(
        score, first, second, exchanged[: len(first)], exchanged[len(first) :]
    )


def enumerated(score, first, second) -> float:
    """The exact p-value: all 2^N exchanges of the rows of all runs."""

    def difference(one, other):
        return np.mean([score.value(run.sum(axis=0)) for run in one]) - np.mean(
            [score.value(run.sum(axis=0)) for run in other]
        )

    observed, extreme = abs(difference(first, second)), 0
    for exchange in itertools.product([False, True], repeat=len(first[0])):
        mask = np.array(exchange)[:, None]
        one = [np.where(mask, b, a) for a, b in zip(first, second, strict=True)]
        other = [np.where(mask, a, b) for a, b in zip(first, second, strict=True)]
        extreme += abs(difference(one, other)) >= observed - 1e-12
    return extreme / 2 ** len(first[0])


@pytest.mark.parametrize(("discordant", "exact"), [(10, 2.1), (25, 4.3), (50, 3.3), (100, 3.5)])
def test_the_exact_mcnemar_test_is_conservative_as_documented_and_its_mid_p_is_less_so(discordant, exact):
    """The chance of p < 0.05 under equality, over all ways to split the discordant rows."""
    chances = stats.binom.pmf(np.arange(discordant + 1), discordant, 0.5)
    rates = {
        test: 100 * sum(chances[n] for n in range(discordant + 1) if test(n, discordant - n) < 0.05)
        for test in (paired_tests.mcnemar_exact, paired_tests.mcnemar_mid_p)
    }
    assert rates[paired_tests.mcnemar_exact] == pytest.approx(exact, abs=0.05)
    assert rates[paired_tests.mcnemar_exact] <= rates[paired_tests.mcnemar_mid_p] <= 6.5


@pytest.mark.parametrize("pair", [(0, 0), (0, 1), (3, 3), (5, 6), (0, 6), (12, 30), (400, 470)])
def test_mcnemar_is_that_of_statsmodels_and_of_exact_arithmetic(pair):
    first, second = pair
    found = paired_tests.mcnemar_exact(first, second)
    assert found == pytest.approx(mcnemar([[9, first], [second, 9]], exact=True).pvalue, abs=1e-12)
    total, few = first + second, min(pair)
    tail = Fraction(sum(math.comb(total, k) for k in range(few + 1)), 2**total)
    assert found == pytest.approx(float(min(2 * tail, 1)), rel=1e-12)
    own = Fraction(math.comb(total, few), 2**total)
    mid = min(2 * tail - own, 1) if first != second else 1 - own / 2  # Fagerland et al. 2013, equation 4
    assert paired_tests.mcnemar_mid_p(first, second) == pytest.approx(float(mid) if total else 1.0, rel=1e-12)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("runs", [1, 2])
def test_randomisation_agrees_with_all_exchanges(seed, runs):
    generator = np.random.default_rng(seed)
    gold = generator.integers(0, 2, 9)

    def system(accuracy):
        return [class_counts(np.where(generator.random(9) < accuracy, gold, 1 - gold), gold, 2) for _ in range(runs)]

    first, second = system(0.9), system(0.5)
    expected = enumerated(MACRO_F1, first, second)
    assert randomized(MACRO_F1, first, second) == pytest.approx(expected, abs=0.012)


def test_randomisation_is_the_permutation_test_of_scipy():
    generator = np.random.default_rng(3)
    gold = generator.normal(size=40)
    first, second = gold + generator.normal(size=40), gold + 1.6 * generator.normal(size=40)
    centred = gold - gold.mean()

    def difference(a, b, axis):
        return sum(sign * (x @ centred) / x.std(axis=-1) for sign, x in ((1, a), (-1, b)))

    # Predictions are exchanged in standard units, as a correlation knows no others.
    exchanged = [(x - x.mean()) / x.std() for x in (first, second)]
    expected = stats.permutation_test(
        exchanged, difference, permutation_type="samples", n_resamples=10_000, rng=0, vectorized=True
    )
    found = randomized(PEARSON, [moments(first, gold)], [moments(second, gold)])
    assert found == pytest.approx(expected.pvalue, abs=0.025)


def test_identical_systems_have_a_p_value_of_one():
    rows = weighted(np.random.default_rng(0).random(100))
    assert randomized(LOSS, [rows, 3 * rows], [rows, 3 * rows], 500) == 1.0
    assert paired_tests.paired_bootstrap(np.zeros(500), 0.0) == 1.0
    assert paired_tests.permutation_of_runs([0.1, 0.7], [0.1, 0.7]) == 1.0
    assert paired_tests.t_test(0.0, 0.0, 2.0) == 1.0


def test_differences_that_are_equal_but_for_rounding_count_as_ties():
    """Only one row differs, so each exchange gives the observed difference or its negative."""
    first = weighted(np.random.default_rng(0).random(1000))
    second = first.copy()
    second[17, 0] += 1e-3
    assert randomized(LOSS, [first], [second], 500) == 1.0


def test_the_smallest_p_value_of_randomisation_counts_the_observed_exchange():
    first, second = weighted(np.ones(40)), weighted(np.zeros(40))
    assert randomized(LOSS, [first], [second], 999) == 0.001


def test_blocks_are_exchanged_whole():
    rows = np.hstack([np.eye(7), np.ones((7, 1))])
    (sums,) = paired_tests.exchange_sums([rows], 200, block_length=3)
    for block in ([0, 1, 2], [3, 4, 5]):
        assert all(len(set(chosen)) == 1 for chosen in sums[:, block])
    assert len({tuple(row) for row in sums}) == 8


def test_systems_with_different_numbers_of_runs_cannot_exchange_rows():
    rows = weighted(np.ones(3))
    with pytest.raises(ValueError, match="zip"):
        randomized(LOSS, [rows], [rows, rows], 10)


def test_the_paired_bootstrap_agrees_with_the_normal_test_of_a_mean():
    generator = np.random.default_rng(5)
    differences = generator.normal(0.12, 1, 400)
    drawn = generator.integers(400, size=(20_000, 400))
    found = paired_tests.paired_bootstrap(differences[drawn].mean(axis=1), float(differences.mean()))
    z = abs(differences.mean()) / (differences.std() / 20)
    assert found == pytest.approx(2 * stats.norm.sf(z), abs=0.006)


@pytest.mark.parametrize("sizes", [(3, 3), (2, 4), (5, 5)])
def test_the_permutation_of_runs_is_the_exact_one_of_scipy(sizes):
    generator = np.random.default_rng(0)
    first, second = generator.normal(0.3, 1, sizes[0]), generator.normal(0, 1, sizes[1])
    expected = stats.permutation_test(
        (first, second), lambda a, b: abs(a.mean() - b.mean()), alternative="greater", vectorized=False
    )
    assert paired_tests.permutation_of_runs(first, second) == pytest.approx(expected.pvalue, abs=1e-12)


@pytest.mark.parametrize("sizes", [(3, 3), (4, 4), (5, 5), (2, 5), (3, 1)])
def test_the_smallest_p_value_of_runs_is_reached_if_no_scores_overlap(sizes):
    first, second = [1.0 + 0.01 * run for run in range(sizes[0])], [0.01 * run for run in range(sizes[1])]
    # With unequal numbers the mirror image differs less.
    assert paired_tests.permutation_of_runs(first, second) == pytest.approx(paired_tests.smallest_p_of_runs(*sizes))


def test_of_many_runs_some_splits_are_drawn(monkeypatch):
    generator = np.random.default_rng(2)
    first, second = generator.normal(0.8, 1, 6), generator.normal(0, 1, 6)
    exact = paired_tests.permutation_of_runs(first, second)
    monkeypatch.setattr(paired_tests, "MOST_SPLITS", 900)
    assert paired_tests.permutation_of_runs(first, second) == pytest.approx(exact, abs=0.04)


def test_the_t_test_is_that_of_scipy():
    first, second = np.array([0.9, 0.92, 0.89]), np.array([0.88, 0.85, 0.87, 0.86])
    expected = stats.ttest_ind(first, second)
    pooled = (2 * first.var(ddof=1) + 3 * second.var(ddof=1)) / 5
    error = math.sqrt(pooled * (1 / 3 + 1 / 4))
    found = paired_tests.t_test(first.mean() - second.mean(), error, 5)
    assert found == pytest.approx(expected.pvalue, rel=1e-10)


def test_holm_multiplies_by_the_number_of_tests_that_are_left():
    assert paired_tests.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert paired_tests.holm([]) == []
