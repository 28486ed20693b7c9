"""The scores by which parts of the rows are compared, for each kind of answer: functions of sums over rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pipeline.compare.page.view import Answers
from pipeline.metrics import ngrams


@dataclass(frozen=True)
class Measure:
    """A score of any part of the rows. N rows, K numbers for each.

    Attributes:
        name: what it is called. lower_is_better: whether less of it is better.
        contributions: (N, K) what each row adds.
        value: (..., K) sums over rows -> (...), nan for a part that has no such score.
    """

    name: str
    lower_is_better: bool
    contributions: Callable[[Answers], np.ndarray]
    value: Callable[[np.ndarray], np.ndarray]


def ratio(sums: np.ndarray) -> np.ndarray:
    """The first of two sums divided by the second."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return sums[..., 0] / sums[..., 1]


def f1(sums: np.ndarray) -> np.ndarray:
    """F1 of true positives, predicted ones and gold ones."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return 2 * sums[..., 0] / (sums[..., 1] + sums[..., 2])


def _with_ones(values: np.ndarray) -> np.ndarray:
    return np.stack([values.astype(float), np.ones(len(values))], axis=1)


def _correct(answers: Answers) -> np.ndarray:
    return _with_ones(answers.gold == answers.prediction)


def _labels(answers: Answers) -> np.ndarray:
    gold, given = answers.gold_sets, answers.prediction_sets
    return np.stack([(gold & given).sum(axis=1), given.sum(axis=1), gold.sum(axis=1)], axis=1).astype(float)


def _entities(answers: Answers) -> np.ndarray:
    pairs = zip(answers.gold_spans, answers.predicted_spans, strict=True)
    return np.array([(len(gold & found), len(found), len(gold)) for gold, found in pairs], float).reshape(-1, 3)


def _squared_error(answers: Answers) -> np.ndarray:
    return _with_ones(answers.array("squared_error"))


def _perplexity(sums: np.ndarray) -> np.ndarray:
    return np.exp(np.minimum(ratio(sums), 700.0))


def _words(answers: Answers) -> np.ndarray:
    return np.stack([answers.array("nll"), answers.array("words").astype(float)], axis=1)


MEASURES = {
    "single": (Measure("accuracy", False, _correct, ratio),),
    "several": (Measure("micro F1", False, _labels, f1),),
    "numbers": (Measure("mean squared error", True, _squared_error, ratio),),
    "ner": (Measure("F1", False, _entities, f1),),
    "next_word": (Measure("perplexity per word", True, _words, _perplexity),),
    "translation": (
        Measure("chrF", False, lambda answers: answers.chrf_counts, ngrams.chrf),
        Measure("BLEU", False, lambda answers: answers.bleu_counts, ngrams.bleu),
    ),
}
