"""Almost stochastic order agrees with integrals over a fine grid and with its definition."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from pipeline.metrics.stochastic_order import almost_stochastic_order, violation_ratio


def integrated(first, second, steps=400_000) -> float:
    """The violation ratio by the midpoint rule over the quantile functions."""
    t = (np.arange(steps) + 0.5) / steps
    gaps = np.quantile(first, t, method="inverted_cdf") - np.quantile(second, t, method="inverted_cdf")
    return float((np.minimum(gaps, 0) ** 2).sum() / (gaps**2).sum())


@pytest.mark.parametrize("sizes", [(3, 3), (5, 3), (4, 7), (10, 10)])
@pytest.mark.parametrize("seed", range(3))
def test_the_violation_ratio_is_the_integral(sizes, seed):
    generator = np.random.default_rng(seed)
    first, second = generator.normal(0.3, 1, sizes[0]), generator.normal(0, 1.5, sizes[1])
    assert float(violation_ratio(first, second)) == pytest.approx(integrated(first, second), abs=1e-4)


def test_the_violations_of_both_directions_add_up_to_one():
    generator = np.random.default_rng(0)
    first, second = generator.normal(size=6), generator.normal(size=4)
    assert violation_ratio(first, second) + violation_ratio(second, first) == pytest.approx(1.0)


def test_a_system_that_is_better_at_every_quantile_has_no_violation():
    assert almost_stochastic_order([0.91, 0.92, 0.93], [0.81, 0.82, 0.83]) == 0.0
    assert almost_stochastic_order([0.81, 0.82, 0.83], [0.91, 0.92, 0.93]) == 1.0
    assert almost_stochastic_order([0.81, 0.82, 0.83], [0.91, 0.92, 0.93], lower_is_better=True) == 0.0


def test_equal_scores_decide_nothing():
    assert almost_stochastic_order([0.5, 0.5], [0.5, 0.5]) == 0.5


def test_the_bound_is_the_ratio_and_1_645_bootstrap_deviations():
    first, second = np.array([0.3, 0.9, 0.7, 0.6]), np.array([0.5, 0.2, 0.65, 0.4])
    generator = np.random.default_rng(9)
    drawn = [integrated(generator.choice(first, 4), generator.choice(second, 4), 4000) for _ in range(1500)]
    expected = integrated(first, second) + stats.norm.ppf(0.95) * np.std(drawn)
    assert almost_stochastic_order(first, second, resamples=20_000) == pytest.approx(expected, abs=0.03)
