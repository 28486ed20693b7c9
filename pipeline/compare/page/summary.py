"""The top of the page: the verdict in sentences, and every pair with its test."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.compare.page.figures import Figures
from pipeline.compare.page.html import Html, Td, cell, details, join, number, p_value, paragraphs, table, tag
from pipeline.compare.page.view import Entry, View, score_name
from pipeline.compare.verdict import PairResult

SHOWN_SENTENCES = 9
MATRIX_FROM = 3  # contenders; two need no matrix


def section(view: View, figures: Figures) -> Html | None:
    """The sentences, the notes, and the pairs."""
    return join([_sentences(view), _notes(view.verdict.notes), _matrix(view), _pairs(view)])


def _sentences(view: View) -> Html:
    """Those about the best contender first; many others are shown on demand."""
    sentences = view.verdict.sentences
    shown, rest = sentences[:SHOWN_SENTENCES], sentences[SHOWN_SENTENCES:]
    if not sentences:
        return tag("p", "There is nothing to test: name at least two runs that have kept their rows.", class_="lead")
    return join(
        [
            tag("ul", *map(_sentence, shown), class_="verdict"),
            details(f"{len(rest)} more pairs", tag("ul", *map(_sentence, rest))) if rest else "",
        ]
    )


def _sentence(text: str) -> Html:
    return tag("li", text if text.endswith(".") else f"{text}.", dir="auto")


def _notes(notes: Sequence[str]) -> Html:
    return tag("ul", *(tag("li", note, dir="auto") for note in notes), class_="notes") if notes else Html("")


def _matrix(view: View) -> Html:
    """The difference between each two contenders in the main score."""
    pairs = view.verdict.pairs_of(view.verdict.main_score)
    if not pairs or len(view.entries) < MATRIX_FROM:
        return Html("")
    found = {(pair.first, pair.second): pair for pair in pairs}
    largest = max(abs(pair.difference.value) for pair in pairs) or 1.0
    rows = [[one.title(), *(_difference(one, other, found, largest) for other in view.entries)] for one in view.entries]
    score = score_name(view.verdict.main_score)
    return join(
        [
            tag("h3", f"Differences in {score}"),
            paragraphs(
                f"The {score} of the row minus that of the column. Bold: the test finds a difference at the level of"
                f" {view.verdict.level:g}, after Holm's correction."
            ),
            table(["", *view.heads()], rows, class_="matrix"),
        ]
    )


def _difference(one: Entry, other: Entry, found: dict[tuple[str, str], PairResult], largest: float) -> Td:
    pair, sign = found.get((one.name, other.name)), 1.0
    if pair is None:
        pair, sign = found.get((other.name, one.name)), -1.0
    if pair is None:
        return cell("")
    value = sign * pair.difference.value
    text = ("+" if value > 0 else "") + number(value)
    is_better = pair.better == one.name
    content = tag("strong", text) if pair.better else text
    share = abs(value) / largest if pair.better else 0.0
    return cell(content, class_="heat" if is_better else "heat worse", style=f"--v:{share:.2f}")


def _pairs(view: View) -> Html:
    """Every figure of every test."""
    pairs = view.verdict.pairs
    if not pairs:
        return Html("")
    header = ["pair", "score", "difference", "interval", "better", "test", "p", "p (Holm)", "detectable"]
    several = any(pair.over_seeds_p_value is not None for pair in pairs)
    header += ["p over seeds", "ASO ε"] if several else []
    confidence = 100 * (1 - view.verdict.level)
    return details(
        f"All {len(pairs)} tests",
        paragraphs(
            f"Difference: the first minus the second, with its {confidence:g} % interval. Detectable: the smallest"
            " difference that the test would have found on this many rows in 80 of 100 cases."
            + " p over seeds: whole runs permuted. ε: almost stochastic order, below 0.5 if the first is better."
            * several
        ),
        table(header, (_pair(view, pair, several) for pair in pairs), class_="wide"),
    )


def _pair(view: View, pair: PairResult, several: bool) -> list[object]:
    first, second = view.entry(pair.first), view.entry(pair.second)
    low, high = pair.difference.low, pair.difference.high
    row: list[object] = [
        join([first.badge(), second.badge()], " "),
        score_name(pair.score),
        number(pair.difference.value, 4),
        f"{number(low, 4)} to {number(high, 4)}" if low is not None else "–",
        view.entry(pair.better).badge() if pair.better else "neither",
        pair.test,
        p_value(pair.p_value),
        p_value(pair.adjusted_p_value),
        number(pair.detectable, 4),
    ]
    return row + ([p_value(pair.over_seeds_p_value), number(pair.aso)] if several else [])
