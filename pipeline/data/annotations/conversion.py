"""What the modules of annotation tools share: from a text with spans to a row with tokens and tags."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pipeline.config.data import Data
from pipeline.data.annotations.notes import Notes
from pipeline.data.annotations.offsets import Offsets, are_inclusive
from pipeline.data.annotations.spans import Span, Tagger, joined
from pipeline.data.readers.common import Row
from pipeline.errors import UserError

NAMING = "to name them, set data.label_names (1=PER 2=LOC ...)"
# Usual names of the column of a text, the most telling first.
TEXTS = (
    "text",
    "sentence",
    "content",
    "document",
    "raw_text",
    "raw",
    "context",
    "body",
    "paragraph",
    "column_data",
    "data",
    "input",
)
# Names that a column of spans, of words or of labels may have; other columns stay in the row.
TAKEN = frozenset(
    {
        *("tokens", "words", "token", "word", "tags", "ner_tags", "ner", "ner_labels", "labels", "label", "tag"),
        *("entities", "spans", "ents", "text"),
    }
)


class Converter:
    """Makes rows with `text`, `tokens` and `tags` of texts with spans, and notes what was not as it was annotated.

    Args:
        where: the file, for messages.
        first: texts and spans of the first rows, from which it is decided what offsets count.
    """

    def __init__(self, where: str, data: Data, first: Iterable[tuple[str, Sequence[Span]]] = ()):
        self.notes = Notes(where)
        self.names = data.names_of_labels
        self.offsets = Offsets(self.notes, are_inclusive(first))
        self.tagger = Tagger(self.notes, data.overlaps == "longest")

    def row(self, place: str, text: str, spans: Sequence[Span], words: Sequence[tuple[int, int]] | None = None) -> Row:
        """The row of a text.

        Args:
            place: file and line, for messages.
            words: the annotation's own words, if it has some; see `Tagger.tag`.

        Raises:
            UserError: a span cannot be one of the text; see `Offsets.read` and `Tagger.tag`.
        """
        named = [span._replace(kind=self.names.get(span.kind, span.kind)) for span in spans]
        if number := next((span.kind for span in named if span.kind.isdecimal()), None):
            self.notes.add(f"{{}} texts have types that are numbers, such as {number}; {NAMING}", place)
        located = joined(text, self.offsets.read(place, text, named))
        tokens, tags = self.tagger.tag(place, text, located, words)
        return {"text": text, "tokens": tokens, "tags": tags}


def others(row: Row, used: Iterable[str | None] = ()) -> Row:
    """The columns of `row` with a single value, such as its id, except those in `used` and those of a role."""
    single = (str, int, float, bool, type(None))
    return {
        name: value
        for name, value in row.items()
        if isinstance(value, single) and name not in used and str(name).lower() not in TAKEN
    }


def text_column(rows: Iterable[Mapping[str, Any]], chosen: str | None = None) -> str | None:
    """The column of the texts: `chosen`, or the one with a usual name, or the only one that holds texts."""
    balance: Counter[str] = Counter()
    for row in rows:
        for name, value in row.items():
            if value is not None:
                balance[name] += 1 if isinstance(value, str) else -1
    names = [name for name, more in balance.items() if more > 0]
    if chosen is not None and chosen in names:
        return chosen
    by_name = {name.strip().lower(): name for name in reversed(names)}
    usual = next((by_name[name] for name in TEXTS if name in by_name), None)
    return usual or (names[0] if len(names) == 1 else None)


def as_text(value: Any, place: str) -> str:
    """A text; empty if it is missing.

    Raises:
        UserError: it is something else.
    """
    if value is None or value != value:
        return ""
    if not isinstance(value, str):
        raise UserError(f"{place}: the text is {value!r:.40}; expected a string")
    return value
