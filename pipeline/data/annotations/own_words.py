"""The words of an annotation that has its own, as Prodigy's have: objects with `start`, `end` and `text`."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from pipeline.data.annotations import shapes
from pipeline.data.annotations.notes import Notes

FOUND = "{} rows have tokens whose offsets are not in order; their places were found by their texts"
UNUSABLE = "{} rows have tokens that do not fit their text, so it was cut as the texts of predictions are"


def own_words(tokens: object, text: str, place: str, notes: Notes) -> list[tuple[int, int]] | None:
    """Start and end of each of the `tokens` of `text`, blanks left out; None if there are none with offsets.

    Tokens with offsets that cannot be right are looked for by their texts, from left to right. If one is not found, the
    result is None, too.

    Args:
        place: file and line.
        notes: gets the places of such rows.
    """
    if not isinstance(tokens, list) or not tokens or not all(isinstance(token, dict) for token in tokens):
        return None
    if not all({"start", "end"} <= token.keys() for token in tokens):
        return None
    places = _by_offsets(tokens, text)
    if places is None:
        places = _by_texts(tokens, text)
        notes.add(UNUSABLE if places is None else FOUND, place)
    return None if places is None else [(start, end) for start, end in places if text[start:end].strip()]


def _by_offsets(tokens: Sequence[dict[str, Any]], text: str) -> list[tuple[int, int]] | None:
    try:
        places = [(shapes.offset(token["start"]), shapes.offset(token["end"])) for token in tokens]
    except shapes.NotSpans:
        return None
    flat = [0, *itertools.chain.from_iterable(places), len(text)]
    in_order = all(left <= right for left, right in itertools.pairwise(flat))
    right = all(
        token.get("text") in (None, text[start:end]) for token, (start, end) in zip(tokens, places, strict=True)
    )
    return places if in_order and right else None


def _by_texts(tokens: Sequence[dict[str, Any]], text: str) -> list[tuple[int, int]] | None:
    places = []
    end = 0
    for token in tokens:
        own = str(token.get("text") or "")
        start = text.find(own, end)
        if not own or start < 0:
            return None
        end = start + len(own)
        places.append((start, end))
    return places
