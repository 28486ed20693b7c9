"""Pictures as inline SVG: drawn by matplotlib, coloured by the page's style sheet, with a text alternative each.

Only letters, numbers and plain English stand in a picture, so nothing in it depends on fonts or on the direction of
writing. Colours are marks that are replaced by variables of the style sheet, which has a light and a dark form.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.compare.page.html import Html, details, short, table, tag
from pipeline.compare.page.view import COLOURS, Entry

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTH, HEIGHT = 360, 250  # in units of the picture; on a phone one is about a pixel
FONT = 11
INK, MUTED, LINE, SURFACE = "#010203", "#010204", "#010205", "#010206"
VARIABLES = {INK: "ink", MUTED: "muted", LINE: "line", SURFACE: "surface"}
VARIABLES |= {f"#0a0b{number:02x}": f"k{number}" for number in range(COLOURS)}
MARKERS = "osD^vPX*<>"
DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1.5, 1)), (0, (6, 1.5, 1.5, 1.5)))
STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "finetune",
    "font.family": ["DejaVu Sans"],  # comes with matplotlib
    "font.size": FONT,
    "text.color": INK,
    "axes.edgecolor": LINE,
    "axes.labelcolor": MUTED,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "savefig.facecolor": "none",
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.unicode_minus": True,
    "grid.color": LINE,
    "grid.linewidth": 0.8,
    "xtick.color": LINE,
    "ytick.color": LINE,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "ytick.major.size": 0,
    "xtick.major.size": 3,
    "path.simplify": True,
}
_colour = re.compile("|".join(VARIABLES))
_named = re.compile(r' id="([^"]+)"')
_referred = re.compile(r'(?:xlink:href="#|url\(#)([^")]+)')


@contextlib.contextmanager
def drawing() -> Iterator[None]:
    """The style of all pictures, whatever the user's own settings of matplotlib are; they are back afterwards."""
    import matplotlib

    own = {key: value for key, value in matplotlib.rcParamsDefault.items() if not key.startswith("backend")}
    with matplotlib.rc_context({**own, **STYLE}):
        yield


def colour(entry: Entry) -> str:
    """The mark for the colour of a contender."""
    return f"#0a0b{entry.colour:02x}"


def line_style(entry: Entry) -> dict[str, Any]:
    """Colour and dashes, so that a line is known without its colour as well."""
    return {"color": colour(entry), "linestyle": DASHES[entry.colour % len(DASHES)], "linewidth": 1.8}


def axes(x: str, y: str, height: int = HEIGHT, left: int = 46, right: int = 22, width: int = WIDTH) -> Axes:
    """The axes of a new picture, with the names of both. The name of the vertical one stands above it, to be read."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width / 72, height / 72), dpi=72)
    top, bottom = 26 if y else 10, 40 if x else 24
    made = figure.add_axes(
        (left / width, bottom / height, (width - left - right) / width, (height - top - bottom) / height)
    )
    made.set_xlabel(x, labelpad=4)
    figure.text(6 / width, 1 - 7 / height, y, ha="left", va="top", color=MUTED)
    made.margins(0.06, 0.08)
    return made


def log_or_linear(axis: Any, values: Sequence[float]) -> None:
    """A logarithmic scale for values that differ by more than eight times, else one from 0."""
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

    low, high = min(values), max(values)
    set_limits = axis.axes.set_xlim if axis.axis_name == "x" else axis.axes.set_ylim
    if low > 0 and high / low > 8:
        (axis.axes.set_xscale if axis.axis_name == "x" else axis.axes.set_yscale)("log")
        set_limits(low / (high / low) ** 0.12, high * (high / low) ** 0.12)
        decades = np.log10(high / low)
        axis.set_major_locator(LogLocator(subs=(1, 3) if decades < 2.5 else (1,), numticks=6))
        axis.set_minor_locator(NullLocator())
    else:
        set_limits(0, high * 1.15 or 1)
        axis.set_major_locator(MaxNLocator(5))
    axis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))


def badge(where: Axes, x: float, y: float, entry: Entry, hollow: bool = False, order: int = 5) -> None:
    """The letter of a contender in a circle at a point."""
    circle: dict[str, Any] = {
        "facecolor": SURFACE if hollow else colour(entry),
        "edgecolor": colour(entry),
        "linewidth": 1.4,
    }
    where.scatter([x], [y], s=170, zorder=order, clip_on=False, **circle)
    ink = colour(entry) if hollow else SURFACE
    text: dict[str, Any] = {"ha": "center", "va": "center_baseline", "fontsize": 9.5, "fontweight": "bold"}
    where.text(x, y, entry.key, color=ink, zorder=order + 0.1, clip_on=False, **text)


def label_ends(where: Axes, ends: Sequence[tuple[float, Entry]]) -> None:
    """The letter of each line to the right of its end, moved apart where they would overlap."""
    low, high = where.get_ylim()
    step = 13.0 / (where.bbox.height or 1.0)
    places: list[float] = []
    ordered = sorted(ends, key=lambda end: end[0])
    for value, _ in ordered:
        wanted = (value - low) / ((high - low) or 1.0)
        places.append(max(wanted, places[-1] + step) if places else wanted)
    over = max(0.0, places[-1] - 1.0) if places else 0.0
    for place, (_, entry) in zip(places, ordered, strict=True):
        where.text(
            1.02,
            place - over,
            entry.key,
            transform=where.transAxes,
            color=colour(entry),
            fontweight="bold",
            va="center",
        )


class Figures:
    """Makes the pictures of a page; their ids are distinct, because all are part of one document."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)

    def figure(
        self,
        where: Axes,
        title: str,
        description: str,
        header: Sequence[object],
        rows: Sequence[Sequence[object]],
    ) -> Html:
        """The picture in which `where` is, its title, and its data as a table that is shown on demand.

        Args:
            description: what can be seen, in words, for those who do not see it.
        """
        name = f"f{next(self._numbers)}"
        return tag(
            "figure",
            tag("figcaption", title),
            _svg(where, name, title, description),
            details("Data of this picture", table(header, rows), class_="data"),
        )


def group(*figures: Html | None) -> Html:
    """Pictures beside each other, or below each other where there is no room."""
    shown = [figure for figure in figures if figure]
    return tag("div", *shown, class_="figures two" if len(shown) in (2, 4) else "figures") if shown else Html("")


def _svg(where: Axes, name: str, title: str, description: str) -> Html:
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    figure: Any = where.figure
    written = io.StringIO()
    nothing: dict[str, Any] = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    FigureCanvasSVG(figure).print_svg(written, metadata=nothing)
    text = written.getvalue()
    body = text[text.index(">", text.index("<svg")) + 1 : text.rindex("</svg>")]
    body = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->|<style.*?</style>", "", body, flags=re.DOTALL)
    used = set(_referred.findall(body))
    body = _named.sub(lambda found: f' id="{name}-{found[1]}"' if found[1] in used else "", body)
    body = _referred.sub(lambda found: found[0].replace(f"#{found[1]}", f"#{name}-{found[1]}"), body)
    body = _colour.sub(lambda found: f"var(--{VARIABLES[found[0]]})", body)
    body = body.replace("xlink:href", "href")
    body = re.sub(r"font: ((?:bold |\d+ )?)([\d.]+)px [^;\"]*", r"font-weight: \1; font-size: \2px", body)
    body = re.sub(r"font-family: [^;\"]*;? ?", "", body).replace("font-weight: ; ", "")
    body = re.sub(r"\n\s*", "\n", body).replace("\n>", ">")
    width, height = figure.get_size_inches() * 72
    return tag(
        "svg",
        tag("title", title, id=f"{name}-title"),
        tag("desc", description, id=f"{name}-desc"),
        Html(body),
        viewBox=f"0 0 {width:.0f} {height:.0f}",
        role="img",
        aria_labelledby=f"{name}-title",
        aria_describedby=f"{name}-desc",
    )
