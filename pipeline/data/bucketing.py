"""Rows of similar length in the same batch, in an order that depends only on the seed and the epoch.

Shapes: N rows of a split, M elements of all lists of a column.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pyarrow as pa

from pipeline.data.gathering import EncodedRows, Table
from pipeline.data.rows import whole

if TYPE_CHECKING:
    from datasets import Dataset

# Rows are sorted by length within a pool of this many updates: little padding, yet each epoch mixes them differently.
POOL_UPDATES = 50


def updates(lengths: np.ndarray, rows_per_update: int, seed: int, epoch: int) -> list[np.ndarray]:
    """Row numbers of each update of an epoch; together they contain every row once.

    Rows of an update have similar lengths, the longest first. If the rows do not divide evenly, one update is shorter,
    and it is shuffled among the others.

    Args:
        lengths: (N,) tokens of each row.
        rows_per_update: rows of one update on all processes.
    """
    generator = np.random.Generator(np.random.PCG64([seed, epoch]))
    order = generator.permutation(len(lengths))
    # Shuffle, sort within pools, cut, and shuffle the updates: rows meet different ones in each epoch, and
    # short and long updates alternate at random.
    pool = rows_per_update * POOL_UPDATES
    found = []
    for start in range(0, len(order), pool):
        rows = order[start : start + pool]
        rows = rows[np.argsort(-lengths[rows], kind="stable")]  # stable: ties are in the same order on every machine
        found += [rows[at : at + rows_per_update] for at in range(0, len(rows), rows_per_update)]
    return [found[index] for index in generator.permutation(len(found))]


def evaluation_batches(lengths: np.ndarray, batch_size: int) -> list[np.ndarray]:
    """Row numbers of each batch, longest rows first, so that a batch that does not fit fails at once."""
    order = np.argsort(-lengths, kind="stable")
    return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]


class Split(ABC):
    """The encoded rows of a split, as training and evaluation use them.

    A subclass must set `lengths` and implement `take` and `columns`. By default, rows of similar length share a batch.

    Attributes:
        lengths: (N,) tokens of each row.
        carries: whether each row of a batch continues the same row of the previous batch.
    """

    lengths: np.ndarray
    carries: ClassVar[bool] = False

    def __len__(self) -> int:
        return len(self.lengths)

    def updates(self, rows_per_update: int, seed: int, epoch: int) -> list[np.ndarray]:
        """Row numbers of each update of an epoch, in an order that depends only on the seed and the epoch."""
        return updates(self.lengths, rows_per_update, seed, epoch)

    def batches(self, batch_size: int) -> list[np.ndarray]:
        """Row numbers of each batch of an evaluation; together they contain every row once."""
        return evaluation_batches(self.lengths, batch_size)

    @abstractmethod
    def take(self, rows: np.ndarray) -> Any:
        """The rows with these numbers, at least one, in this order: what `Task.collate` gets."""

    def take_each(self, batches: Sequence[np.ndarray]) -> list[Any]:
        """What `take` returns for each batch. A subclass may read them together, which is faster."""
        return [self.take(rows) for rows in batches]

    @abstractmethod
    def columns(self, names: Sequence[str]) -> dict[str, Any]:
        """Whole columns by name: (N,) arrays, or for lists the pair that `jagged` returns."""


class Rows(Split):
    """Encoded rows on disk, taken by number; only their lengths are in memory."""

    def __init__(self, dataset: Dataset):
        self._dataset = dataset.with_format("arrow")
        # A selection of rows has the numbers of its rows beside the whole table.
        self._places = None if dataset._indices is None else dataset._indices.column(0).to_numpy().astype(np.int64)
        self._table = Table(dataset.data.table)
        self.lengths = np.asarray(dataset.with_format("numpy")["length"][:], dtype=np.int32)

    def take(self, rows: np.ndarray) -> EncodedRows:
        return self.take_each([rows])[0]

    def take_each(self, batches: Sequence[np.ndarray]) -> list[EncodedRows]:
        return self._table.take(batches if self._places is None else [self._places[rows] for rows in batches])

    def columns(self, names: Sequence[str]) -> dict[str, Any]:
        table = self._dataset.select_columns(list(names))[:] if names else None
        return {
            name: jagged(column) if pa.types.is_list(column.type) else column.to_numpy()
            for name, column in zip(names, table.columns if table else (), strict=True)
        }


class PairedRows(Rows):
    """Rows with two sides, a text and its translation, both of which are padded.

    Rows are sorted by the longer side, and by both where that is equal: of pairs of sentences, this leaves a third less
    padding than sorting by one side.

    Attributes:
        lengths: (N,) int32, tokens of both sides together.
    """

    def __init__(self, dataset: Dataset):
        super().__init__(dataset)
        source, target = self.lengths, np.asarray(dataset.with_format("numpy")["target_length"][:], dtype=np.int32)
        self.lengths = source + target
        self._order = np.maximum(source, target).astype(np.int64) * (int(self.lengths.max(initial=0)) + 1)
        self._order += self.lengths

    def updates(self, rows_per_update: int, seed: int, epoch: int) -> list[np.ndarray]:
        return updates(self._order, rows_per_update, seed, epoch)

    def batches(self, batch_size: int) -> list[np.ndarray]:
        return evaluation_batches(self._order, batch_size)


def jagged(column: pa.Array | pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
    """The lists of N rows as two arrays: their elements, one list after another (M,), and their lengths (N,).

    Strings that are equal are one object: a tag for each word of a large split would take more memory than its text.
    """
    lists = whole(column)
    lists = lists.chunk(0) if isinstance(lists, pa.ChunkedArray) else lists
    # `flatten`, unlike `values`, leaves out what a slice does not show; differences of offsets are right in both cases.
    elements, lengths = lists.flatten(), np.diff(lists.offsets.to_numpy())
    if not pa.types.is_string(elements.type):
        return elements.to_numpy(zero_copy_only=False), lengths
    coded = elements.dictionary_encode()
    return np.array(coded.dictionary.to_pylist(), dtype=object)[coded.indices.to_numpy()], lengths
