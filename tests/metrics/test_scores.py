"""Scores by name: nested ones by dots, and which of them are better the lower they are."""

from __future__ import annotations

import pytest

from pipeline.metrics.scores import flatten, is_lower_better


def test_nested_scores_are_named_by_dots_and_counts_are_left_out():
    scores = {"loss": 0.5, "per_class": {"U.S.": {"f1": 0.25, "support": 4}}, "confusion": [[1]], "tokens": 7}
    assert flatten(scores) == {"loss": 0.5, "per_class.U.S..f1": 0.25}


@pytest.mark.parametrize("name", ["loss", "perplexity_per_word", "bits_per_byte", "mse", "root_mse", "wer"])
def test_measures_of_error_are_better_the_lower_they_are(name):
    assert is_lower_better(name)


@pytest.mark.parametrize("name", ["accuracy", "macro_f1", "pearson", "per_class.loss.f1", "accuracy_top5", "bleu"])
def test_all_other_scores_are_better_the_higher_they_are(name):
    assert not is_lower_better(name)
