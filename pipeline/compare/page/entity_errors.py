"""Errors of ner by kind. Each gold entity and each answered one is part of at most one error.

- wrong type: an answer over words of an entity, with another type;
- wrong border: an answer of the right type over some words of an entity, but not exactly over them;
- missed: an entity with which no answer is paired;
- invented: an answer that is paired with no entity.

Answers that are right are taken away first. Then answers are paired with entities that they share words with: first
those over the very same words, then those of the same type, then the others; the pair that shares the most words first.
"""

from __future__ import annotations

from collections import Counter

import numpy as np

from pipeline.compare.page.figures import Figures, axes, colour, group
from pipeline.compare.page.html import Html, join, paragraphs, table, tag
from pipeline.compare.page.view import Answers, View

KINDS = ("missed", "invented", "wrong border", "wrong type")
Span = tuple[int, int, str]


def section(view: View, figures: Figures) -> Html | None:
    """Left out unless the answers are entities."""
    if view.kind != "ner":
        return None
    counts = {entry.key: view.mean(entry, kinds_of) for entry in view.entries}
    rows = [[e.title(), *(_count(n) for n in counts[e.key]), _count(counts[e.key].sum())] for e in view.entries]
    meaning = (
        ("missed", "an entity that no answer is close to"),
        ("invented", "an answer that is close to no entity"),
        ("wrong border", "the right type, over some of the words of an entity or too many"),
        ("wrong type", "another type, over the words of an entity or some of them"),
    )
    return join(
        [
            paragraphs("Each error is counted once." + " Means over the seeds." * view.several_seeds),
            tag("dl", *(join([tag("dt", name), tag("dd", said)]) for name, said in meaning), class_="kinds"),
            group(_picture(view, figures, counts)),
            table(["", *KINDS, "all"], rows, class_="scores"),
        ]
    )


def _count(value: float) -> str:
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.1f}"


def kinds_of(answers: Answers) -> np.ndarray:
    """(4,) number of errors of each of `KINDS`."""
    total: Counter[str] = Counter()
    for gold, found in zip(answers.gold_spans, answers.predicted_spans, strict=True):
        if gold != found:
            total.update(errors(gold, found))
    return np.array([total[kind] for kind in KINDS], float)


def errors(gold: frozenset[Span], found: frozenset[Span]) -> list[str]:
    """The kind of each error in a sentence."""
    missing, extra = gold - found, found - gold
    pairs = sorted(
        (*_closeness(entity, answer), entity, answer)
        for entity in missing
        for answer in extra
        if entity[0] < answer[1] and answer[0] < entity[1]
    )
    made, paired = [], set()
    for rank, _, entity, answer in pairs:
        if ("gold", entity) not in paired and ("found", answer) not in paired:
            paired |= {("gold", entity), ("found", answer)}
            made.append("wrong border" if rank == 1 else "wrong type")
    seen = len(made)
    return made + ["missed"] * (len(missing) - seen) + ["invented"] * (len(extra) - seen)


def _closeness(entity: Span, answer: Span) -> tuple[int, int]:
    """Smaller for a better pair: 0 for the same words, 1 for the same type, 2 for neither; then by shared words."""
    rank = 0 if entity[:2] == answer[:2] else 1 if entity[2] == answer[2] else 2
    return rank, max(entity[0], answer[0]) - min(entity[1], answer[1])


def _picture(view: View, figures: Figures, counts: dict[str, np.ndarray]) -> Html:
    where = axes("errors", "", left=84, height=90 + 20 * max(len(KINDS), len(view.entries) + 2))
    step = 0.8 / len(view.entries)
    places = np.arange(len(KINDS))
    for number, entry in enumerate(view.entries):
        offset = (number + 0.5) * step - 0.4
        where.barh(places + offset, counts[entry.key], height=step * 0.86, color=colour(entry))
        for place, value in zip(places, counts[entry.key], strict=True):
            where.annotate(
                entry.key,
                (value, place + offset),
                (3, 0),
                textcoords="offset points",
                va="center",
                fontsize=min(9.0, 9 * 3 / len(view.entries) + 3),
                color=colour(entry),
            )
    where.set_yticks(places, KINDS)
    where.invert_yaxis()
    where.grid(False, axis="y")
    where.locator_params(axis="x", nbins=5)
    where.margins(x=0.08)
    said = "; ".join(
        f"{e.key}: " + ", ".join(f"{_count(n)} {kind}" for n, kind in zip(counts[e.key], KINDS, strict=True))
        for e in view.entries
    )
    rows = [[e.title(), *map(_count, counts[e.key])] for e in view.entries]
    return figures.figure(where, "Errors by kind", f"{said}.", ["", *KINDS], rows)
