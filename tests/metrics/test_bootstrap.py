"""Resamples agree with enumeration, with scipy and with formulas for the variance."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from pipeline.metrics import bootstrap
from pipeline.metrics.decomposed import LOSS, MACRO_F1, class_counts, weighted


def test_resamples_have_the_distribution_of_all_equally_likely_draws():
    rows = weighted([1.0, 2.0, 4.0, 9.0])
    draws = [LOSS.value(rows[list(drawn)].sum(axis=0)) for drawn in itertools.product(range(4), repeat=4)]
    (sums,) = bootstrap.bootstrap_sums([rows], resamples=10_000)
    found = LOSS.value(sums)
    assert set(np.round(found, 9)) <= set(np.round(draws, 9))
    for level in (0.025, 0.25, 0.5, 0.75, 0.975):
        share = np.mean(found <= np.quantile(draws, level))
        assert share == pytest.approx(np.mean(draws <= np.quantile(draws, level)), abs=0.02)


def test_the_interval_is_the_percentile_interval_of_scipy():
    generator = np.random.default_rng(0)
    gold = generator.integers(0, 3, 200)
    guess = np.where(generator.random(200) < 0.8, gold, (gold + 1) % 3)
    counts = class_counts(guess, gold, 3)
    expected = stats.bootstrap(
        (np.arange(200),),
        lambda rows, axis: MACRO_F1.value(counts[rows].sum(axis=-2)),
        n_resamples=3_000,
        method="percentile",
        rng=1,
    )
    (sums,) = bootstrap.bootstrap_sums([counts])
    found = bootstrap.percentile_interval(MACRO_F1.value(sums))
    assert found == pytest.approx(expected.confidence_interval, abs=0.005)
    assert MACRO_F1.value(sums).std() == pytest.approx(expected.standard_error, rel=0.05)


def test_all_arrays_see_the_same_resamples_and_each_draws_as_many_rows_as_there_are():
    rows = np.arange(50.0)[:, None]
    first, second = bootstrap.bootstrap_sums([np.hstack([rows, np.ones_like(rows)]), 3 * rows], resamples=100)
    np.testing.assert_array_equal(second[:, 0], 3 * first[:, 0])
    assert set(first[:, 1]) == {50.0}


def test_the_resamples_do_not_depend_on_the_size_of_the_pieces(monkeypatch):
    rows = weighted(np.random.default_rng(0).normal(size=40))
    (expected,) = bootstrap.bootstrap_sums([rows], resamples=30)
    monkeypatch.setattr(bootstrap, "PIECE_BYTES", 8 * 40 * 7)
    np.testing.assert_allclose(bootstrap.bootstrap_sums([rows], resamples=30)[0], expected, rtol=1e-14)


@pytest.mark.parametrize("length", [1, 3, 7])
def test_blocks_are_consecutive_rows_in_a_circle(length):
    rows = np.random.default_rng(0).normal(size=(7, 2))
    expected = [rows[[(start + step) % 7 for step in range(length)]].sum(axis=0) for start in range(7)]
    np.testing.assert_allclose(bootstrap.circular_block_sums(rows, length), expected, rtol=1e-12)


def test_the_variance_of_blocks_is_that_of_the_circular_block_bootstrap():
    """Each of N / b draws adds a block sum, so Var(mean) = (b / N) Var(block sum / b) over all N blocks."""
    values = np.cumsum(np.random.default_rng(0).normal(size=120))
    (sums,) = bootstrap.bootstrap_sums([weighted(values)], resamples=8_000, block_length=8)
    blocks = np.array([np.take(values, range(start, start + 8), mode="wrap").mean() for start in range(120)])
    assert LOSS.value(sums).var() == pytest.approx(blocks.var() * 8 / 120, rel=0.06)


def test_seeds_are_drawn_so_that_the_variance_of_a_mean_is_unbiased():
    """Drawing S - 1 of S gives s^2 / S, with S - 1 in the denominator of s^2."""
    scores = np.array([0.1, 0.4, 0.2, 0.9])
    values = np.tile(scores, (50_000, 1))
    samples = bootstrap.hierarchical_samples(values, np.random.default_rng(0))
    assert samples.mean() == pytest.approx(scores.mean(), abs=0.005)
    assert samples.var() == pytest.approx(scores.var(ddof=1) / 4, rel=0.03)


def test_more_rows_get_fewer_resamples():
    assert [bootstrap.number_of_resamples(rows) for rows in (1, 853, 20_000, 100_000, 10**9)] == [
        10_000,
        10_000,
        10_000,
        2_000,
        1_000,
    ]
