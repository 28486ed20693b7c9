"""Scores as functions of sums equal the metrics that the runs report."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from pipeline.metrics import decomposed
from pipeline.metrics.bootstrap import score_of
from pipeline.metrics.classification import Classification
from pipeline.metrics.entities import Entities, spans, valid_spans
from pipeline.metrics.multi_label import scores as multi_label_scores
from pipeline.metrics.regression import Regression

TAGS = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
EXACT = {"rel": 1e-12, "abs": 1e-12}


@pytest.mark.parametrize("seed", range(4))
def test_accuracy_macro_f1_and_f1_per_class_are_those_of_the_metric(seed):
    generator = np.random.default_rng(seed)
    names = ["bad", "fair", "good", "never"]
    gold, guess = generator.integers(0, 3, (2, 60))
    expected = Classification(keep_in_memory=True).compute(predictions=guess, references=gold, label_names=names)
    assert score_of(decomposed.ACCURACY, [decomposed.weighted(guess == gold)]) == expected["accuracy"]
    counts = [decomposed.class_counts(guess, gold, 4)]
    assert score_of(decomposed.MACRO_F1, counts) == pytest.approx(expected["macro_f1"], **EXACT)
    for column, name in enumerate(names):
        for figure in ("precision", "recall", "f1"):
            score = decomposed.of_class("per_class", name, column, 4, figure)
            assert score.name == f"per_class.{name}.{figure}"
            assert score_of(score, counts) == pytest.approx(expected["per_class"][name][figure], **EXACT)


@pytest.mark.parametrize("seed", range(4))
def test_scores_of_several_labels_are_those_of_the_metric(seed):
    generator = np.random.default_rng(seed)
    guess, gold = generator.random((2, 50, 3)) < [0.5, 0.2, 0.0]
    expected = multi_label_scores(guess, gold, ["a", "b", "c"])
    counts = [decomposed.label_counts(guess, gold)]
    assert score_of(decomposed.MICRO_F1, counts) == pytest.approx(expected["micro_f1"], **EXACT)
    assert score_of(decomposed.MACRO_F1_OF_LABELS, counts) == pytest.approx(expected["macro_f1"], **EXACT)
    right = decomposed.weighted((guess == gold).all(axis=1))
    assert score_of(decomposed.ACCURACY, [right]) == expected["accuracy"]


@pytest.mark.parametrize("seed", range(4))
def test_scores_of_entities_are_those_of_the_metric(seed):
    generator = np.random.default_rng(seed)
    lengths = generator.integers(1, 12, 40)
    gold, guess = ([list(generator.choice(TAGS, size)) for size in lengths] for _ in range(2))
    expected = Entities(keep_in_memory=True).compute(predictions=guess, references=gold)
    types = ["LOC", "PER"]

    def counts(read):
        return [decomposed.span_counts([read(row) for row in guess], [read(row) for row in gold], types)]

    for score in (decomposed.F1, decomposed.PRECISION, decomposed.RECALL):
        assert score_of(score, counts(spans)) == pytest.approx(expected[score.name], **EXACT)
    assert score_of(decomposed.STRICT_F1, counts(valid_spans)) == pytest.approx(expected["strict_f1"], **EXACT)
    for column, kind in enumerate(types):
        score = decomposed.of_class("per_type", kind, column, 2)
        assert score_of(score, counts(spans)) == pytest.approx(expected["per_type"][kind]["f1"], **EXACT)
    right = [sum(a == b for a, b in zip(*rows, strict=True)) for rows in zip(guess, gold, strict=True)]
    words = [decomposed.weighted(right, lengths)]
    assert score_of(decomposed.ACCURACY_OF_UNITS, words) == pytest.approx(expected["accuracy"], **EXACT)


def test_loss_perplexity_and_bits_are_sums_over_sums():
    nll, tokens, size = np.array([3.0, 1.0, 8.5]), np.array([2, 1, 4]), np.array([9, 4, 17])
    assert score_of(decomposed.LOSS, [decomposed.weighted(nll, tokens)]) == pytest.approx(12.5 / 7, rel=1e-15)
    perplexity = score_of(decomposed.PERPLEXITY_PER_TOKEN, [decomposed.weighted(nll, tokens)])
    assert perplexity == pytest.approx(math.exp(12.5 / 7), rel=1e-14)
    bits = score_of(decomposed.BITS_PER_BYTE, [decomposed.weighted(nll, size)])
    assert bits == pytest.approx(12.5 / math.log(2) / 30, rel=1e-14)


def test_a_perplexity_beyond_all_numbers_is_infinite():
    assert score_of(decomposed.PERPLEXITY_PER_WORD, [decomposed.weighted([1e6], [1])]) == math.inf


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("scale", [1.0, 1e-150, 1e140])
def test_scores_of_numbers_are_those_of_the_metric(ties, scale):
    generator = np.random.default_rng(0)
    gold = generator.random(60) * 5
    guess = gold + generator.normal(size=60)
    if ties:
        gold, guess = np.round(gold), np.round(guess)
    gold, guess = gold * scale, guess * scale
    expected = Regression(keep_in_memory=True).compute(predictions=guess, references=gold)
    mse = score_of(decomposed.MSE, [decomposed.weighted((guess - gold) ** 2)])
    assert mse == pytest.approx(expected["mse"], rel=1e-12, abs=0)
    pearson = score_of(decomposed.PEARSON, [decomposed.moments(guess, gold)])
    assert pearson == pytest.approx(expected["pearson"], **EXACT)
    spearman = score_of(decomposed.SPEARMAN, [decomposed.rank_pseudovalues(guess, gold)])
    assert spearman == pytest.approx(expected["spearman"], **EXACT)


@pytest.mark.parametrize("constant", [0.0, 0.1, 1e9])
def test_the_correlation_with_a_constant_is_zero(constant):
    gold, guess = np.arange(7.0), np.full(7, constant)
    assert score_of(decomposed.PEARSON, [decomposed.moments(guess, gold)]) == 0.0
    assert score_of(decomposed.SPEARMAN, [decomposed.rank_pseudovalues(guess, gold)]) == 0.0


def test_the_pseudovalues_of_spearman_are_its_derivatives_in_the_weights_of_the_rows():
    generator = np.random.default_rng(1)
    gold = np.round(generator.normal(size=30), 1)  # with ties
    guess = np.round(gold + generator.normal(size=30), 1)
    pseudovalues = decomposed.rank_pseudovalues(guess, gold)[:, 0]
    copies = 100_000
    rho = stats.spearmanr(guess, gold).statistic

    def weighted_spearman(weights: np.ndarray) -> float:
        """Pearson's correlation of midranks in which a row counts `weights` times."""

        def ranks(values):
            above = (values[:, None] > values) + (values[:, None] == values) / 2
            return above @ weights

        x, y = (ranks(values) - np.average(ranks(values), weights=weights) for values in (guess, gold))
        return (weights @ (x * y)) / math.sqrt((weights @ (x * x)) * (weights @ (y * y)))

    for row in range(30):
        weights = np.ones(30)
        weights[row] += 1 / copies
        slope = (weighted_spearman(weights) - rho) * copies * 30
        assert pseudovalues[row] - rho == pytest.approx(slope, abs=1e-3)


def test_the_same_rows_twice_change_no_score():
    generator = np.random.default_rng(2)
    sums = np.abs(generator.normal(size=(5, 6))) + 1
    for score in (decomposed.LOSS, decomposed.BITS_PER_BYTE, decomposed.MACRO_F1, decomposed.MICRO_F1, decomposed.F1):
        np.testing.assert_allclose(score.value(2 * sums), score.value(sums), rtol=1e-14)
    moments = decomposed.moments(generator.normal(size=9), generator.normal(size=9)).sum(axis=0)
    assert decomposed.PEARSON.value(2 * moments) == pytest.approx(decomposed.PEARSON.value(moments), rel=1e-13)
