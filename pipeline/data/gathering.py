"""Rows of a table on disk, taken by number for several batches at a time.

Calls into Arrow, NumPy and PyTorch cost more than the few rows of a batch. So all batches that are taken together share
each call: it finds their rows, reads a column, or pads the lists of a column.

Shapes: R rows of all batches, B rows of a batch, T length of its longest list, M elements of all lists.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence

import numpy as np
import pyarrow as pa


class EncodedRows:
    """The rows of a batch. A column is read when it is first asked for, for all batches that were taken together."""

    def __init__(self, together: _Batches, number: int):
        self._batches, self._number = together, number

    @property
    def column_names(self) -> list[str]:
        return self._batches.table.column_names

    def __len__(self) -> int:
        return self._batches.sizes[self._number]

    def __getitem__(self, name: str) -> pa.ChunkedArray:
        """(B,) a column, as a table has it."""
        return pa.chunked_array([self._batches.column(name).slice(self._batches.starts[self._number], len(self))])

    def padded(self, name: str, value: int) -> np.ndarray:
        """(B, T) int64, a column of lists of integers, padded with `value` on the right."""
        return self._batches.padded(name, value)[self._number].copy()  # the caller may write into it

    def mask(self, name: str) -> np.ndarray | None:
        """(B, T) int64, 1 at the elements of the lists and 0 at padding; None if there is no padding."""
        return self._batches.mask(name, self._number)


class Table:
    """Encoded rows on disk.

    Attributes:
        column_names: all names of columns.
    """

    def __init__(self, table: pa.Table):
        self.column_names: list[str] = table.column_names
        self._table = table
        self._columns: dict[str, _Column] = {}

    def column(self, name: str) -> _Column:
        if name not in self._columns:
            self._columns[name] = _Column(self._table[name])
        return self._columns[name]

    def take(self, batches: Sequence[np.ndarray]) -> list[EncodedRows]:
        """Batches of the rows with these numbers, at least one row in each."""
        assert batches
        assert all(map(len, batches))
        together = _Batches(self, batches)
        return [EncodedRows(together, number) for number in range(len(batches))]


class _Column:
    """A column on disk. Arrow has it in chunks; row r is in the last one that starts at or before r."""

    def __init__(self, column: pa.ChunkedArray):
        self._chunks = [chunk for chunk in column.chunks if len(chunk)]
        self._starts = np.cumsum([0, *map(len, self._chunks)])

    @functools.cached_property
    def _views(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Of each chunk of lists, their elements and where each list begins and the last one ends, in the memory of the
        file."""
        return [(chunk.values.to_numpy(), chunk.offsets.to_numpy()) for chunk in self._chunks]

    def read(self, rows: np.ndarray) -> pa.Array:
        """The rows with these numbers, which ascend."""
        return pa.concat_arrays([self._chunks[number].take(pa.array(own)) for number, own in self._located(rows)])

    def lists(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The lists of numbers in these rows: their elements (M,), one list after another, and their lengths (R,)."""
        elements, lengths = [], []
        for number, own in self._located(rows):
            values, offsets = self._views[number]
            begins = offsets[own]
            lengths.append(offsets[own + 1] - begins)
            elements.append(values[_ranges(begins, lengths[-1])])
        return np.concatenate(elements), np.concatenate(lengths)

    def _located(self, rows: np.ndarray) -> list[tuple[int, np.ndarray]]:
        """The number of each chunk that has some of the rows, and their numbers in it."""
        chunks = np.searchsorted(self._starts, rows, side="right") - 1
        local = rows - self._starts[chunks]
        cuts = [0, *(np.flatnonzero(np.diff(chunks)) + 1).tolist(), len(rows)]
        return [(int(chunks[start]), local[start:end]) for start, end in itertools.pairwise(cuts)]


class _Batches:
    """Batches that are taken together. They are read in the order of the file.

    Attributes:
        sizes, starts: of each batch, its number of rows and of the rows before it.
    """

    def __init__(self, table: Table, batches: Sequence[np.ndarray]):
        rows = np.concatenate(batches)
        self.table, self.sizes = table, [*map(len, batches)]
        self.starts = [0, *itertools.accumulate(self.sizes[:-1])]
        self._order = np.argsort(rows, kind="stable")
        self._rows = rows[self._order]
        self._columns: dict[str, pa.Array] = {}
        self._lists: dict[str, _Lists] = {}
        self._filled: dict[tuple[str, int | None], list[np.ndarray]] = {}

    def column(self, name: str) -> pa.Array:
        """(R,) a column in the order of the batches."""
        if name not in self._columns:
            back = np.empty_like(self._order)
            back[self._order] = np.arange(len(back))
            self._columns[name] = self.table.column(name).read(self._rows).take(pa.array(back))
        return self._columns[name]

    def padded(self, name: str, value: int) -> list[np.ndarray]:
        """See `EncodedRows`, for each batch."""
        if (name, value) not in self._filled:
            lists = self._found(name)
            self._filled[name, value] = lists.fill(lists.elements, value)
        return self._filled[name, value]

    def mask(self, name: str, number: int) -> np.ndarray | None:
        """See `EncodedRows`."""
        lists = self._found(name)
        if lists.shortest[number] == lists.shapes[number][1]:
            return None
        if (name, None) not in self._filled:
            self._filled[name, None] = lists.fill(1, 0)
        return self._filled[name, None][number].copy()

    def _found(self, name: str) -> _Lists:
        if name not in self._lists:
            elements, lengths = self.table.column(name).lists(self._rows)
            self._lists[name] = _Lists(elements, lengths, self._order, self.sizes, self.starts)
        return self._lists[name]


class _Lists:
    """Where the elements of a column of lists are when all batches, padded, are laid out one after another.

    Attributes:
        elements: (M,) in the order of the file.
        shapes: (B, T) of each batch.
        shortest: the shortest list of each batch.
    """

    def __init__(
        self, elements: np.ndarray, lengths: np.ndarray, order: np.ndarray, sizes: Sequence[int], starts: Sequence[int]
    ):
        """`lengths`: (R,) in the order of the file, where list i is that of row `order[i]` of the batches."""
        own = np.empty(len(order), dtype=np.int64)
        own[order] = lengths
        longest = np.maximum.reduceat(own, starts)
        widths = np.repeat(longest, sizes)
        self.elements = elements
        self.shapes = list(zip(sizes, longest.tolist(), strict=True))
        self.shortest: list[int] = np.minimum.reduceat(own, starts).tolist()
        self._places = _ranges((np.cumsum(widths) - widths)[order], lengths)

    def fill(self, elements: np.ndarray | int, padding: int) -> list[np.ndarray]:
        """An int64 array (B, T) for each batch."""
        ends = [*itertools.accumulate(rows * width for rows, width in self.shapes)]
        flat = np.full(ends[-1], padding, dtype=np.int64)
        flat[self._places] = elements
        parts = zip([0, *ends[:-1]], ends, self.shapes, strict=True)
        return [flat[start:end].reshape(shape) for start, end, shape in parts]


def _ranges(begins: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """The numbers from `begins[0]` on, as many as `lengths[0]`, then those from `begins[1]` on, and so on."""
    ends = np.cumsum(lengths)
    return np.arange(ends[-1]) + np.repeat(begins - (ends - lengths), lengths)
