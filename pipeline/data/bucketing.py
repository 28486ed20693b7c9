"""Rows of like length together, in an order that is a function of the seed and the epoch alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
from datasets import Dataset

# Rows are sorted by length within a pool of so many updates: little padding, yet each epoch mixes them anew.
POOL_UPDATES = 50


def updates(lengths: np.ndarray, rows_per_update: int, seed: int, epoch: int) -> list[np.ndarray]:
    """Row numbers of each update of an epoch; together each row once.

    Rows of an update have like lengths and stand in falling order of them; the last, short update, where the number
    of rows asks for one, comes at a place of its own like the others.

    Args:
        lengths: (N,) tokens of each row.
        rows_per_update: rows of one update on all processes.
    """
    generator = np.random.Generator(np.random.PCG64([seed, epoch]))
    order = generator.permutation(len(lengths))
    pool = rows_per_update * POOL_UPDATES
    found = []
    for start in range(0, len(order), pool):
        rows = order[start : start + pool]
        rows = rows[np.argsort(-lengths[rows], kind="stable")]
        found += [rows[at : at + rows_per_update] for at in range(0, len(rows), rows_per_update)]
    return [found[index] for index in generator.permutation(len(found))]


def evaluation_batches(lengths: np.ndarray, batch_size: int) -> list[np.ndarray]:
    """Row numbers of each batch, longest rows first, so that a batch that does not fit fails at once."""
    order = np.argsort(-lengths, kind="stable")
    return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]


class Rows:
    """Encoded rows on disk, taken by number; nothing but their lengths is held in memory.

    Attributes:
        lengths: (N,) int32, tokens of each row.
        carries: no row goes on from another one.
    """

    carries: ClassVar[bool] = False

    def __init__(self, dataset: Dataset):
        self._table = dataset.with_format("arrow")
        self.lengths = np.asarray(dataset.with_format("numpy")["length"][:], dtype=np.int32)

    def __len__(self) -> int:
        return len(self.lengths)

    def updates(self, rows_per_update: int, seed: int, epoch: int) -> list[np.ndarray]:
        """See `updates`."""
        return updates(self.lengths, rows_per_update, seed, epoch)

    def batches(self, batch_size: int) -> list[np.ndarray]:
        """See `evaluation_batches`."""
        return evaluation_batches(self.lengths, batch_size)

    def take(self, rows: np.ndarray) -> pa.Table:
        """The rows with these numbers, in this order."""
        return self._table[rows]

    def facts(self, names: Sequence[str]) -> dict[str, Any]:
        """Whole columns: (N,) arrays, or of lists what `jagged` makes of them."""
        table = self._table.select_columns(list(names))[:] if names else None
        return {
            name: jagged(column) if pa.types.is_list(column.type) else column.to_numpy()
            for name, column in zip(names, table.columns if table else (), strict=True)
        }


def jagged(column: pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
    """Lists of N rows as their elements one behind another (M,) and the lengths of the lists (N,)."""
    lists = column.combine_chunks()
    lists = lists.chunk(0) if isinstance(lists, pa.ChunkedArray) else lists
    return lists.flatten().to_numpy(zero_copy_only=False), np.diff(lists.offsets.to_numpy())


def pad(column: pa.ChunkedArray, value: int) -> np.ndarray:
    """Lists of numbers of N rows as an (N, T) int64 array, filled with `value` on the right."""
    elements, lengths = jagged(column)
    padded = np.full((len(lengths), int(lengths.max(initial=0))), value, dtype=np.int64)
    padded[np.arange(padded.shape[1]) < lengths[:, None]] = elements
    return padded
