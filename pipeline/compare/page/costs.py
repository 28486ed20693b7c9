"""What quality costs: the main score against training time, size and speed, with the Pareto front."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.compare.page.figures import LINE as LINE_COLOUR
from pipeline.compare.page.figures import Figures, axes, badge, group, log_or_linear
from pipeline.compare.page.html import Html, Td, cell, join, number, paragraphs, short, table
from pipeline.compare.page.view import Entry, View, score_name

PER_SECOND = "texts per second"


@dataclass(frozen=True)
class Cost:
    """A number under `train` in metrics.json that the main score is set against."""

    name: str
    title: str
    axis: str
    column: str
    more_is_better: bool = False


COSTS = (
    Cost("seconds", "Training time", "seconds of training", "seconds of training"),
    Cost("parameters", "Size", "parameters", "parameters"),
    Cost("answering.batch_1", "Answering one text at a time", PER_SECOND, "texts/s, one at a time", True),
    Cost("answering.batch_32", "Answering 32 texts at a time", PER_SECOND, "texts/s, 32 at a time", True),
)


def front(points: dict[str, tuple[float, float]], more_is_better: bool, lower_score: bool) -> list[str]:
    """The keys on the Pareto front: no other is at least as good in both respects and better in one.

    Args:
        points: key -> (cost, score).
        more_is_better: whether more of the first is better.
        lower_score: whether a lower score is better.
    """
    signed = {
        key: (cost if more_is_better else -cost, -score if lower_score else score)
        for key, (cost, score) in points.items()
    }
    return [
        key
        for key, own in signed.items()
        if not any(other != own and other[0] >= own[0] and other[1] >= own[1] for other in signed.values())
    ]


def section(view: View, figures: Figures) -> Html | None:
    """A table of all costs, and a picture for each that at least two contenders have."""
    score = view.verdict.main_score
    scores = {e.key: view.verdict.estimates[e.name][score].value for e in view.entries}
    found = {cost: {e.key: value for e in view.entries if (value := e.mean(cost.name)) is not None} for cost in COSTS}
    known = [cost for cost in COSTS if found[cost]]
    if not known:
        return None
    lower = view.verdict.is_lower_better(score)
    fronts = {
        cost: front({key: (value, scores[key]) for key, value in found[cost].items()}, cost.more_is_better, lower)
        for cost in known
    }
    pictures = [_picture(view, figures, c, found[c], fronts[c], scores) for c in known if len(found[c]) > 1]
    others = [name for name in view.text_scores if name != score]
    rows = [
        [
            *(e.title(), number(scores[e.key]), *(number(_value(view, e, name)) for name in others)),
            *(_cell(found[cost].get(e.key), e.key in fronts[cost]) for cost in known),
        ]
        for e in view.entries
    ]
    return join(
        [
            paragraphs(
                f"Filled circles, and ● in the table: on the Pareto front, so no other contender has both a better"
                f" {score_name(score)} and a lower cost." + " Numbers are means over the seeds." * view.several_seeds,
                *_missing(view, found),
            ),
            group(*pictures),
            table(["", *map(score_name, [score, *others]), *(c.column for c in known)], rows, class_="scores"),
        ]
    )


def _value(view: View, entry: Entry, score: str) -> float | None:
    estimate = view.verdict.estimates[entry.name].get(score)
    return estimate.value if estimate else None


def _cell(value: float | None, is_on_front: bool) -> Td:
    return cell("–" if value is None else join([short(value), " ●" if is_on_front else ""]))


def _missing(view: View, found: dict[Cost, dict[str, float]]) -> list[str]:
    lacking = [e.key for e in view.entries if any(e.key not in found[cost] for cost in COSTS[2:])]
    if not lacking:
        return []
    return [f"The speed of answering was not measured in {', '.join(lacking)}: run them again to have it."]


def _picture(
    view: View, figures: Figures, cost: Cost, found: dict[str, float], on_front: list[str], scores: dict[str, float]
) -> Html:
    score = score_name(view.verdict.main_score)
    where = axes(cost.axis, score, left=50)
    line = sorted((found[key], scores[key]) for key in on_front)
    where.plot(*zip(*line, strict=True), color=LINE_COLOUR, linewidth=2.5, zorder=1)
    shown = [entry for entry in view.entries if entry.key in found]
    where.update_datalim([(found[e.key], scores[e.key]) for e in shown])
    log_or_linear(where.xaxis, list(found.values()))
    where.margins(y=0.15)
    where.autoscale_view(scalex=False)
    where.locator_params(axis="y", nbins=5)
    for place, entry in enumerate(reversed(shown)):
        badge(where, found[entry.key], scores[entry.key], entry, entry.key not in on_front, 5 + place)
    rows = [[e.title(), number(scores[e.key]), short(found[e.key]), _yes(e, on_front)] for e in shown]
    said = f"On the Pareto front: {', '.join(on_front)}. " + "; ".join(
        f"{e.key} {number(scores[e.key])} at {short(found[e.key])} {cost.axis}" for e in shown
    )
    return figures.figure(where, cost.title, f"{said}.", ["", score, cost.axis, "on the front"], rows)


def _yes(entry: Entry, on_front: list[str]) -> str:
    return "yes" if entry.key in on_front else "no"
