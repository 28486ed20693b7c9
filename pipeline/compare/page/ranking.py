"""The ranking: every score of every contender with its interval."""

from __future__ import annotations

from pipeline.compare.page.figures import Figures, axes, badge, colour, group
from pipeline.compare.page.html import Html, Td, cell, join, number, paragraphs, table, tag
from pipeline.compare.page.view import Entry, View, capital, score_name
from pipeline.compare.verdict import Estimate

PICTURES = 2  # scores with a picture of their own


def section(view: View, figures: Figures) -> Html | None:
    """A table of all scores, and pictures of the first ones."""
    verdict = view.verdict
    confidence = f"{100 * (1 - verdict.level):g} %"
    scores = verdict.scores
    header = ["", *(_heading(view, score) for score in scores)]
    rows = [[entry.title(), *(_cell(view, entry, score) for score in scores)] for entry in view.entries]
    pictured = [score for score in scores if len(view.entries) > 1][:PICTURES]
    said = f"The best first, by {score_name(verdict.main_score)}. Below each score its {confidence} interval" + (
        "; over several seeds, the score is the mean." if view.several_seeds else "."
    )
    if verdict.rows == 0:
        said = "The best first. There are no intervals, because the rows were not kept."
    return join(
        [
            paragraphs(said),
            table(header, rows, class_="scores"),
            group(*(_picture(view, figures, score, confidence) for score in pictured)),
        ]
    )


def _heading(view: View, score: str) -> Html:
    return join([score_name(score), tag("small", " ↓" if view.verdict.is_lower_better(score) else " ↑")])


def _cell(view: View, entry: Entry, score: str) -> Td:
    estimate = view.verdict.estimates[entry.name].get(score)
    if estimate is None:
        return cell("–")
    values = [own[score].value for own in view.verdict.estimates.values() if score in own]
    best = min(values) if view.verdict.is_lower_better(score) else max(values)
    text = number(estimate.value)
    shown = tag("strong", text) if estimate.value == best and len(values) > 1 else text
    return cell(join([shown, tag("small", _interval(estimate), class_="interval")]))


def _interval(estimate: Estimate) -> str:
    return f"{number(estimate.low)} to {number(estimate.high)}" if estimate.low is not None else ""


def _picture(view: View, figures: Figures, score: str, confidence: str) -> Html | None:
    found = {entry.key: view.verdict.estimates[entry.name].get(score) for entry in view.entries}
    entries = [entry for entry in view.entries if found[entry.key] is not None]
    if len(entries) < 2:
        return None
    where = axes("", "", height=44 + 28 * len(entries), left=30)
    for place, entry in enumerate(entries):
        estimate = found[entry.key]
        assert estimate is not None
        if estimate.low is not None and estimate.high is not None:
            where.plot([estimate.low, estimate.high], [place, place], color=colour(entry), linewidth=3, alpha=0.55)
        where.plot([estimate.value], [place], marker="o", markersize=7, color=colour(entry))
    where.set_ylim(len(entries) - 0.4, -0.6)
    where.set_yticks([])
    where.locator_params(axis="x", nbins=5)
    left = where.get_xlim()[0]
    for place, entry in enumerate(entries):
        badge(where, left, place, entry)
    where.set_xlim(left)
    rows = [[entry.title(), number(e.value, 4), _interval(e)] for entry in entries if (e := found[entry.key])]
    said = "; ".join(f"{entry.key} {number(e.value)} ({_interval(e)})" for entry in entries if (e := found[entry.key]))
    title = f"{capital(score_name(score))} with {confidence} intervals"
    return figures.figure(where, title, f"{said}.", ["", score_name(score), "interval"], rows)
