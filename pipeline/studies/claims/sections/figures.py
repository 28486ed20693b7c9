"""What several sections show: names, scores with their intervals, and a picture of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.studies.claims.drawing import Points
from pipeline.studies.claims.statements import Statement

# Name of a file of figures, without .json -> what is in it.
Measured = Mapping[str, Any]
NAMES = {"rnn": "RNN", "gru": "GRU", "lstm": "LSTM", "bert": "BERT", "gpt2": "GPT-2"}
CELLS = ("rnn", "gru", "lstm")
SCORE_RULE = (
    "Scores are on rows held out for testing: 30 % of the reviews and tweets, and 10 % where words are predicted. Each"
    " pair has a test of its own, at 5 %: of twenty such tests, one finds a difference where there is none."
)


def interval(figure: Mapping[str, Any], form: str) -> str:
    value, low, high = (figure[name] for name in ("value", "low", "high"))
    if low is None or high is None:
        return form.format(value)
    return f"{form} ({form} to {form})".format(value, low, high)


def score_of(comparison: Mapping[str, Any], name: str, form: str = "{:.4f}") -> str:
    contender = next(each for each in comparison["contenders"] if each["name"] == name)
    return interval(contender["scores"][comparison["scores"][0]], form)


def points(comparison: Mapping[str, Any], title: str) -> Points:
    score = comparison["scores"][0]
    points = {}
    for contender in comparison["contenders"]:
        own = contender["scores"][score]
        points[contender["name"]] = (own["value"], own["low"], own["high"])
    return Points(title, score.replace("_", " "), points)


def in_words(statements: Sequence[Statement]) -> str:
    return "; ".join(f"{each.text}: {each.evidence}" for each in statements)
