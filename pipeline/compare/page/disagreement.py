"""The rows on which the best contender and another one disagree, worst first, and the search through them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.compare.page.figures import Figures
from pipeline.compare.page.html import Html, details, join, paragraphs, tag, user
from pipeline.compare.page.row_views import ROW_VIEWS, RowView
from pipeline.compare.page.view import Answers, Entry, View
from pipeline.metrics import ngrams


@dataclass(frozen=True)
class Wording:
    """What the section says of a kind of answers.

    Attributes:
        order: by what rows are ordered.
        rows: which rows are counted.
        choices: what the filter offers beside all rows: names of `first`, `second` and `neither`.
        shown: the most rows on the page, of all pairs together.
    """

    order: str
    rows: str
    choices: tuple[str, ...]
    shown: int = 400


RIGHT = ("only the first is right", "only the second is right", "neither is right")
CLOSER = ("the first is closer", "the second is closer")
NEARER = (*CLOSER, "both are as close")
NLL = "the difference between their negative log-likelihoods"
WORDINGS = {
    "single": Wording(NLL, "rows on which the two answer differently", RIGHT),
    "several": Wording(NLL, "rows on which the two answer differently", RIGHT),
    "numbers": Wording("the difference between their squared errors", "rows", CLOSER),
    "ner": Wording(NLL, "sentences in which the two find different entities", RIGHT, 240),
    "next_word": Wording(NLL, "rows", ("the first is less surprised", "the second is less surprised"), 60),
    "translation": Wording(
        "the difference between the chrF of their translations", "rows that the two translate differently", NEARER, 240
    ),
}
CHOICES = ("first", "second", "neither")
FEWEST, MOST = 6, 200  # rows of a pair
AT_ONCE = 12  # rows of a pair that are shown before more are asked for


@dataclass(frozen=True)
class Pair:
    """What two runs say about the same rows.

    Attributes:
        rows: numbers of the rows shown, worst first. count: how many there are.
        right: for each row shown, which of `CHOICES` it is.
        differences: of nll, squared error or chrF, the first minus the second.
    """

    first: Entry
    second: Entry
    rows: np.ndarray
    count: int
    right: list[str]
    differences: np.ndarray


def section(view: View, figures: Figures) -> Html | None:
    """Left out for a single contender, and for answers that are not known here."""
    if view.kind is None or len(view.entries) < 2:
        return None
    wording = WORDINGS[view.kind]
    others = view.entries[1:]
    limit = int(np.clip(wording.shown // len(others), FEWEST, MOST))
    pairs = [compared(view, view.entries[0], other, limit) for other in others]
    shown = ROW_VIEWS[view.kind](view)
    seeds = " Of several seeds, the first is compared." * view.several_seeds
    return join(
        [
            paragraphs(
                f"The best contender beside each other one, ordered by {wording.order}, largest first"
                f" (Δ: that of the first minus that of the other). Long texts are cut.{seeds}"
            ),
            shown.legend(),
            _controls(wording),
            *(_pair(view, shown, pair, wording, place == 0) for place, pair in enumerate(pairs)),
        ]
    )


def compared(view: View, first: Entry, second: Entry, limit: int) -> Pair:
    """The `limit` rows on which the first runs of two contenders differ the most."""
    one, other = view.first(first), view.first(second)
    differs = _differs(view.kind or "", one, other)
    gap = _measured(view.kind or "", one) - _measured(view.kind or "", other)
    rows = np.nonzero(differs)[0]
    rows = rows[np.argsort(-np.abs(gap[rows]), kind="stable")][:limit]
    right = _right(view.kind or "", one, other, gap, rows)
    return Pair(first, second, rows, int(differs.sum()), right, gap[rows])


def _measured(kind: str, answers: Answers) -> np.ndarray:
    """(N,) what rows are ordered by the difference of."""
    if kind == "translation":
        return ngrams.chrf(answers.chrf_counts)
    return answers.array("squared_error" if kind == "numbers" else "nll")


def _differs(kind: str, one: Answers, other: Answers) -> np.ndarray:
    """(N,) whether two runs answer differently."""
    if kind == "single":
        return np.array(one.labels)[one.prediction] != np.array(other.labels)[other.prediction]
    if kind == "ner":
        return np.array([a != b for a, b in zip(one.predicted_spans, other.predicted_spans, strict=True)], bool)
    if kind == "several":
        return np.array(
            [set(a) != set(b) for a, b in zip(one.values("prediction"), other.values("prediction"), strict=True)], bool
        )
    if kind == "numbers":
        return one.array("prediction") != other.array("prediction")
    if kind == "translation":
        return np.array(
            [a != b for a, b in zip(one.values("hypothesis"), other.values("hypothesis"), strict=True)], bool
        )
    return np.ones(one.table.num_rows, bool)


def _right(kind: str, one: Answers, other: Answers, gap: np.ndarray, rows: np.ndarray) -> list[str]:
    """For each of `rows`, which run is right, or better."""
    if kind in ("numbers", "next_word"):
        return [CHOICES[0] if gap[row] < 0 else CHOICES[1] for row in rows]
    if kind == "translation":
        return [CHOICES[0] if gap[row] > 0 else CHOICES[1] if gap[row] < 0 else CHOICES[2] for row in rows]
    both = [_is_right(kind, answers) for answers in (one, other)]
    return [CHOICES[0] if both[0][row] else CHOICES[1] if both[1][row] else CHOICES[2] for row in rows]


def _is_right(kind: str, answers: Answers) -> np.ndarray:
    """(N,) whether the whole answer is right."""
    if kind == "single":
        return answers.gold == answers.prediction
    if kind == "several":
        return (answers.gold_sets == answers.prediction_sets).all(axis=1)
    return np.array([a == b for a, b in zip(answers.gold_spans, answers.predicted_spans, strict=True)], bool)


def _controls(wording: Wording) -> Html:
    """Hidden until the script has made them work."""
    options = [tag("option", "all rows", value="")]
    options += [tag("option", said, value=name) for name, said in zip(CHOICES, wording.choices, strict=False)]
    return tag(
        "form",
        tag("label", "Search ", tag("input", type="search", dir="auto", autocomplete="off", id="search")),
        tag("label", "Show ", tag("select", *options, id="choice")),
        tag("output", id="found", aria_live="polite"),
        class_="controls",
        role="search",
        hidden=True,
    )


def _pair(view: View, shown: RowView, pair: Pair, wording: Wording, is_open: bool) -> Html:
    answers = view.first(pair.first), view.first(pair.second)
    places = _places(answers[0], pair.rows)
    items = shown.items(pair.rows, (pair.first, pair.second), answers)
    rows = [
        tag(
            "li",
            item,
            tag("p", user(place), f" · Δ {gap:+.2f}".replace("-", "−"), class_="place"),
            data_right=right,
        )
        for item, right, gap, place in zip(items, pair.right, pair.differences, places, strict=True)
    ]
    summary = join([pair.first.title(), " and ", pair.second.title(), " ", tag("span", class_="count")])
    said = f"{len(rows):,} of {pair.count:,} {wording.rows}."
    more = len(rows) - AT_ONCE
    return details(
        summary,
        tag("p", said, class_="said"),
        tag("ol", *rows[:AT_ONCE], class_="rows"),
        details(f"{more:,} more", tag("ol", *rows[AT_ONCE:], class_="rows"), class_="more") if more > 0 else "",
        open_=is_open,
        class_="pair",
    )


def _places(answers: Answers, rows: np.ndarray) -> list[str]:
    """Where each row stands in the data."""
    if not answers.has("place"):
        return [f"row {row}" for row in rows]
    return [str(place) for place in answers.table["place"].take(rows).to_pylist()]
