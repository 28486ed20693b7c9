"""From the figures of each claim to its statements: what must be seen for a statement to hold.

The rules were written before the figures were known. They read what the measurements left, as JSON, and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pipeline.studies.claims import gradients, recall, timing
from pipeline.studies.claims.statements import Statement

# A gradient has vanished where it is under this share of that at the last word.
VANISHED = 0.01
# Words within which the gradient of a plain RNN is to vanish.
SOON = 50
# A model does nearly as well as another if the interval of the difference does not reach below this.
NEARLY = -0.02
# Words of the texts on which two cells are timed: a sentence.
SENTENCE = 32
# Words of a long text, and of the longest, on which models are timed.
LONG, LONGEST = 128, 1024
# The gain of a second thread, and the growth with the length of the text, that count as one.
GAIN = 1.2

Figures = Mapping[str, Any]


def _all(words: Sequence[float], unit: str = "") -> str:
    return ", ".join(f"{word:g}{unit}" for word in words)


def shorter_reach(found: Figures, first: str, others: Sequence[str], text: str) -> Statement:
    """Whether the gradient of `first` vanishes at a shorter distance than that of each of the `others`, in each seed.

    Args:
        found: name -> medians of the relative norm by distance, one list for each seed.
    """
    reaches = {name: [gradients.reach(np.array(m), VANISHED) for m in found[name]] for name in (first, *others)}
    holds = all(own < each for other in others for own, each in zip(reaches[first], reaches[other], strict=True))
    evidence = "; ".join(f"{name} {_all(reach)} words" for name, reach in reaches.items())
    rule = (
        f"with each seed, the median norm falls under {100 * VANISHED:g} % of that at the last word at a shorter"
        f" distance for the {first} than for the {' and the '.join(others)}"
    )
    return Statement(text, rule, holds, evidence)


def vanishes_soon(found: Figures, name: str, text: str) -> Statement:
    """Whether the gradient of `name` vanishes within `SOON` words in each seed."""
    reaches = [gradients.reach(np.array(medians), VANISHED) for medians in found[name]]
    rule = (
        f"with each seed, the median norm falls under {100 * VANISHED:g} % of that at the last word within {SOON} words"
    )
    return Statement(text, rule, max(reaches) < SOON, f"{name} {_all(reaches)} words")


def recalls_further(found: Figures, better: str, other: str, text: str) -> Statement:
    """Whether the longest length that `better` recalls is longer than that of `other`.

    Args:
        found: name -> `{"longest": words of noise, ...}`.
    """
    ours, theirs = found[better]["longest"], found[other]["longest"]
    rule = (
        f"the longest noise up to which the interval of its accuracy lies above {100 * recall.RECALLED:g} % is longer"
    )
    return Statement(text, rule, ours > theirs, f"{better} {ours} words, {other} {theirs} words")


def exact_proportions(found: Figures, expected: Mapping[str, int], text: str) -> Statement:
    """Whether the numbers of parameters are exactly in these proportions."""
    smallest = min(expected, key=lambda name: expected[name])
    unit = found[smallest] / expected[smallest]
    holds = all(found[name] == share * unit for name, share in expected.items())
    return Statement(
        text,
        "the numbers of parameters of the layer, with both of its biases, are exactly in these proportions",
        holds,
        ", ".join(f"{name} {found[name]:,}" for name in expected),
    )


def takes_less(seconds: timing.Seconds, first: str, second: str, action: str, length: int, text: str) -> Statement:
    """Whether `first` takes less time per token than `second`."""
    middle, low, high = timing.median_interval(timing.ratios(seconds, first, second, action, length))
    rule = f"the interval of the median ratio of times, {first} to {second}, {length} words, lies below 1"
    return Statement(text, rule, high < 1, f"ratio {middle:.2f} ({low:.2f} to {high:.2f})")


def gains_most_by_threads(one: timing.Seconds, two: timing.Seconds, model: str, action: str, text: str) -> Statement:
    """Whether a second thread makes `model` faster by `GAIN` at least, and by more than each recurrent model."""
    gains = {name: thread_gain(one, two, name, action, LONG) for name in (model, *RECURRENT)}
    holds = gains[model] >= GAIN and all(gains[model] > gains[name] for name in RECURRENT)
    rule = f"the ratio of median times at {LONG} words is at least {GAIN}, and higher than that of each recurrent model"
    return Statement(text, rule, holds, ", ".join(f"{name} {gain:.2f}" for name, gain in gains.items()))


RECURRENT = ("rnn", "gru", "lstm")


def thread_gain(one: timing.Seconds, two: timing.Seconds, name: str, action: str, length: int) -> float:
    """How many times as fast `name` is with the threads of `two` as with those of `one`."""
    before, after = (np.median(seconds[name][action][str(length)]) for seconds in (one, two))
    return float(before / after)


def fastest_of(seconds: timing.Seconds, model: str, action: str, length: int, text: str) -> Statement:
    """Whether `model` takes less time than each recurrent model."""
    found = {name: timing.median_interval(timing.ratios(seconds, model, name, action, length)) for name in RECURRENT}
    rule = f"the interval of the median ratio of times to each recurrent model, {length} words, lies below 1"
    evidence = ", ".join(
        f"{model} to {name} {mid:.2f} ({low:.2f} to {high:.2f})" for name, (mid, low, high) in found.items()
    )
    return Statement(text, rule, all(high < 1 for _, _, high in found.values()), evidence)


def only_grows(seconds: timing.Seconds, model: str, action: str, text: str) -> Statement:
    """Whether the time per token of `model` grows with the length, and that of no recurrent model does."""
    growth = {
        name: float(np.median(seconds[name][action][str(LONGEST)]) / np.median(seconds[name][action][str(LONG)]))
        for name in (model, *RECURRENT)
    }
    holds = growth[model] >= GAIN and all(growth[name] < GAIN for name in RECURRENT)
    rule = (
        f"time per token at {LONGEST} words is at least {GAIN} times that at {LONG} words, and less than that for each"
        " recurrent model"
    )
    return Statement(text, rule, holds, ", ".join(f"{name} {times:.2f} times" for name, times in growth.items()))


def is_better(comparison: Figures, better: str, other: str, text: str) -> Statement:
    """Whether the test of the main score finds `better` better than `other`.

    Args:
        comparison: `Verdict.to_json()` of two contenders.
    """
    pair = main_pair(comparison, better, other)
    rule = f"the test of {pair['score']} over seeds and rows finds {better} better, p < 0.05"
    return Statement(text, rule, pair["better"] == better, evidence_of(comparison, better, other))


def is_nearly_as_good(comparison: Figures, first: str, second: str, text: str) -> Statement:
    """Whether the interval of the difference, `first` - `second`, lies above `NEARLY`; the higher score is better."""
    low, _ = interval_of(comparison, first, second)
    rule = f"the 95 % interval of the difference, {first} less {second}, lies above {100 * NEARLY:g} points"
    return Statement(text, rule, low > NEARLY, evidence_of(comparison, first, second))


def main_pair(comparison: Figures, first: str, second: str) -> Figures:
    """The pair of these contenders, for the main score."""
    score, names = comparison["scores"][0], {first, second}
    return next(p for p in comparison["pairs"] if p["score"] == score and {p["first"], p["second"]} == names)


def interval_of(comparison: Figures, first: str, second: str) -> tuple[float, float]:
    """The interval of the difference of the main score, `first` - `second`."""
    pair = main_pair(comparison, first, second)
    low, high = pair["difference"]["low"], pair["difference"]["high"]
    return (low, high) if pair["first"] == first else (-high, -low)


def evidence_of(comparison: Figures, first: str, second: str) -> str:
    """The scores of both, their difference with its interval, and the p-value."""
    pair, score = main_pair(comparison, first, second), comparison["scores"][0]
    values = {each["name"]: each["scores"][score]["value"] for each in comparison["contenders"]}
    low, high = interval_of(comparison, first, second)
    return (
        f"{score.replace('_', ' ')} {values[first]:.4f} and {values[second]:.4f}, difference"
        f" {values[first] - values[second]:+.4f} ({low:+.4f} to {high:+.4f}), {pair['test']}, p"
        f" {p_value(pair['adjusted_p_value'])}"
    )


def p_value(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"= {value:.3f}"
