"""The expected best score of n trials is that of all draws of n, with replacement, from the scores that were found."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from pipeline.studies.expected_best import expected_best, plot, rows

SCORES = [0.71, 0.5, 0.83, 0.83, 0.64]


def test_mean_and_variance_are_those_of_all_draws_with_replacement():
    means, variances = expected_best(SCORES)
    for count in range(1, len(SCORES) + 1):
        best = [max(drawn) for drawn in itertools.product(SCORES, repeat=count)]
        assert means[count - 1] == pytest.approx(np.mean(best), abs=1e-12)
        assert variances[count - 1] == pytest.approx(np.var(best), abs=1e-12)


def test_the_lowest_loss_is_expected_where_lower_is_better():
    best = [min(drawn) for drawn in itertools.product(SCORES, repeat=3)]
    (_, mean, spread) = next(row for row in rows(SCORES, lower_is_better=True) if row[0] == 3)
    assert (mean, spread) == pytest.approx((np.mean(best), np.std(best)), abs=1e-12)


def test_the_table_ends_with_all_trials():
    assert [row[0] for row in rows([0.5] * 45, lower_is_better=False)][-3:] == [30, 40, 45]
    assert rows([0.5], lower_is_better=False) == [(1, 0.5, 0.0)]


def test_many_trials_lose_no_digits():
    means, variances = expected_best(np.linspace(0, 1, 1000))
    assert np.all(np.diff(means) > 0)
    assert np.all(variances >= 0)
    assert means[0] == pytest.approx(0.5)


def test_the_picture_is_the_same_every_time_and_can_be_read_aloud(tmp_path):
    for name in ("one.svg", "two.svg"):
        plot(SCORES, False, "accuracy", tmp_path / name)
    text = (tmp_path / "one.svg").read_text()
    assert text == (tmp_path / "two.svg").read_text()
    assert "expected best validation accuracy" in text
