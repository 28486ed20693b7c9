"""Batches: each row once, similar lengths together, in an order that depends only on seed and epoch."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from datasets import Dataset

from pipeline.data.bucketing import PairedRows, Rows, Split, evaluation_batches, jagged, updates


@pytest.fixture
def lengths():
    return np.random.default_rng(0).integers(1, 200, 1003).astype(np.int32)


def test_an_epoch_has_every_row_once_and_one_short_update(lengths):
    found = updates(lengths, 32, seed=0, epoch=0)
    assert sorted(np.concatenate(found).tolist()) == list(range(1003))
    assert sorted(map(len, found))[:2] == [1003 % 32, 32]


def test_the_order_depends_only_on_seed_and_epoch(lengths):
    def order(seed, epoch):
        return np.concatenate(updates(lengths, 32, seed, epoch)).tolist()

    assert order(1, 2) == order(1, 2)
    assert len({tuple(order(seed, epoch)) for seed in (0, 1) for epoch in (0, 1)}) == 4


def test_bucketing_leaves_little_padding(lengths):
    found = updates(lengths, 32, seed=0, epoch=0)
    padding = sum(lengths[rows].max() * len(rows) for rows in found) / lengths.sum() - 1
    order = np.random.default_rng(1).permutation(len(lengths))
    unsorted = [order[start : start + 32] for start in range(0, len(order), 32)]
    assert padding < 0.05
    assert sum(lengths[rows].max() * len(rows) for rows in unsorted) / lengths.sum() - 1 > 0.5


def test_rows_of_an_update_decrease_in_length(lengths):
    for rows in updates(lengths, 16, seed=0, epoch=3):
        assert (np.diff(lengths[rows]) <= 0).all()


def test_evaluation_starts_with_the_longest_rows(lengths):
    found = evaluation_batches(lengths, 10)
    assert lengths[found[0][0]] == lengths.max()
    assert sorted(np.concatenate(found).tolist()) == list(range(1003))


def test_rows_are_taken_in_the_order_asked_for_and_padded():
    data = Dataset.from_dict({"input_ids": [[1], [2, 3], [4, 5, 6]], "length": [1, 2, 3]})
    rows = Rows(data)
    assert rows.lengths.tolist() == [1, 2, 3]
    assert rows.take(np.array([2, 0])).padded("input_ids", -1).tolist() == [[4, 5, 6], [1, -1, -1]]


def test_a_split_of_ones_own_needs_only_lengths_take_and_columns(lengths):
    class Squares(Split):
        def __init__(self, lengths):
            self.lengths = lengths

        def take(self, rows):
            return [int(row) ** 2 for row in rows]

        def columns(self, names):
            return {}

    split = Squares(lengths)
    assert (len(split), split.carries) == (1003, False)
    assert split.take_each([np.array([3]), np.array([2, 1])]) == [[9], [4, 1]]
    ordered, batched = split.updates(32, 1, 2), split.batches(10)
    assert [rows.tolist() for rows in ordered] == [rows.tolist() for rows in updates(lengths, 32, 1, 2)]
    assert [rows.tolist() for rows in batched] == [rows.tolist() for rows in evaluation_batches(lengths, 10)]
    with pytest.raises(TypeError, match=r"abstract method.*\btake\b"):
        type("Nothing", (Split,), {"columns": Squares.columns})()


def test_rows_of_a_selection_are_taken_by_their_number_in_it():
    data = Dataset.from_dict({"input_ids": [[1], [2, 3], [4, 5, 6]], "length": [1, 2, 3]})
    rows = Rows(data.select([2, 0]))
    assert rows.lengths.tolist() == [3, 1]
    assert rows.take(np.array([0]))["input_ids"].to_pylist() == [[4, 5, 6]]


def test_lists_of_rows_are_their_elements_and_lengths():
    column = pa.chunked_array([[["a", "b"]], [[], ["c"]]])
    elements, lengths = jagged(column)
    assert (elements.tolist(), lengths.tolist()) == (["a", "b", "c"], [2, 0, 1])


def test_equal_strings_of_a_large_column_are_one_object():
    rows = [[f"B-{kind}" for kind in row] for row in (["PER", "LOC"], [], ["PER"], ["LOC", "PER"])]
    elements, lengths = jagged(pa.chunked_array([pa.array(rows[:2]), pa.array(rows[2:])]).slice(0, 4))
    assert elements.tolist() == [tag for row in rows for tag in row]
    assert lengths.tolist() == [2, 0, 1, 2]
    assert elements[0] is elements[2] is elements[4]
    empty, none = jagged(pa.chunked_array([pa.array([[], []], pa.list_(pa.string()))]))
    assert (len(empty), none.tolist()) == (0, [0, 0])


def test_rows_of_two_sides_are_sorted_so_that_both_have_little_padding():
    draw = np.random.default_rng(0)
    source = draw.integers(1, 60, 1003)
    target = np.maximum(1, source + draw.integers(-9, 10, 1003))
    columns = {"length": source, "target_length": target, "input_ids": [[0]] * 1003}
    rows = PairedRows(Dataset.from_dict(columns))
    assert (rows.lengths == source + target).all()

    def padded(batches):
        return sum(len(batch) * (source[batch].max() + target[batch].max()) for batch in batches)

    for found, one_side in (
        (rows.updates(32, seed=0, epoch=0), updates(source, 32, 0, 0)),
        (rows.batches(32), evaluation_batches(source, 32)),
    ):
        assert sorted(np.concatenate(found).tolist()) == list(range(1003))
        assert padded(found) < padded(one_side)
        assert padded(found) / rows.lengths.sum() < 1.2
