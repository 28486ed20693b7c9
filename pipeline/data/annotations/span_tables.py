"""Tables with a span in each row: the text, its start and end, and its type; rows of the same text become one.

A row without a start and an end is a text without a span. The rows of a text must be next to each other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from pipeline.config.data import Data
from pipeline.data.annotations import shapes
from pipeline.data.annotations.conversion import Converter, as_text, others, text_column
from pipeline.data.annotations.spans import Span
from pipeline.data.readers.common import NumberedRow, Row
from pipeline.data.rows import Places
from pipeline.errors import UserError, shorten

LONGEST_QUOTE = 40


class _Columns(NamedTuple):
    text: str
    start: str
    end: str
    kind: str
    own_text: str | None


def matches(names: Sequence[str], rows: Sequence[Row], data: Data) -> bool:
    """Whether there are columns of a text, and of the start, the end and the type of one span."""
    return _columns(rows, data) is not None


def made_of(first: Sequence[Row], where: Places, data: Data) -> dict[str, str]:
    """What the columns of the rows are made of, for the user."""
    columns = _columns(first, data)
    assert columns is not None, "matches comes first"
    return {"tokens": columns.text, "tags": f"{columns.start} + {columns.end} + {columns.kind}"}


def convert(
    rows: Iterator[NumberedRow], first: Sequence[Row], where: Places, data: Data, warnings: list[str]
) -> Iterator[NumberedRow]:
    """Rows with `text`, `tokens` and `tags`, each on the line of the first span of its text.

    Raises:
        UserError: a span cannot be read, or the rows of a text are not next to each other.
    """
    columns = _columns(first, data)
    assert columns is not None, "matches comes first"
    converter = Converter(str(where), data)
    seen: set[int] = set()
    for group in _groups(rows, columns.text):
        line, row = group[0]
        text = as_text(row.get(columns.text), where.at(line))
        if hash(text) in seen:
            quote = repr(shorten(text, LONGEST_QUOTE))
            raise UserError(f"{where.at(line)}: there are rows of the text {quote} further up; sort the rows by text")
        seen.add(hash(text))
        spans = [span for number, one in group for span in _span(one, columns, where.at(number))]
        yield line, {**others(row, columns), **converter.row(where.at(line), text, spans)}
    warnings += converter.notes.lines()


def _groups(rows: Iterator[NumberedRow], column: str) -> Iterator[list[NumberedRow]]:
    group: list[NumberedRow] = []
    for line, row in rows:
        if group and row.get(column) != group[0][1].get(column):
            yield group
            group = []
        group.append((line, row))
    if group:
        yield group


def _span(row: Row, columns: _Columns, place: str) -> list[Span]:
    values = {name: row.get(column) for name, column in columns._asdict().items() if column and name != "text"}
    if all(value is None or value != value or value == "" for value in (values["start"], values["end"])):
        return []
    span = {"start": values["start"], "end": values["end"], "label": values["kind"], "text": values.get("own_text")}
    return shapes.read([span], place)


def _columns(rows: Sequence[Row], data: Data) -> _Columns | None:
    by_name = {shapes.plain(name): name for row in reversed(rows) for name in reversed(list(row))}
    text = text_column(rows, data.token_column)
    found = [_first(names, by_name, text) for names in (shapes.STARTS, shapes.ENDS, shapes.KINDS)]
    if text is None or None in found:
        return None
    start, end, kind = (name for name in found if name is not None)
    filled = [row for row in rows if row.get(start) not in (None, "")]
    right = [row for row in filled if all(_is_number(row.get(name)) for name in (start, end))]
    if len(right) <= len(filled) / 2:  # others are mistakes, which are refused with their lines
        return None
    return _Columns(text, start, end, kind, _first(shapes.TEXTS, by_name, text, kind))


def _first(names: Sequence[str], by_name: Mapping[str, str], *used: str | None) -> str | None:
    return next((by_name[name] for name in names if name in by_name and by_name[name] not in used), None)


def _is_number(value: object) -> bool:
    try:
        shapes.offset(value)
    except shapes.NotSpans:
        return value != value  # a missing number
    return True
