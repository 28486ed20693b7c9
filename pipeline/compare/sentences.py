"""What the pairs of a verdict say, in words: one sentence for each pair."""

from __future__ import annotations

from collections.abc import Mapping

from pipeline.compare.verdict import LEVEL, Estimate, PairResult, Verdict

# Shares, whose differences are given in points: hundredths of the whole.
SHARES = ("accuracy", "accuracy_top5", "f1", "macro_f1", "micro_f1", "strict_f1", "precision", "recall")
UNITS = {
    "loss": "in loss",
    "mse": "in mean squared error",
    "bits_per_byte": "bits per byte",
    "perplexity_per_word": "in perplexity per word",
    "perplexity_per_token": "in perplexity per token",
    "pearson": "in Pearson's correlation",
    "spearman": "in Spearman's correlation",
    "bleu": "in BLEU",
    "chrf": "in chrF",
}
ROWS = {"ner": "sentences"}


def of(verdict: Verdict) -> list[str]:
    """A sentence for each pair, about the main score; the pairs of the best contender come first."""
    return [of_pair(pair, verdict) for pair in verdict.pairs_of(verdict.main_score)]


def of_pair(pair: PairResult, verdict: Verdict) -> str:
    """Which one is better, by how much, how sure that is, and which differences this many rows cannot show.

    No difference found is not a finding that there is none, and is not worded as one.
    """
    seeds = {contender.name: contender.seeds for contender in verdict.contenders}
    first, second = _name(pair.first, seeds), _name(pair.second, seeds)
    blind = _blind(pair, verdict)
    if pair.better is None:
        found = f"{_amount(pair.difference.value, pair.score)} ({_bounds(pair.difference, pair.score)})"
        return f"No difference was found between {first} and {second}: {found}, {p_text(pair.adjusted_p_value)}{blind}"
    better, worse = (first, second) if pair.better == pair.first else (second, first)
    gap = pair.difference if pair.difference.value > 0 else _negative(pair.difference)
    found = f"{_amount(gap.value, pair.score)} ({_bounds(gap, pair.score)})"
    return f"{better} is better than {worse} by {found}, {p_text(pair.adjusted_p_value)}{blind}"


def p_text(p_value: float) -> str:
    """`p < 0.001` or `p = 0.012`; with more digits next to the level, so that it is seen on which side it lies."""
    if p_value < 0.001:
        return "p < 0.001"
    digits = next((d for d in (2, 3, 4) if float(f"{p_value:.{d}g}") != LEVEL), 2)
    return f"p = {p_value:.{digits}g}"


def is_share(score: str) -> bool:
    """Whether `score` is a share, such as accuracy or the F1 of a class."""
    return score.rpartition(".")[2] in SHARES


def _name(contender: str, seeds: Mapping[str, int]) -> str:
    count = seeds[contender]
    return contender if count == 1 else f"{contender} ({count} seeds)"


def _negative(estimate: Estimate) -> Estimate:
    low, high = estimate.low, estimate.high
    return Estimate(-estimate.value, None if high is None else -high, None if low is None else -low)


def _number(value: float, score: str) -> str:
    """In points with one digit, or with three significant ones."""
    if is_share(score):
        return f"{100 * value:.1f}".replace("-0.0", "0.0")
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"


def _amount(value: float, score: str) -> str:
    unit = "points" if is_share(score) else UNITS.get(score, f"in {score}")
    return f"{_number(value, score)} {unit}"


def _bounds(estimate: Estimate, score: str) -> str:
    low, high = (0.0 if bound is None else bound for bound in (estimate.low, estimate.high))
    return f"{_number(low, score)} to {_number(high, score)}"


def _blind(pair: PairResult, verdict: Verdict) -> str:
    """The difference that rows so few can hide; one that was found although it is smaller was found by luck."""
    if not pair.detectable:
        return ""
    rows, limit = f"{verdict.rows:,} {ROWS.get(verdict.task, 'rows')}", _amount(pair.detectable, pair.score)
    if pair.better and abs(pair.difference.value) < pair.detectable:
        return f"; on these {rows} a difference under {limit} is found in fewer than 80 of 100 comparisons"
    return f"; on these {rows} a difference under {limit} could not have been seen"
