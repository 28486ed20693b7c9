"""Learning curves: what history.jsonl says of the loss, of the score that selected the weights, and chrF and BLEU."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeGuard

import numpy as np

from pipeline.compare.page.figures import Figures, axes, group, label_ends, line_style
from pipeline.compare.page.html import Html, join, number, paragraphs, short
from pipeline.compare.page.view import Entry, View, capital, score_name
from pipeline.compare.runs import ComparedRun
from pipeline.errors import UserError

POINTS = 150  # of a line; a long run has many more records
MARKED = 25  # with fewer points, each is marked
LOG_FROM = 12.0  # ratio of the lengths of runs from which the axis is logarithmic

Curve = list[tuple[float, float]]


def section(view: View, figures: Figures) -> Html | None:
    """Loss of training and of validation, the score that selected the weights, and of translations chrF and BLEU."""
    monitors = dict.fromkeys(run.monitor for entry in view.entries for run in entry.contender.runs)
    monitors |= dict.fromkeys(view.text_scores)
    wanted = [("train", "loss"), ("validation", "loss")]
    wanted += [("validation", name) for name in monitors if name and name != "loss"]
    pictures = [_picture(view, figures, kind, name) for kind, name in wanted]
    if not any(pictures):
        return None
    said = "After each number of updates. A line ends where its run ended."
    said += " Each seed has a line of its own." * view.several_seeds
    return join([paragraphs(said), view.legend(), group(*pictures)])


def curve(run: ComparedRun, kind: str, name: str) -> Curve:
    """(update, value) of the records of this kind, thinned out to `POINTS`; the last one is kept."""
    try:
        history = run.history
    except UserError:
        return []
    found = (record for record in history if isinstance(record, dict) and record.get("kind") == kind)
    pairs = ((record.get("step"), record.get(name)) for record in found)
    points = [(float(step), float(value)) for step, value in pairs if _is_number(step) and _is_number(value)]
    if len(points) <= POINTS:
        return points
    kept = np.unique(np.linspace(0, len(points) - 1, POINTS).round().astype(int))
    return [points[place] for place in kept]


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and bool(np.isfinite(value))


def _picture(view: View, figures: Figures, kind: str, name: str) -> Html | None:
    curves = {e.key: [c for run in e.contender.runs if (c := curve(run, kind, name))] for e in view.entries}
    shown = [entry for entry in view.entries if curves[entry.key]]
    if not shown:
        return None
    where = axes("updates", "")
    for entry in reversed(shown):
        for line in curves[entry.key]:
            marker = {"marker": "o", "markersize": 3.5} if len(line) <= MARKED and kind != "train" else {}
            thin = {"alpha": 0.75, "linewidth": 1.2} if len(curves[entry.key]) > 1 else {}
            where.plot(*zip(*line, strict=True), **{**line_style(entry), **thin, **marker})
    _scale(where, [line for lines in curves.values() for line in lines])
    label_ends(where, [(float(np.mean([line[-1][1] for line in curves[e.key]])), e) for e in shown])
    rows = [[entry.title(), *_figures(line, name, view)] for entry in shown for line in curves[entry.key]]
    said = "; ".join(_sentence(entry, curves[entry.key], name, view) for entry in shown)
    title = f"{capital(score_name(name))} in {'training' if kind == 'train' else 'validation'}"
    return figures.figure(where, title, f"{said}.", ["", "first", "best", "at update", "last", "at update"], rows)


def _scale(where: Any, curves: Sequence[Curve]) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    ends = [line[-1][0] for line in curves]
    first = min(line[0][0] for line in curves)
    if max(ends) > LOG_FROM * min(ends) and first > 0:
        where.set_xscale("log")
        where.xaxis.set_major_locator(LogLocator(numticks=6))
        where.xaxis.set_minor_locator(NullLocator())
    else:
        where.locator_params(axis="x", nbins=5)
    where.locator_params(axis="y", nbins=5)
    where.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))


def _best(line: Curve, name: str, view: View) -> tuple[float, float]:
    pick = min if view.verdict.is_lower_better(name) else max
    return pick(line, key=lambda point: point[1])


def _figures(line: Curve, name: str, view: View) -> list[str]:
    best = _best(line, name, view)
    return [number(line[0][1]), number(best[1]), f"{best[0]:,.0f}", number(line[-1][1]), f"{line[-1][0]:,.0f}"]


def _sentence(entry: Entry, lines: list[Curve], name: str, view: View) -> str:
    best = _best([_best(line, name, view) for line in lines], name, view)
    return f"{entry.key}: best {number(best[1])} at update {best[0]:,.0f}"
