"""Rows on their way from a reader to disk: batches of columns that remember where each row comes from."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.data.readers.common import LINE, WORD_LINES, NumberedRow, Row

if TYPE_CHECKING:
    from datasets import Dataset

ROWS_PER_BATCH = 1000
Column: TypeAlias = "pa.Array | list[Any]"
"""Rows of a column as Arrow has them, or as a list of Python values."""


class _Missing:
    """In place of a value that a row does not have, unlike a null."""

    def __repr__(self) -> str:
        return "MISSING"


MISSING = _Missing()


@dataclass(frozen=True)
class Places:
    """Where the rows of a split are, for messages.

    A place is a single number, which is kept with each row: `line`, or `line + part * PART` if a split has several
    files.

    Attributes:
        parts: names of the files, or of the split of a dataset.
        name: of the split as a whole.
    """

    parts: tuple[str, ...]
    name: str

    def at(self, place: int) -> str:
        """`file:line`."""
        part, line = divmod(int(place), PART)
        return f"{self.parts[part]}:{line}"

    def __str__(self) -> str:
        return self.name


PART = 1 << 40


@dataclass(frozen=True)
class RowBatch:
    """Some rows, by columns.

    Attributes:
        places: (N,) int64, see `Places`.
        columns: name -> N values; `MISSING` stands for a field that a row does not have.
        word_lines: the line of each word of each row, if words have lines of their own.
    """

    places: np.ndarray
    columns: Mapping[str, Column]
    word_lines: Column | None = None

    def __len__(self) -> int:
        return len(self.places)

    def shifted(self, part: int) -> RowBatch:
        """The same rows as rows of a split's `part`, from 0."""
        if part == 0:
            return self
        lines = self.word_lines
        if isinstance(lines, pa.ListArray):
            lines = pa.ListArray.from_arrays(lines.offsets, pc.add(lines.values, part * PART))
        elif lines is not None:
            lines = [[line + part * PART for line in row] for row in values(lines)]
        return replace(self, places=self.places + part * PART, word_lines=lines)

    def where(self, column: str, value: str) -> RowBatch:
        """The rows that have `value` in `column`."""
        return self.only(np.array([own == value for own in values(self.columns[column])]))

    def only(self, kept: np.ndarray) -> RowBatch:
        """The rows for which `kept`, (N,), is true."""
        columns = {name: _filtered(own, kept) for name, own in self.columns.items()}
        word_lines = None if self.word_lines is None else _filtered(self.word_lines, kept)
        return RowBatch(self.places[kept], columns, word_lines)

    def without(self, column: str) -> RowBatch:
        """The same rows without one of the columns."""
        return replace(self, columns={name: own for name, own in self.columns.items() if name != column})

    def rows(self) -> Iterator[NumberedRow]:
        """The rows one by one."""
        named = {name: values(column) for name, column in self.columns.items()}
        if self.word_lines is not None:
            named[WORD_LINES] = values(self.word_lines)
        for index, place in enumerate(self.places.tolist()):
            yield place, {name: own[index] for name, own in named.items() if own[index] is not MISSING}


def _filtered(column: Column, kept: np.ndarray) -> Column:
    if isinstance(column, list):
        return [value for value, keep in zip(column, kept.tolist(), strict=True) if keep]
    return column.filter(pa.array(kept, pa.bool_()))


def values(column: Column) -> list[Any]:
    """A column as a list of Python values."""
    return column if isinstance(column, list) else column.to_pylist()


def batches(rows: Iterable[NumberedRow | pa.RecordBatch]) -> Iterator[RowBatch]:
    """What a reader yields, in batches."""
    pending: list[NumberedRow] = []
    for row in rows:
        is_batch = isinstance(row, pa.RecordBatch)
        if pending and (is_batch or len(pending) == ROWS_PER_BATCH):
            yield _from_rows(pending)
            pending = []
        if isinstance(row, pa.RecordBatch):
            yield _from_arrow(row)
        else:
            pending.append(row)
    if pending:
        yield _from_rows(pending)


def _from_arrow(batch: pa.RecordBatch) -> RowBatch:
    columns = dict(zip(batch.schema.names, batch.columns, strict=True))
    places = columns.pop(LINE).to_numpy()
    return RowBatch(places, columns, columns.pop(WORD_LINES, None))


def _from_rows(rows: Sequence[NumberedRow]) -> RowBatch:
    names = dict.fromkeys(str(name) for _, row in rows for name in row)
    word_lines = [row.get(WORD_LINES) for _, row in rows] if WORD_LINES in names else None
    names.pop(WORD_LINES, None)
    columns: dict[str, Column] = {name: [row.get(name, MISSING) for _, row in rows] for name in names}
    return RowBatch(np.array([line for line, _ in rows], dtype=np.int64), columns, word_lines)


@dataclass
class Peeked:
    """Batches, the first of them already in memory so that they can be looked at.

    Attributes:
        first: the first batches; they hold at least as many rows as were asked for, if there are that many.
    """

    first: list[RowBatch]
    _rest: Iterator[RowBatch]

    def __iter__(self) -> Iterator[RowBatch]:
        yield from self.first
        yield from self._rest

    @property
    def names(self) -> list[str]:
        """Columns of the first batches; rows of a JSON file may leave some out."""
        return list(dict.fromkeys(name for batch in self.first for name in batch.columns))

    def map(self, change: Callable[[RowBatch], RowBatch]) -> Peeked:
        """The same rows, each batch as `change` returns it."""
        return Peeked([*map(change, self.first)], map(change, self._rest))

    def without(self, column: str) -> Peeked:
        """The same rows without one of the columns."""
        return self.map(lambda batch: batch.without(column))

    def column(self, name: str) -> list[Any]:
        """Values of a column in the first batches."""
        absent = [MISSING]
        return [
            value
            for batch in self.first
            for value in (values(batch.columns[name]) if name in batch.columns else absent * len(batch))
        ]

    def rows(self, count: int) -> list[Row]:
        """The first `count` rows."""
        found = itertools.chain.from_iterable(batch.rows() for batch in self.first)
        return [row for _, row in itertools.islice(found, count)]


def peek(found: Iterator[RowBatch], count: int) -> Peeked:
    """`found`, with its first `count` rows in memory."""
    first: list[RowBatch] = []
    while sum(map(len, first)) < count and (batch := next(found, None)) is not None:
        first.append(batch)
    return Peeked(first, found)


def whole(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    """A column in one piece."""
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def arrow_batches(rows: Dataset, columns: Sequence[str], size: int = 10_000) -> Iterator[pa.Table]:
    """Columns of a split on disk, `size` rows at a time."""
    if file := _file_of(rows):
        yield from read_stream(file, columns, size)
        return
    tables = rows.select_columns(list(columns)).with_format("arrow")
    for start in range(0, len(rows), size):
        yield tables[start : start + size]


def _file_of(rows: Dataset) -> str | None:
    """The Arrow file that holds a split as it is: all of its rows, in order."""
    from datasets.table import MemoryMappedTable

    table = rows.data
    if not isinstance(table, MemoryMappedTable) or rows._indices is not None or len(rows.cache_files) != 1:
        return None
    is_changed = any(name != "replace_schema_metadata" for name, *_ in table.replays)
    return None if is_changed else rows.cache_files[0]["filename"]


def read_stream(file: str, columns: Sequence[str] | None, size: int) -> Iterator[pa.Table]:
    """Columns of a file, or all of them, `size` rows at a time. A mapped file would stay in memory as it is read."""
    pending: list[pa.Table] = []
    with pa.OSFile(file) as source, pa.ipc.open_stream(source) as stream:
        for batch in stream:
            table = pa.Table.from_batches([batch])
            pending.append(table if columns is None else table.select(list(columns)))
            if sum(map(len, pending)) < size:
                continue
            table = pa.concat_tables(pending)
            for start in range(0, len(table) - size + 1, size):
                yield table.slice(start, size)
            pending = [table.slice(len(table) - len(table) % size)]
    if pending and sum(map(len, pending)):
        yield pa.concat_tables(pending)


def arrow_column(rows: Dataset, column: str) -> Iterator[pa.Array | pa.ChunkedArray]:
    """One of the columns, a part at a time."""
    for table in arrow_batches(rows, [column]):
        yield table[column]


def divide(rows: Dataset, parts: Mapping[str, np.ndarray], folder: Path) -> dict[str, Dataset]:
    """Some of the rows in an Arrow file for each part, so that each is read from one end to the other.

    Args:
        parts: name -> numbers of its rows, ascending.
        folder: for the files, which are named after the parts.
    """
    from datasets import Dataset

    files = {name: folder / f"{name}-{next(_NUMBERS)}.arrow" for name in parts}
    schema = rows.with_format("arrow")[:0].schema
    with contextlib.ExitStack() as stack:
        streams = {
            name: stack.enter_context(pa.ipc.new_stream(stack.enter_context(pa.OSFile(str(file), "wb")), schema))
            for name, file in files.items()
        }
        start = 0
        for table in arrow_batches(rows, rows.column_names):
            for name, numbers in parts.items():
                first, last = np.searchsorted(numbers, (start, start + len(table)))
                streams[name].write_table(table.take(numbers[first:last] - start))
            start += len(table)
    return {name: Dataset.from_file(str(file)) for name, file in files.items()}


# Makes the names of files unique within the process.
_NUMBERS = itertools.count()


def numpy_column(rows: Dataset, column: str) -> np.ndarray:
    """A column of numbers, (N,)."""
    parts = [part.to_numpy() for part in arrow_column(rows, column)]
    return np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64)
