"""Lines with bands and points with intervals, as SVG. The same figures give the same bytes."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

# Okabe & Ito (2008): told apart by colour-blind readers as well.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
MARKERS = "osD^vPX"
PANEL_WIDTH, PANEL_HEIGHT = 4.2, 3.1
STYLE = {
    "svg.hashsalt": "course",
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#dddddd",
}


@dataclass(frozen=True)
class Line:
    """A curve: `y` over `x`, with a band from `low` to `high` if these are given."""

    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] | None = None
    high: Sequence[float] | None = None


@dataclass(frozen=True)
class Lines:
    """A panel of curves.

    Attributes:
        title, x_label, y_label: what it shows.
        lines: name -> curve. The same name has the same colour in all panels.
        log_x, log_y: logarithmic axes, x to the base 2.
        y_from: lower end of the y axis; None: as the curves need.
    """

    title: str
    x_label: str
    y_label: str
    lines: Mapping[str, Line]
    log_x: bool = False
    log_y: bool = False
    y_from: float | None = None


@dataclass(frozen=True)
class Points:
    """A panel of points with intervals: name -> value, low, high; a bound may be None."""

    title: str
    x_label: str
    points: Mapping[str, tuple[float, float | None, float | None]] = field(default_factory=dict)


def draw(panels: Sequence[Lines | Points]) -> str:
    """The panels side by side, as SVG on white ground."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(PANEL_WIDTH * len(panels), PANEL_HEIGHT), layout="constrained")
        FigureCanvasSVG(figure)
        names = list(dict.fromkeys(name for panel in panels if isinstance(panel, Lines) for name in panel.lines))
        for axes, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
            axes.set_title(panel.title, fontsize=9)
            axes.set_xlabel(panel.x_label)
            if isinstance(panel, Lines):
                _draw_lines(axes, panel, names)
            else:
                _draw_points(axes, panel)
        file = io.StringIO()
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    # A document holds several; the ids are all the same length, so that clipping paths stay those of their own picture.
    return re.sub(r"^.*?(?=<svg)", "", file.getvalue(), flags=re.DOTALL)


def _draw_lines(axes: Any, panel: Lines, names: Sequence[str]) -> None:
    for name, line in panel.lines.items():
        place = names.index(name)
        color = COLORS[place % len(COLORS)]
        marker = MARKERS[place % len(MARKERS)] if len(line.x) <= 20 else None
        axes.plot(line.x, line.y, color=color, marker=marker, markersize=4, linewidth=1.4, label=name)
        if line.low is not None and line.high is not None:
            axes.fill_between(line.x, line.low, line.high, color=color, alpha=0.18, linewidth=0)
    axes.set_ylabel(panel.y_label)
    if panel.log_x:
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter("{x:.0f}")
    if panel.log_y:
        axes.set_yscale("log")
    if panel.y_from is not None:
        axes.set_ylim(bottom=panel.y_from)
    axes.legend(frameon=False, fontsize=8)


def _draw_points(axes: Any, panel: Points) -> None:
    for place, (value, low, high) in enumerate(panel.points.values()):
        color = COLORS[place % len(COLORS)]
        if low is not None and high is not None:
            axes.plot([low, high], [place, place], color=color, linewidth=1.4)
        axes.plot([value], [place], color=color, marker="o", markersize=5)
    axes.set_yticks(range(len(panel.points)), list(panel.points))
    axes.set_ylim(len(panel.points) - 0.5, -0.5)
