"""Scores by length and by rare words: where a model is weak."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.compare.page.figures import Figures, axes, group, label_ends, line_style
from pipeline.compare.page.html import Html, join, number, paragraphs
from pipeline.compare.page.measures import MEASURES, Measure
from pipeline.compare.page.view import View, capital

PARTS = 5
# Scripts that are written without blanks: each character counts as a word.
UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
)
_EDGES = "".join(chr(code) for code in range(33, 127) if not chr(code).isalnum()) + "…“”‘’«»„–—،؛؟。、！？"


@dataclass(frozen=True)
class Part:
    """Rows that have something in common: their number is that of True in `rows` (N,)."""

    name: str
    rows: np.ndarray


def words(text: str) -> list[str]:
    """Words in small letters without punctuation around them; of a script without blanks, its characters."""
    if UNSPACED.search(text):
        text = UNSPACED.sub(r" \g<0> ", text)
    return [word for piece in text.casefold().split() if (word := piece.strip(_EDGES))]


def section(view: View, figures: Figures) -> Html | None:
    """Left out for answers whose score is not known here."""
    if view.kind is None or view.verdict.rows < 2 * PARTS:
        return None
    texts = [words(text) for text in view.texts]
    lengths = np.array([len(own) for own in texts])
    measures = MEASURES[view.kind]
    names = " and ".join(measure.name for measure in measures)
    cuts = (
        ("by length", f"words in the {'source' if view.kind == 'translation' else 'text'}", _by_length(lengths)),
        ("by rare words", "share of rare words", _by_rarity(texts)),
    )
    return join(
        [
            paragraphs(
                f"{capital(names)} on parts of the rows, which are of about the same number."
                " A word is what stands between blanks; of scripts without blanks, a character.",
                "Rare words are those that are in no other row. How often a word is in the training data is not written"
                " in the folder of a run.",
            ),
            view.legend(),
            group(
                *(
                    _picture(view, figures, measure, f"{measure.name} {cut}" if len(measures) > 1 else cut, axis, parts)
                    for cut, axis, parts in cuts
                    for measure in measures
                )
            ),
        ]
    )


def _by_length(lengths: np.ndarray) -> list[Part]:
    """Parts of about the same number of rows, by their number of words."""
    edges = np.unique(np.quantile(lengths, np.linspace(0, 1, PARTS + 1)[1:], method="lower"))
    starts = [int(lengths.min()), *(int(edge) + 1 for edge in edges[:-1])]
    return [
        Part(f"{start}–{int(end)}" if start < end else f"{start}", (lengths >= start) & (lengths <= end))
        for start, end in zip(starts, edges, strict=True)
    ]


def rare_shares(texts: Sequence[list[str]]) -> np.ndarray:
    """(N,) share of the words of each row that are in no other row."""
    found = Counter(word for own in texts for word in set(own))
    return np.array([sum(found[word] == 1 for word in own) / max(len(own), 1) for own in texts])


def _by_rarity(texts: Sequence[list[str]]) -> list[Part]:
    """The rows without rare words, and thirds of the others."""
    shares = rare_shares(texts)
    parts = [Part("none", shares == 0)]
    if (shares > 0).any():
        edges = np.unique(np.quantile(shares[shares > 0], [1 / 3, 2 / 3, 1], method="lower"))
        starts = [0.0, *edges[:-1]]
        parts += [
            Part(f"to {100 * high:.0f} %", (shares > low) & (shares <= high))
            for low, high in zip(starts, edges, strict=True)
        ]
    return [part for part in parts if part.rows.any()]


def _picture(
    view: View, figures: Figures, measure: Measure, title: str, axis: str, parts: Sequence[Part]
) -> Html | None:
    if len(parts) < 2:
        return None
    member = np.array([part.rows for part in parts], float)
    values = {e.key: view.mean(e, lambda own: measure.value(member @ measure.contributions(own))) for e in view.entries}
    where = axes(axis, measure.name)
    places = np.arange(len(parts))
    for entry in reversed(view.entries):
        where.plot(places, values[entry.key], marker="o", markersize=4.5, **line_style(entry))
    where.set_xticks(places, [part.name for part in parts])
    where.locator_params(axis="y", nbins=5)
    label_ends(where, [(float(v[-1]), e) for e in view.entries if np.isfinite((v := values[e.key])[-1])])
    counts = [int(part.rows.sum()) for part in parts]
    rows = [
        [part.name, f"{count:,}", *(number(float(values[e.key][place])) for e in view.entries)]
        for place, (part, count) in enumerate(zip(parts, counts, strict=True))
    ]
    said = "; ".join(f"{e.key}: {', '.join(number(float(v)) for v in values[e.key])}" for e in view.entries)
    names = ", ".join(part.name for part in parts)
    return figures.figure(where, capital(title), f"For {names}: {said}.", [axis, "rows", *view.heads()], rows)
