"""Scores of predicted numbers agree with SciPy and scikit-learn."""

from __future__ import annotations

import math
import warnings

import evaluate
import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import mean_squared_error

from pipeline.metrics import regression
from pipeline.metrics.regression import Regression, ranks


def compute(predictions, references) -> dict[str, float]:
    return Regression(keep_in_memory=True).compute(predictions=predictions, references=references)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("scale", [1.0, 1e-200, 1e150])
def test_scores_agree_with_scipy(seed, scale):
    generator = np.random.default_rng(seed)
    truth = generator.random(50) * 5
    guess = truth + generator.normal(size=50)
    if seed % 2:
        truth, guess = np.round(truth), np.round(guess)  # many ties
    scores = compute(guess * scale, truth * scale)
    assert scores["pearson"] == pytest.approx(stats.pearsonr(guess, truth).statistic, abs=1e-12)
    assert scores["spearman"] == pytest.approx(stats.spearmanr(guess, truth).statistic, abs=1e-12)
    if scale == 1.0:
        assert scores["mse"] == pytest.approx(mean_squared_error(truth, guess))


def test_ties_share_the_mean_of_their_ranks():
    values = np.array([3.0, 1.0, 3.0, 2.0, 3.0])
    assert ranks(values).tolist() == stats.rankdata(values).tolist() == [4.0, 1.0, 4.0, 2.0, 4.0]


@pytest.mark.parametrize("rows", [1, 4])
def test_the_correlation_with_equal_numbers_is_zero_without_a_warning(rows):
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        scores = compute([2.5] * rows, list(range(rows)))
    assert (scores["pearson"], scores["spearman"]) == (0.0, 0.0)
    assert math.isfinite(scores["mse"])


def test_evaluate_loads_the_metric_from_its_file(tmp_path):
    metric = evaluate.load(regression.__file__, keep_in_memory=True, cache_dir=str(tmp_path))
    assert metric.compute(predictions=[1.0, 2.0], references=[1.0, 4.0])["mse"] == 2.0
