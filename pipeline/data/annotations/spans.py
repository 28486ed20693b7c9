"""Spans of characters to a tag for each word: how a text is cut, which spans are refused, and which are widened.

The rules:
- Blanks at the edges of a span do not belong to it. A span without a word in it is refused.
- Identical spans count once. Spans that overlap are refused, or with data.overlaps = longest the longest of them is
  kept, the first of those that are equally long.
- A span that begins or ends inside a word is widened to the whole word.
"""

from __future__ import annotations

import bisect
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from pipeline.data.annotations.notes import Notes
from pipeline.data.tagging import tags as schemes
from pipeline.data.tokenization.word_patterns import UNSPACED, cut
from pipeline.errors import UserError, shorten

LONGEST_QUOTE = 40
# In text with spans, each letter of a script without blanks is a word: only so can spans begin and end anywhere.
SCRIPTS = frozenset(UNSPACED)


class Span(NamedTuple):
    """Characters `start` up to `end` of a text, counted in Unicode code points from 0, and what they are.

    Attributes:
        kind: type of the entity.
        text: what the span covers, if the annotation says so.
    """

    start: int
    end: int
    kind: str
    text: str | None = None


# The type of a span that is the tag of a word.
TAGGED = re.compile(r"([BIESLUMW])-(.+)", re.DOTALL)


def joined(text: str, spans: Sequence[Span]) -> list[Span]:
    """`spans`, but if they are words with tags, such as B-PER and I-PER, the entities of these words.

    A word continues an entity of its type if nothing but blanks is between them.
    """
    tagged = [TAGGED.fullmatch(span.kind) for span in spans]
    if not spans or None in tagged:
        return [*spans]
    found: list[Span] = []
    for tag, span in sorted(zip(tagged, spans, strict=True), key=lambda pair: pair[1][:2]):
        prefix, kind = tag.groups() if tag else ("", "")
        before = found[-1] if found else None
        if prefix in "IELM" and before and before.kind == kind and not text[before.end : span.start].strip():
            found[-1] = before._replace(end=span.end)
        else:
            found.append(Span(span.start, span.end, kind))
    return found


class Tagged(NamedTuple):
    """The words of a text, and a tag in IOB2 for each."""

    tokens: list[str]
    tags: list[str]


WIDENED = "{} spans begin or end inside a word and were widened to the whole word"
DROPPED = "{} spans were left out because a longer one, or an equally long one before them, overlaps them"


class Tagger:
    """Tags the words of texts, and notes the spans that are not quite as they were annotated.

    Args:
        notes: gets the places of spans that were widened or left out.
        longest: whether the longest of several overlapping spans is kept; otherwise they are refused.
    """

    def __init__(self, notes: Notes, longest: bool = False):
        self.notes, self.longest = notes, longest

    def tag(
        self, place: str, text: str, spans: Iterable[Span], words: Sequence[tuple[int, int]] | None = None
    ) -> Tagged:
        """The words of `text` and their tags.

        Args:
            place: file and line of the text, for messages.
            words: start and end of each word in order, if the annotation has its own; None: those that `cut` finds,
                each letter of a script without blanks being one.

        Raises:
            UserError: a span is outside the text, covers no word, or overlaps another one.
        """
        words = cut(text, SCRIPTS) if words is None else words
        trimmed = [_trim(place, text, span) for span in spans]
        kept = self._without_overlaps(place, text, [span._replace(text=None) for span in trimmed], "overlap")
        found = [self._at_words(place, text, span, words) for span in kept]
        whole = [Span(first, last, span.kind) for span, (first, last) in zip(kept, found, strict=True)]
        origin = dict(zip(whole, kept, strict=True))
        whole = self._without_overlaps(place, text, whole, "are in the same word", origin)
        entities = sorted((span.kind, span.start, span.end) for span in whole)
        return Tagged([text[start:end] for start, end in words], schemes.write(entities, len(words), "iob2"))

    def _without_overlaps(
        self, place: str, text: str, spans: list[Span], relation: str, origin: dict[Span, Span] | None = None
    ) -> list[Span]:
        """`spans` without repetitions, in order of their places; `origin` has the characters of spans of words."""
        shown = origin or {}
        spans = list(dict.fromkeys(spans))
        kept: list[Span] = []
        for span in sorted(spans, key=lambda span: span.start - span.end):  # stable: of equally long ones, the first
            at = bisect.bisect_left(kept, (span.start,))
            around = kept[max(at - 1, 0) : at + 1]
            other = next((other for other in around if other.start < span.end and span.start < other.end), None)
            if other is None:
                kept.insert(at, span)
            elif self.longest:
                self.notes.add(DROPPED, f"{place} {_quote(text, shown.get(span, span))}")
            else:
                first, second = sorted(shown.get(one, one) for one in (span, other))
                raise UserError(
                    f"{place}: the spans {_quote(text, first)} and {_quote(text, second)} {relation}, but a word has"
                    " one tag; remove one, or set data.overlaps to longest"
                )
        return kept

    def _at_words(self, place: str, text: str, span: Span, words: Sequence[tuple[int, int]]) -> tuple[int, int]:
        """The first word that `span` touches, and the word after the last."""
        first = bisect.bisect_right(words, span.start, key=lambda word: word[1])
        last = bisect.bisect_left(words, span.end, key=lambda word: word[0])
        if first >= last:
            raise UserError(f"{place}: the span {_quote(text, span)} has no word in it; remove it")
        start, end = words[first][0], words[last - 1][1]
        if start < span.start or end > span.end:
            wide = shorten(text[start:end], LONGEST_QUOTE)
            self.notes.add(WIDENED, f"{place} {shorten(text[span.start : span.end], LONGEST_QUOTE)!r} to {wide!r}")
        return first, last


def _trim(place: str, text: str, span: Span) -> Span:
    """`span` without the blanks at its edges."""
    if not 0 <= span.start <= span.end <= len(text):
        raise UserError(
            f"{place}: the span {span.start} to {span.end} ({span.kind}) is outside the text, which has"
            f" {len(text)} characters; correct or remove it"
        )
    covered = text[span.start : span.end]
    if not covered.strip():
        what = "only blanks" if covered else "nothing, for its end is not after its start"
        raise UserError(
            f"{place}: the span {span.start} to {span.end} ({span.kind}) covers {what}; correct or remove it"
        )
    start = span.start + len(covered) - len(covered.lstrip())
    return span._replace(start=start, end=start + len(covered.strip()))


def _quote(text: str, span: Span) -> str:
    return f"{shorten(text[span.start : span.end], LONGEST_QUOTE)!r} ({span.kind}, {span.start} to {span.end})"
