"""Spread and intervals agree with scipy and with their definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import binomtest

from pipeline.metrics.statistics import mean, spread, wilson_interval


@pytest.mark.parametrize("values", [[0.5, 0.75], [0.91, 0.9, 0.93, 0.89], [1e6, 1e6 + 1, 1e6 + 2]])
def test_the_spread_is_the_sample_standard_deviation(values):
    assert mean(values) == pytest.approx(np.mean(values), rel=1e-15)
    assert spread(values) == pytest.approx(np.std(values, ddof=1), rel=1e-12)


def test_a_single_value_has_no_spread():
    assert spread([0.5]) == 0.0


@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.99])
@pytest.mark.parametrize(("successes", "count"), [(0, 1), (1, 1), (0, 8), (180, 200), (199, 200), (5000, 10_000)])
def test_the_wilson_interval_is_that_of_scipy(successes, count, confidence):
    expected = binomtest(successes, count).proportion_ci(confidence, method="wilson")
    found = wilson_interval(successes / count, count, confidence)
    assert found == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert 0.0 <= found[0] <= successes / count <= found[1] <= 1.0


def test_the_bounds_of_the_wilson_interval_are_z_standard_errors_from_the_observed_proportion():
    for bound in wilson_interval(0.9, 200):
        assert abs(0.9 - bound) == pytest.approx(1.959964 * math.sqrt(bound * (1 - bound) / 200), rel=1e-6)
