"""Rows with a text and a column of spans: doccano, Label Studio's JSON-MIN and CSV, spaCy's lists, `finetune predict`.

Which column holds the spans is seen from their shape; data.tag_column names it otherwise, and data.token_column that of
the text.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pipeline.config.data import Data
from pipeline.data.annotations import shapes
from pipeline.data.annotations.conversion import Converter, as_text, others, text_column
from pipeline.data.annotations.own_words import own_words
from pipeline.data.readers.common import NumberedRow, Row
from pipeline.data.rows import Places
from pipeline.errors import UserError, listing

# Usual names of a column of spans; the only ones that can be empty in all of the first rows.
NAMES = ("entities", "spans", "ents", "label", "labels", "annotations", "annotation", "entity", "ner")
MOST_WRONG = 100
EXAMPLE = '{"text": "Ann left", "label": [[0, 3, "PER"]]}'


def matches(names: Sequence[str], rows: Sequence[Row], data: Data) -> bool:
    """Whether there is a column of texts and one of spans."""
    return _columns(rows, data) is not None


def made_of(first: Sequence[Row], where: Places, data: Data) -> dict[str, str]:
    """What the columns of the rows are made of, for the user."""
    return dict(zip(("tokens", "tags"), _columns(first, data) or (), strict=False))


def convert(
    rows: Iterator[NumberedRow], first: Sequence[Row], where: Places, data: Data, warnings: list[str]
) -> Iterator[NumberedRow]:
    """Rows with `text`, `tokens` and `tags`.

    Raises:
        UserError: a row has no spans, or some that cannot be read.
    """
    found = _columns(first, data)
    if found is None:
        raise UserError(f"{where}: no column of texts and one of spans; expected rows such as {EXAMPLE}")
    text, spans = found
    pairs = ((row.get(text), row.get(spans)) for row in first)
    known = ((one, shapes.spans_in(other)) for one, other in pairs if isinstance(one, str) and shapes.have(other))
    converter = Converter(str(where), data, known)
    for line, row in rows:
        place = where.at(line)
        if text not in row:
            raise UserError(f"{place}: the row has no field {text!r}")
        read = shapes.read(row.get(spans), place)
        own = as_text(row[text], place)
        words = own_words(row.get("tokens"), own, place, converter.notes)
        yield line, {**others(row, found), **converter.row(place, own, read, words)}
    warnings += converter.notes.lines()


def refuse_without_offsets(rows: Sequence[Row], where: Places, data: Data) -> None:
    """Refuse rows of a text and of entities that do not say where they are.

    Raises:
        UserError: the rows are such.
    """
    names = list(dict.fromkeys(name for row in rows for name in row))
    for name in (name for known in NAMES for name in names if name.lower() == known):
        filled = [row[name] for row in rows if row.get(name)]
        lists = [value for value in filled if isinstance(value, (list, dict)) and not _are_texts(value)]
        if lists and len(lists) == len(filled) and text_column(rows, data.token_column):
            raise UserError(
                f"{where}: the entities in {name!r} do not say where they are, such as {str(filled[0])[:60]}; expected"
                f" start and end in characters, as in {EXAMPLE}"
            )


def _are_texts(value: object) -> bool:
    return isinstance(value, list) and not any(isinstance(item, (list, dict)) for item in value)


def _columns(rows: Sequence[Row], data: Data) -> tuple[str, str] | None:
    """The columns of the texts and of the spans."""
    text = text_column(rows, data.token_column)
    spans = _span_column([row for row in rows if row], data.tag_column)
    return None if text is None or spans is None or text == spans else (text, spans)


def _span_column(rows: Sequence[Row], chosen: str | None) -> str | None:
    names = list(dict.fromkeys(name for row in rows for name in row))
    if chosen is not None:
        return chosen if chosen in names and all(shapes.have(row.get(chosen)) for row in rows) else None
    filled = [name for name in names if _holds_spans(name, rows)]
    usual = [name for known in NAMES for name in filled if name.lower() == known]
    if usual or len(filled) == 1:
        return (usual or filled)[0]
    if len(filled) > 1:
        raise UserError(f"data.tag_column: several columns hold spans; set it to one of: {listing(filled)}")
    empty = [name for name in names if all(row.get(name) in (None, [], {}) for row in rows)]
    return next((name for known in NAMES[:3] for name in empty if name.lower() == known), None)


def _holds_spans(name: str, rows: Sequence[Row]) -> bool:
    """Whether most values are spans, so that the others are mistakes that `convert` refuses with their lines."""
    right = wrong = 0
    for row in rows:
        try:
            right += bool(shapes.spans_in(row.get(name)))
        except shapes.NotSpans:
            wrong += 1
            if wrong > MOST_WRONG:
                return False
    return right > wrong
