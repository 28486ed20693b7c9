"""Answers of models as HTML: scores and next words as bars, entities as marks; texts in their own direction."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pipeline.compare.page.html import Html, join, number, tag, user

# Labels that are shown at most; the others are counted.
SHOWN = 10
NO_BREAK = "\N{NO-BREAK SPACE}"
COLOURS = 10  # in demo.css: --k0 to --k9


def cards(answers: Mapping[str, tuple[dict[str, Any], float] | None]) -> Html:
    """A card for each model, side by side: its name, the milliseconds that it took, and its answer; None: it has not
    answered yet."""
    colours = _colours([answer for found in answers.values() if found for answer in [found[0]]])
    parts = [_card(name, found, colours) for name, found in answers.items()]
    return tag("div", *parts, class_="cards", aria_live="polite")


def _card(name: str, found: tuple[dict[str, Any], float] | None, colours: Mapping[str, int]) -> Html:
    title = tag("h2", user(name))
    if found is None:
        return tag("article", title, tag("p", "…", class_="time"), aria_busy="true")
    answer, seconds = found
    took = tag("p", f"{seconds * 1000:,.{1 if seconds < 0.01 else 0}f} ms", class_="time")
    return tag("article", title, took, _view(answer)(answer, colours))


def _view(answer: Mapping[str, Any]) -> Callable[[Mapping[str, Any], Mapping[str, int]], Html]:
    """How an answer is shown: by the first of its fields that has a view."""
    return next((view for field, view in VIEWS.items() if field in answer), _as_json)


def _labels(answer: Mapping[str, Any], colours: Mapping[str, int]) -> Html:
    """One label, or several: a bar for the score of each, the highest first."""
    own = answer["labels"] if "labels" in answer else [answer["label"]]
    scores = sorted(answer["scores"].items(), key=lambda pair: -pair[1])
    head = tag("p", join(map(user, own), ", ") or "no label", class_="answer")
    rest = tag("p", f"and {len(scores) - SHOWN} more", class_="time") if len(scores) > SHOWN else ""
    return join([head, _bars([(label, score, label in own) for label, score in scores[:SHOWN]]), rest])


def _next_words(answer: Mapping[str, Any], colours: Mapping[str, int]) -> Html:
    """A bar for the probability of each word."""
    words = [(word["word"], word["probability"], place == 0) for place, word in enumerate(answer["next"])]
    return _bars(words)


def _bars(rows: Sequence[tuple[str, float, bool]]) -> Html:
    """Names with shares from 0 to 1, and whether each stands out."""
    return tag("ol", *(_bar(*row) for row in rows), class_="bars")


def _bar(name: str, share: float, stands_out: bool) -> Html:
    shown = tag("span", user(name), tag("span", number(share), class_="share"), class_="name")
    bar = tag("span", class_="bar", style=f"inline-size:{100 * min(max(share, 0.0), 1.0):.1f}%")
    return tag("li", shown, bar, class_="first" if stands_out else None)


def _entities(answer: Mapping[str, Any], colours: Mapping[str, int]) -> Html:
    """The text, with a mark on each entity, and the score of each below."""
    text, parts, end = answer["text"], list[object](), 0
    for entity in answer["entities"]:
        kind = tag("small", user(entity["type"]), dir="auto")
        inside = text[entity["start"] : entity["end"]]
        parts += [
            text[end : entity["start"]],
            tag("mark", inside, NO_BREAK, kind, class_=f"k{colours[entity['type']]}"),
        ]
        end = entity["end"]
    marked = tag("p", *parts, text[end:], dir="auto", class_="marked")
    rows = [
        tag(
            "li",
            user(one["text"]),
            " ",
            tag("small", user(one["type"])),
            tag("span", number(one["score"]), class_="share"),
        )
        for one in answer["entities"]
    ]
    return join([marked, tag("ul", *rows, class_="entities") if rows else tag("p", "no entity", class_="time")])


def _number(answer: Mapping[str, Any], colours: Mapping[str, int]) -> Html:
    return tag("p", number(answer["score"]), class_="answer")


def _translation(answer: Mapping[str, Any], colours: Mapping[str, int]) -> Html:
    return tag("p", user(answer["translation"]), dir="auto", class_="answer")


def _as_json(answer: Mapping[str, Any], colours: Mapping[str, int]) -> Html:
    """What a task of another package answers."""
    return tag("pre", json.dumps(answer, ensure_ascii=False, indent=2), dir="auto")


# Field of an answer -> how it is shown; the first that an answer has.
VIEWS = {"entities": _entities, "next": _next_words, "scores": _labels, "score": _number, "translation": _translation}


def _colours(answers: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """A colour for each type of entity, the same for all models."""
    kinds = sorted({entity["type"] for answer in answers for entity in answer.get("entities", ())})
    return {kind: place % COLOURS for place, kind in enumerate(kinds)}
