"""What the offsets of spans count: code points, unless the text that a span says it covers proves otherwise.

Tools written in JavaScript count UTF-16 units, some tools write the last character of a span instead of the place after
it, and files whose line ends were converted count each of them as one character.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from pipeline.data.annotations.notes import Notes
from pipeline.data.annotations.spans import SCRIPTS, Span
from pipeline.data.tokenization.word_patterns import cut
from pipeline.errors import UserError, shorten

LONGEST_QUOTE = 40
FEW_SPANS = 3


def _by_width(width: Callable[[str], int]) -> Callable[[str], list[int]]:
    """A table of offsets for characters that count as `width` each."""

    def table(text: str) -> list[int]:
        places: list[int] = []
        for place, character in enumerate(text):
            places += [place] * width(character)
        return [*places, len(text)]

    return table


def _line_ends_as_one(text: str) -> list[int]:
    return [place for place in range(len(text) + 1) if text[place - 1 : place + 1] != "\r\n"]


class Reading(NamedTuple):
    """A way to count.

    Attributes:
        name: for messages.
        table: text -> the character at each offset; None: the offset itself.
        beyond: what is added to the end of a span.
    """

    name: str
    table: Callable[[str], list[int]] | None = None
    beyond: int = 0

    def of(self, text: str, spans: Iterable[Span]) -> list[Span] | None:
        """`spans` in code points; None if one is outside the text."""
        table = self.table(text) if self.table else range(len(text) + 1)
        moved = []
        for span in spans:
            if not 0 <= span.start < len(table) or not 0 <= span.end + self.beyond < len(table):
                return None
            moved.append(span._replace(start=table[span.start], end=table[span.end + self.beyond]))
        return moved


CODE_POINTS = Reading("Unicode code points")
UTF_16 = Reading("UTF-16 units", _by_width(lambda character: 1 + (character > "\uffff")))
INCLUSIVE = Reading("characters, the end being the last one", beyond=1)
OTHERS = (
    UTF_16,
    INCLUSIVE,
    Reading("characters, each line end being one", _line_ends_as_one),
    Reading("bytes of UTF-8", _by_width(lambda character: len(character.encode("utf-8", "surrogatepass")))),
)


class Offsets:
    """Reads the offsets of the spans of a file.

    Args:
        notes: gets the places of rows whose offsets are not code points.
        inclusive: whether ends are the last character where nothing else tells; see `are_inclusive`.
    """

    def __init__(self, notes: Notes, inclusive: bool = False):
        self.notes, self.usual = notes, INCLUSIVE if inclusive else CODE_POINTS

    def read(self, place: str, text: str, spans: Sequence[Span]) -> list[Span]:
        """`spans` with offsets in code points, read so that they cover what they say that they cover.

        Args:
            place: file and line, for messages.

        Raises:
            UserError: there is no such way to read them.
        """
        if not any(span.text for span in spans):
            return self._without_texts(place, text, spans)
        for reading in dict.fromkeys((self.usual, CODE_POINTS, *OTHERS)):
            moved = reading.of(text, spans)
            if moved is not None and all(_agrees(text, span, reading) for span in moved):
                self._note(reading, place)
                return moved
        wrong = next((span for span in spans if not _agrees(text, span)), None)
        if wrong is None:
            return list(spans)  # one of them is outside the text
        raise UserError(
            f"{place}: the span {wrong.start} to {wrong.end} ({wrong.kind}) covers"
            f" {shorten(text[wrong.start : wrong.end], LONGEST_QUOTE)!r}, but its text is"
            f" {shorten(wrong.text or '', LONGEST_QUOTE)!r}; correct the offsets, or remove the span"
        )

    def _without_texts(self, place: str, text: str, spans: Sequence[Span]) -> list[Span]:
        reading = self.usual
        # The borders of words decide: whoever counts otherwise hits them only by chance.
        if spans and reading is CODE_POINTS and any(character > "\uffff" for character in text):
            units = UTF_16.of(text, spans)
            if not _at_borders(text, spans) and units is not None and _at_borders(text, units):
                reading = UTF_16
        self._note(reading, place)
        moved = reading.of(text, spans)
        return list(spans) if moved is None else moved

    def _note(self, reading: Reading, place: str) -> None:
        if reading is not CODE_POINTS:
            self.notes.add(f"the offsets of spans in {{}} rows were read as {reading.name}", place)


def are_inclusive(rows: Iterable[tuple[str, Sequence[Span]]]) -> bool:
    """Whether the ends of the spans of some texts, in rows without the spans' own texts, are their last characters.

    That is so if each of them, and there are a few, lies inside a word and would be at its end if it were one larger.
    """
    spans = 0
    for text, found in rows:
        ends = {end for _, end in cut(text, SCRIPTS)}
        for span in found:
            if span.text or span.end in ends or span.end + 1 not in ends:
                return False
            spans += 1
    return spans >= FEW_SPANS


def _at_borders(text: str, spans: Iterable[Span]) -> bool:
    words = cut(text, SCRIPTS)
    starts, ends = {start for start, _ in words}, {end for _, end in words}
    return all(span.start in starts and span.end in ends for span in spans)


def _agrees(text: str, span: Span, reading: Reading = CODE_POINTS) -> bool:
    """Whether `span`, read as `reading`, covers its own text. An unusual reading must not add blanks at its edges."""
    if not span.text:
        return True
    covered = text[span.start : span.end]
    exact = reading is CODE_POINTS or covered == covered.strip() or span.text != span.text.strip()
    return exact and _plain(covered) == _plain(span.text)


def _plain(text: str) -> str:
    """`text` without what tools change when they quote it: blanks, line ends, case, accents, halves of pairs, and the
    marks of pieces of words."""
    text = (
        text.replace("\\n", "")
        .replace("##", "")
        .replace("▁", "")
        .encode("utf-16-le", "surrogatepass")
        .decode("utf-16-le", "ignore")
    )
    letters = unicodedata.normalize("NFKD", text.casefold())
    return "".join(letter for letter in letters if not letter.isspace() and not unicodedata.combining(letter))
