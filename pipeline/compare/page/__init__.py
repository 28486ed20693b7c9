"""The page of a comparison: one file of HTML that needs nothing else, `finetune compare RUN... --html PAGE`.

`write` joins the sections, one module each, from top to bottom: `summary` (the sentences of the verdict, and every
test), `ranking`, `costs` (with the Pareto front), `curves`, `confusion`, `calibration`, `numbers` (predicted against
gold), `entity_errors`, `slices` (by length and by rare words), `labels`, `disagreement` (rows on which two contenders
differ), `attention` (of translations) and `differences` (of settings, data and machines). A section returns None where
it does not apply.

They read `view`, which knows the letters of the contenders and their answers as arrays, and `measures`, the scores
that parts of the rows are compared by. `html` escapes, `figures` draws, `row_views` and `surprisal` show single rows.
The style sheet and the script are page.css and page.js.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from pathlib import Path

from pipeline import storage
from pipeline.compare.page import (
    attention,
    calibration,
    confusion,
    costs,
    curves,
    differences,
    disagreement,
    entity_errors,
    labels,
    numbers,
    ranking,
    slices,
    summary,
)
from pipeline.compare.page.figures import Figures, drawing
from pipeline.compare.page.html import Html, join, tag
from pipeline.compare.page.view import View
from pipeline.compare.verdict import Verdict
from pipeline.errors import writing

SECTIONS: dict[str, Callable[[View, Figures], Html | None]] = {
    "Verdict": summary.section,
    "Ranking": ranking.section,
    "Quality and cost": costs.section,
    "Learning curves": curves.section,
    "Confusion": confusion.section,
    "Calibration": calibration.section,
    "Predicted numbers": numbers.section,
    "Kinds of errors": entity_errors.section,
    "Length and rare words": slices.section,
    "Labels": labels.section,
    "Disagreement": disagreement.section,
    "Attention": attention.section,
    "Settings, data and machines": differences.section,
}

# Those that read rows show only the contenders that have kept them.
OF_ROWS = (
    *("Confusion", "Calibration", "Predicted numbers", "Kinds of errors"),
    *("Length and rare words", "Labels", "Disagreement", "Attention"),
)


def write(file: Path, verdict: Verdict) -> None:
    """Write the page about `verdict` to `file`. The same runs give the same bytes.

    Raises:
        UserError: it cannot be written, or a file in the folder of a run cannot be read.
    """
    with drawing():
        text = page(verdict)
    with writing("--html", file.parent):
        file.parent.mkdir(parents=True, exist_ok=True)
        storage.write(file, text)


def page(verdict: Verdict) -> str:
    """The page as text; call it within `figures.drawing`."""
    view, figures = View(verdict), Figures()
    of_rows = view.with_rows()
    made = {title: section(of_rows if title in OF_ROWS else view, figures) for title, section in SECTIONS.items()}
    shown = {title: body for title, body in made.items() if body}
    script = _resource("page.js")
    title = _title(verdict)
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=_policy(script)),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("link", rel="icon", href="data:,"),
        tag("title", title),
        tag("style", Html(_resource("page.css"))),
    )
    body = tag(
        "body",
        tag("header", tag("h1", title), tag("p", _subtitle(verdict)), view.legend(), _contents(shown)),
        tag("main", *(_section(name, content) for name, content in shown.items())),
        tag(
            "footer", tag("p", "Every figure comes from files in the folders of the runs. Written by finetune compare.")
        ),
        tag("script", Html(script)),
    )
    return f"<!doctype html>\n{tag('html', head, body, lang='en')}\n".encode("utf-8", "replace").decode()


def _resource(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8").strip()


def _policy(script: str) -> str:
    """Nothing is loaded, and no script runs but ours."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"


def _title(verdict: Verdict) -> str:
    count = len(verdict.contenders)
    return f"{verdict.task}: {count} models compared" if count > 1 else f"{verdict.task}: {verdict.best.name}"


def _subtitle(verdict: Verdict) -> Html:
    runs = sum(contender.seeds for contender in verdict.contenders)
    kind = f", {verdict.problem_type.replace('_', ' ')}" if verdict.problem_type else ""
    rows = f"{verdict.rows:,} rows of " if verdict.rows else ""
    return join([f"{rows}the {verdict.split} split", kind, f", {runs} runs" if runs > len(verdict.contenders) else ""])


def _contents(shown: dict[str, Html]) -> Html:
    return tag(
        "nav", tag("ul", *(tag("li", tag("a", name, href=f"#{_id(name)}")) for name in shown)), aria_label="Sections"
    )


def _section(name: str, content: Html) -> Html:
    return tag("section", tag("h2", name), content, id=_id(name), aria_label=name)


def _id(name: str) -> str:
    return name.lower().replace(",", "").replace(" ", "-")
