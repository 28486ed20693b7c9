"""Rows of a table on disk, taken for several batches in one go."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from pipeline.data.gathering import Table

ROWS = 57
COLUMNS = {
    "ids": pa.list_(pa.int32()),
    "wide": pa.list_(pa.int64()),
    "label": pa.int64(),
    "score": pa.float64(),
    "text": pa.string(),
    "tags": pa.list_(pa.string()),
    "teacher": pa.large_list(pa.float32()),
}


@pytest.fixture(params=[1, 7, 57])
def rows(request):
    """Rows as Python values, and the table that has them in chunks of this many rows."""
    draw = np.random.default_rng(0)
    lengths = [0, *draw.integers(0, 9, ROWS - 1).tolist()]
    values = {
        "ids": [draw.integers(1, 99, length).tolist() for length in lengths],
        "wide": [draw.integers(1, 99, 2 * length).tolist() for length in lengths],
        "label": draw.integers(0, 9, ROWS).tolist(),
        "score": [None, *draw.normal(size=ROWS - 1).tolist()],
        "text": [f"text {row}" for row in range(ROWS)],
        "tags": [[f"tag {draw.integers(9)}"] * length for length in lengths],
        "teacher": [draw.integers(0, 9, length).tolist() for length in lengths],
    }
    whole = pa.table({name: pa.array(values[name], kind) for name, kind in COLUMNS.items()})
    parts = [whole.slice(start, request.param) for start in range(0, ROWS, request.param)]
    return values, pa.concat_tables(parts)


def batches_of(rows, *sizes):
    order = np.random.default_rng(1).permutation(rows)
    ends = np.cumsum(sizes)
    return np.split(order[: ends[-1]], ends[:-1])


def test_batches_have_their_rows_in_the_order_asked_for(rows):
    values, table = rows
    batches = batches_of(ROWS, 5, 1, 30)
    for batch, taken in zip(batches, Table(table).take(batches), strict=True):
        assert len(taken) == len(batch)
        assert taken.column_names == list(COLUMNS)
        for name in COLUMNS:
            assert taken[name].to_pylist() == [values[name][row] for row in batch]


@pytest.mark.parametrize("name", ["ids", "wide"])
def test_lists_are_padded_to_the_longest_of_their_own_batch(rows, name):
    values, table = rows
    batches = batches_of(ROWS, 5, 1, 30)
    for batch, taken in zip(batches, Table(table).take(batches), strict=True):
        width = max(len(values[name][row]) for row in batch)
        found = taken.padded(name, -100)
        assert found.dtype == np.int64
        assert found.tolist() == [values[name][row] + [-100] * (width - len(values[name][row])) for row in batch]


def test_a_mask_is_there_where_there_is_padding():
    table = Table(pa.table({"ids": [[1], [2, 3], [4], [5, 6, 7], [8, 9]]}))
    mixed, equal, alone = table.take([np.array([3, 0]), np.array([4, 1]), np.array([2])])
    assert mixed.mask("ids").tolist() == [[1, 1, 1], [1, 0, 0]]
    assert equal.mask("ids") is None
    assert alone.mask("ids") is None


def test_rows_may_be_taken_twice_and_lists_may_all_be_empty():
    table = Table(pa.table({"ids": [[], [2, 3], []]}))
    twice, empty = table.take([np.array([1, 1, 0]), np.array([0, 2])])
    assert twice.padded("ids", 0).tolist() == [[2, 3], [2, 3], [0, 0]]
    assert empty.padded("ids", 0).shape == (2, 0)
    assert empty.mask("ids") is None


def test_a_slice_of_a_table_has_its_own_rows():
    table = Table(pa.table({"ids": [[1], [2, 3], [4, 5, 6]], "label": [0, 1, 2]}).slice(1))
    (rows,) = table.take([np.array([1, 0])])
    assert rows.padded("ids", 0).tolist() == [[4, 5, 6], [2, 3, 0]]
    assert rows["label"].to_pylist() == [2, 1]


def test_what_is_written_into_a_batch_stays_in_it():
    table = Table(pa.table({"ids": [[1], [2, 3]]}))
    (rows,) = table.take([np.array([0, 1])])
    ids, labels, mask = rows.padded("ids", 0), rows.padded("ids", 0), rows.mask("ids")
    labels[mask == 0] = -100
    mask[:] = 0
    assert ids.tolist() == [[1, 0], [2, 3]]
    assert rows.mask("ids").tolist() == [[1, 0], [1, 1]]
