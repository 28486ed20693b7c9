"""Detectable differences agree with simulated experiments."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from pipeline.metrics import power


def found_by_mcnemar(first: np.ndarray, second: np.ndarray) -> float:
    """The share of experiments (E,) in which the exact test gives p < 0.05."""
    return float(np.mean(2 * stats.binom.cdf(np.minimum(first, second), first + second, 0.5) < 0.05))


@pytest.mark.parametrize(("discordant", "rows"), [(0.1, 853), (0.3, 400), (0.05, 10_000)])
def test_mcnemar_finds_the_detectable_difference_in_eight_of_ten_experiments(discordant, rows):
    delta = power.detectable_difference_of_shares(discordant, rows)
    generator = np.random.default_rng(0)
    shares = [(discordant + delta) / 2, (discordant - delta) / 2, 1 - discordant]
    first, second, _ = generator.multinomial(rows, shares, size=5000).T
    found = found_by_mcnemar(first, second)
    assert found == pytest.approx(0.8, abs=0.045)  # the exact test finds a little less


def test_the_detectable_difference_solves_the_formula_of_connor():
    for discordant, rows in ((0.1, 853), (0.5, 60), (0.02, 5000)):
        delta = power.detectable_difference_of_shares(discordant, rows, alpha=0.01, power=0.9)
        a, b = stats.norm.ppf(0.995) * math.sqrt(discordant), stats.norm.ppf(0.9) * math.sqrt(discordant - delta**2)
        assert ((a + b) / delta) ** 2 == pytest.approx(rows, rel=1e-9)


def test_if_hardly_any_rows_are_discordant_all_of_them_must_speak_for_one_system():
    delta = power.detectable_difference_of_shares(0.001, 853)
    counts = np.random.default_rng(0).binomial(853, delta, size=5000)
    found = found_by_mcnemar(counts, np.zeros_like(counts))
    assert 0.001 < delta == power.detectable_difference_of_shares(0.0, 853)
    assert 0.75 < found < 0.95
    assert power.detectable_difference_of_shares(0.0, 1) == 1.0


def test_a_difference_of_2_8_standard_errors_is_found_in_eight_of_ten_experiments():
    assert power.detectable_difference(1.0) == pytest.approx(2.8016, abs=1e-4)
    found = np.abs(np.random.default_rng(0).normal(power.detectable_difference(1.0), 1, 20_000)) > 1.959964
    assert found.mean() == pytest.approx(0.8, abs=0.01)


def test_with_three_runs_on_each_side_the_difference_must_be_greater():
    generator = np.random.default_rng(0)
    delta = power.detectable_difference(math.sqrt(2 / 3), degrees_of_freedom=4)
    first, second = generator.normal(delta, 1, (20_000, 3)), generator.normal(0, 1, (20_000, 3))
    assert np.mean(stats.ttest_ind(first, second, axis=1).pvalue < 0.05) == pytest.approx(0.8, abs=0.03)
