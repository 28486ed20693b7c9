"""JSON in one piece (.json): a list of objects, or any of the forms that pandas and others write; see `json_shapes`."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline.config.data import Data
from pipeline.data.readers.common import NumberedRow, Row
from pipeline.data.readers.json_shapes import rows_of, table
from pipeline.data.readers.json_values import Values, as_object, as_text, is_annotated
from pipeline.data.readers.pieces import pieces
from pipeline.data.readers.record_batches import ROWS_PER_BATCH, numbered_rows
from pipeline.errors import UserError


def read_json(file: Path, data: Data, warnings: list[str]) -> Iterator[NumberedRow | pa.RecordBatch]:
    """Rows, numbered from 1. The objects of a list are read one after the other; an object is read as a whole.

    Raises:
        UserError: it is not JSON, or not in a known form.
    """
    rows = _rows(file, data)
    numbers = itertools.count(1)
    while batch := list(itertools.islice(rows, ROWS_PER_BATCH)):
        yield from numbered_rows(batch, list(itertools.islice(numbers, len(batch))))


def _rows(file: Path, data: Data) -> Iterator[Row]:
    values = Values(file, pieces(file, data))
    if values.skip() == "[":
        yield from _of_list(file, data, values.of_list())
        values.end()
        return
    first = values.value()
    if not values.skip():
        yield from rows_of(file, first)
        return
    yield as_object(file, 1, first)  # objects one after the other, over several lines each
    number = 1
    while values.skip():
        number += 1
        yield as_object(file, number, values.value())


def _of_list(file: Path, data: Data, values: Iterator[Any]) -> Iterator[Row]:
    first = next(values, None)
    if first is None:
        raise UserError(f"{file}: it has no rows")
    values = itertools.chain([first], values)
    if isinstance(first, str):  # texts alone
        yield from (as_text(file, number, value) for number, value in enumerate(values, start=1))
        return
    if isinstance(first, list) and not is_annotated(first):
        yield from table(file, values, data.header)
        return
    for number, value in enumerate(values, start=1):
        yield as_object(file, number, value)
