"""Record batches out of rows and tables: with the line of each row, and types that every later step knows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline.data.readers import json_values
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


def of_table(file: Path, batch: pa.RecordBatch, first: int) -> list[pa.RecordBatch | NumberedRow]:
    """The batch of a table in `file` with the number of each row, which begin with `first`.

    Values of the type `Json` of `datasets` become what they hold; see `decoded`. Categories become their values, and
    times texts, as Python's own types cannot hold all of them. The nameless index that pandas stores with a table is
    left out.

    Raises:
        UserError: a value of the type Json is not JSON.
    """
    names = [name for name in batch.schema.names if not name.startswith("__index_level_")]
    numbers = range(first, first + batch.num_rows)
    columns = {name: decoded(file, batch[name], first) for name in names}
    if any(isinstance(column, list) for column in columns.values()):
        values = [_usual(column).to_pylist() if isinstance(column, pa.Array) else column for column in columns.values()]
        return numbered_rows([dict(zip(columns, row, strict=True)) for row in zip(*values, strict=True)], numbers)
    arrays = [*map(_usual, columns.values()), pa.array(numbers, pa.int64())]
    return [pa.RecordBatch.from_arrays(arrays, names=[*columns, LINE])]


def decoded(file: Path, column: pa.Array, first: int) -> pa.Array | list[Any]:
    """The values of a column that has the type Json, or lists or structs of it, which Arrow holds as text; another
    column as it is.

    Args:
        file: for messages, as `first`, the number of the first row.

    Raises:
        UserError: a value is not JSON.
    """
    if not _holds_json(column.type):
        return column
    return [_decoded(file, row, value, column.type) for row, value in enumerate(column.to_pylist(), start=first)]


def _is_json(kind: pa.DataType) -> bool:
    return isinstance(kind, pa.BaseExtensionType) and kind.extension_name == "arrow.json"


def _is_list(kind: pa.DataType) -> bool:
    return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)


def _holds_json(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        return any(_holds_json(field.type) for field in kind)
    return _holds_json(kind.value_type) if _is_list(kind) else _is_json(kind)


def _decoded(file: Path, row: int, value: Any, kind: pa.DataType) -> Any:
    if value is None:
        return None
    if _is_json(kind):
        return json_values.parse(file, row, value)
    if _is_list(kind):
        return [_decoded(file, row, item, kind.value_type) for item in value]
    if pa.types.is_struct(kind):
        return {field.name: _decoded(file, row, value[field.name], field.type) for field in kind}
    return value


def _usual(column: pa.Array) -> pa.Array:
    if isinstance(column, pa.ExtensionArray):
        column = column.storage
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    return column.cast(pa.string()) if pa.types.is_temporal(column.type) else column
