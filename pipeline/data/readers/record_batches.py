"""Record batches out of rows and tables: with the line of each row, and types that every later step knows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from pipeline.data.readers.common import LINE, NumberedRow

ROWS_PER_BATCH = 5000


def of_columns(columns: Mapping[str, Sequence[Any]], lines: Sequence[int]) -> pa.RecordBatch:
    """A batch of `columns`, each with a value for each of `lines`.

    Raises:
        pa.ArrowInvalid, pa.ArrowTypeError, UnicodeError, OverflowError: a column has values of several kinds, or one
            that Arrow cannot hold.
    """
    arrays = [pa.array(column) for column in columns.values()]
    return pa.RecordBatch.from_arrays([*arrays, pa.array(lines, pa.int64())], names=[*columns, LINE])


def of_rows(rows: Sequence[Mapping[str, Any]], lines: Sequence[int]) -> pa.RecordBatch | None:
    """A batch of `rows`; None if they differ in their fields or in the kinds of their values, or have objects in them:
    in a batch, a field that is missing could not be told from one that is null."""
    names = rows[0].keys()
    if LINE in names or any(row.keys() != names for row in rows):
        return None
    try:
        batch = of_columns({name: [row[name] for row in rows] for name in names}, lines)
    # Values of several kinds, half a surrogate pair, an integer of more than 64 bits: such rows are read one by one.
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, UnicodeError, OverflowError):
        return None
    return batch if all(_is_kept(batch[name].type, rows, name) for name in names) else None


def _is_kept(kind: pa.DataType, rows: Sequence[Mapping[str, Any]], name: str) -> bool:
    """Whether Arrow keeps the values of a column as they are: texts, numbers and lists of them, but not 1 next to 2.5,
    which becomes 1.0."""
    if pa.types.is_floating(kind):
        return not any(type(row[name]) is int for row in rows)
    while pa.types.is_list(kind):
        kind = kind.value_type
    return not pa.types.is_nested(kind) and not pa.types.is_floating(kind)


def numbered_rows(rows: Sequence[Mapping[str, Any]], lines: Sequence[int]) -> list[pa.RecordBatch | NumberedRow]:
    """`rows` in one batch if it can hold them, and otherwise one by one."""
    batch = of_rows(rows, lines) if rows else None
    return [batch] if batch is not None else list(zip(lines, map(dict, rows), strict=True))


def with_lines(batch: pa.RecordBatch, first: int) -> pa.RecordBatch:
    """The batch of a table with the number of each row, which begin with `first`.

    Categories become their values, and times texts, as Python's own types cannot hold all of them. The nameless index
    that pandas stores with a table is left out.
    """
    columns = {
        name: _usual(column)
        for name, column in zip(batch.schema.names, batch.columns, strict=True)
        if not name.startswith("__index_level_")
    }
    numbers = pa.array(range(first, first + batch.num_rows), pa.int64())
    return pa.RecordBatch.from_arrays([*columns.values(), numbers], names=[*columns, LINE])


def _usual(column: pa.Array) -> pa.Array:
    if isinstance(column, pa.ExtensionArray):
        column = column.storage
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    return column.cast(pa.string()) if pa.types.is_temporal(column.type) else column
