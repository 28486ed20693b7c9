"""BLEU and chrF as sums over sentences are those that sacrebleu prints."""

from __future__ import annotations

import random

import numpy as np
import pytest
from sacrebleu.metrics import BLEU, CHRF

from pipeline.metrics import ngrams
from pipeline.metrics.translation import Translation

TEXT = "the a house Das Haus, ist. groß! ${name} <b>x</b> שלום עולם in 3.5 (good) ok Ω"
WORDS = TEXT.split()


def a_corpus(seed: int, size: int) -> tuple[list[str], list[str]]:
    """Translations and references, some of them empty."""
    draw = random.Random(seed)
    references = [" ".join(draw.choices(WORDS, k=draw.randint(0, 9))) for _ in range(size)]
    kept = [" ".join(word for word in text.split() if draw.random() < 0.8) for text in references]
    return [text + draw.choice(["", " x", "  Haus"]) for text in kept], references


@pytest.mark.parametrize("size", [1, 4, 60])
@pytest.mark.parametrize("seed", range(5))
def test_the_scores_of_sums_are_those_of_sacrebleu(seed, size):
    predictions, references = a_corpus(seed, size)
    scores = Translation(keep_in_memory=True).compute(predictions=predictions, references=references)
    for name, metric, counts, value in (
        ("bleu", BLEU(), ngrams.bleu_counts, ngrams.bleu),
        ("chrf", CHRF(), ngrams.chrf_counts, ngrams.chrf),
    ):
        expected = metric.corpus_score(predictions, [references]).score
        assert scores[name] == expected
        assert value(counts(predictions, references).sum(axis=0)) == pytest.approx(expected, abs=1e-9)
        assert scores[f"{name}_signature"] == str(metric.get_signature())


def test_scores_of_many_resamples_are_those_of_each():
    predictions, references = a_corpus(7, 30)
    drawn = np.random.default_rng(0).integers(0, 30, (20, 30))
    resamples = np.stack([np.bincount(rows, minlength=30) for rows in drawn])
    for counts, value, metric in (
        (ngrams.bleu_counts, ngrams.bleu, BLEU()),
        (ngrams.chrf_counts, ngrams.chrf, CHRF()),
    ):
        found = value(resamples @ counts(predictions, references))
        each = [metric.corpus_score([predictions[i] for i in rows], [[references[i] for i in rows]]) for rows in drawn]
        assert found == pytest.approx([score.score for score in each], abs=1e-9)


def test_a_perfect_translation_has_100_and_one_without_a_common_letter_0():
    for counts, value in ((ngrams.bleu_counts, ngrams.bleu), (ngrams.chrf_counts, ngrams.chrf)):
        text = "das alte Haus ist groß"
        assert value(counts([text], [text])[0]) == pytest.approx(100.0)
        assert value(counts(["xyz"], [text])[0]) == value(counts([""], [text])[0]) == 0.0


@pytest.mark.filterwarnings("error")
def test_scores_of_no_words_at_all_are_0_without_a_warning():
    assert ngrams.bleu(np.zeros(10)) == ngrams.chrf(np.zeros(18)) == 0.0
    assert ngrams.bleu(ngrams.bleu_counts([""], [""])[0]) == 0.0
