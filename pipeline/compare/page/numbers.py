"""Numbers as answers: predicted against gold, and the errors."""

from __future__ import annotations

import numpy as np

from pipeline.compare.page.figures import INK, Figures, axes, colour, group, line_style
from pipeline.compare.page.html import Html, details, join, number, paragraphs
from pipeline.compare.page.view import Entry, View

CELLS = 24  # of a side of a picture
OPEN = 4  # pictures shown at once
BARS = 31


def section(view: View, figures: Figures) -> Html | None:
    """Left out unless the answers are numbers."""
    if view.kind != "numbers":
        return None
    pictures = [_scatter(view, figures, entry) for entry in view.entries]
    seed = " Of several seeds, the first is shown." * view.several_seeds
    return join(
        [
            paragraphs(
                f"A square stands for rows with about the same gold and predicted number; the larger, the more.{seed}"
            ),
            view.legend(),
            group(_errors(view, figures), *pictures[:OPEN]),
            details(f"{len(pictures) - OPEN} more", group(*pictures[OPEN:])) if len(pictures) > OPEN else "",
        ]
    )


def _scatter(view: View, figures: Figures, entry: Entry) -> Html:
    gold, answer = (view.first(entry).array(column) for column in ("gold", "prediction"))
    every = np.concatenate([view.first(e).array(c) for e in view.entries for c in ("gold", "prediction")])
    low, high = float(every.min()), float(every.max())
    counts, edges, _ = np.histogram2d(gold, answer, bins=CELLS, range=[[low, high + 1e-9]] * 2)
    middle = (edges[:-1] + edges[1:]) / 2
    columns, lines = np.nonzero(counts)
    where = axes("gold", "predicted", height=300)
    where.plot([low, high], [low, high], color=INK, linewidth=1, linestyle=(0, (2, 3)), alpha=0.6)
    sizes = 8 + 90 * counts[columns, lines] / counts.max()
    where.scatter(middle[columns], middle[lines], s=sizes, marker="s", color=colour(entry), alpha=0.75, linewidths=0)
    error = answer - gold
    figures_ = [number(float(v)) for v in (error.mean(), np.abs(error).mean(), np.sqrt(np.square(error).mean()))]
    figures_.append(number(float(np.corrcoef(gold, answer)[0, 1])) if gold.std() * answer.std() > 0 else "–")
    names = ["mean error", "mean absolute error", "root of the mean squared error", "correlation"]
    said = ", ".join(f"{name} {figure}" for name, figure in zip(names, figures_, strict=True))
    title = f"{entry.key}: predicted against gold"
    return figures.figure(where, title, f"{said}.", ["", *names], [[entry.title(), *figures_]])


def _errors(view: View, figures: Figures) -> Html:
    """How often which error is made."""
    errors = {e.key: view.first(e).array("prediction") - view.first(e).array("gold") for e in view.entries}
    widest = max(float(np.quantile(np.abs(error), 0.99)) for error in errors.values()) or 1.0
    edges = np.linspace(-widest, widest, BARS + 1)
    where = axes("predicted minus gold", "share of the rows", height=300, left=50)
    middle = (edges[:-1] + edges[1:]) / 2
    for entry in reversed(view.entries):
        shares = np.histogram(errors[entry.key], edges)[0] / len(errors[entry.key])
        where.plot(middle, shares, **line_style(entry))
    where.axvline(0, color=INK, linewidth=1, linestyle=(0, (2, 3)), alpha=0.6)
    where.locator_params(axis="both", nbins=5)
    where.set_ylim(0)
    points = [5, 25, 50, 75, 95]
    quantiles = {key: np.percentile(error, points) for key, error in errors.items()}
    rows = [[e.title(), *(number(float(v)) for v in quantiles[e.key])] for e in view.entries]
    said = "; ".join(
        f"{e.key}: half of the errors between {number(float(quantiles[e.key][1]))} and"
        f" {number(float(quantiles[e.key][3]))}"
        for e in view.entries
    )
    return figures.figure(where, "Errors", f"{said}.", ["", *(f"{point} % below" for point in points)], rows)
