"""Fingerprints of prepared data: equal for equal values, and they say what has changed."""

from __future__ import annotations

import pyarrow as pa
import pytest

from pipeline.data import fingerprints
from pipeline.data.fingerprints import Fingerprints, changes, of_batches, read

ROWS = [
    {"id": 0, "length": 2, "input_ids": [5, 6], "label": 1, "tags": ["O", "B-PER"], "begins": True},
    {"id": 1, "length": 0, "input_ids": [], "label": 0, "tags": [], "begins": False},
    {"id": 2, "length": 3, "input_ids": [7, 8, 9], "label": None, "tags": ["O", None, "é"], "begins": True},
]
TYPES = pa.schema(
    {
        "id": pa.int64(),
        "length": pa.int32(),
        "input_ids": pa.list_(pa.int32()),
        "label": pa.int64(),
        "tags": pa.list_(pa.string()),
        "begins": pa.bool_(),
    }
)
SAME = Fingerprints({"train": (4, "a"), "test": (2, "b")}, ["neg", "pos"], (9, "c"))


def batches(rows, *sizes):
    start = 0
    for size in sizes:
        yield pa.RecordBatch.from_pylist(rows[start : start + size], schema=TYPES)
        start += size


def test_a_fingerprint_does_not_depend_on_where_batches_end():
    whole = of_batches(batches(ROWS, 3))
    assert whole == of_batches(batches(ROWS, 1, 1, 1)) == of_batches(batches(ROWS, 2, 1))
    assert whole == of_batches(batch.slice(0) for batch in batches(ROWS, 3))
    assert whole == of_batches(batch.slice(1) for batch in batches([ROWS[0], *ROWS], 4))
    assert whole[0] == 3


@pytest.mark.parametrize(
    "changed",
    [
        {"input_ids": [5, 7]},
        {"input_ids": [5, 6, 7]},
        {"label": 0},
        {"label": None},
        {"tags": ["O", "B-LOC"]},
        {"tags": ["OB", "-PER"]},
        {"begins": False},
    ],
)
def test_every_value_of_a_row_counts(changed):
    assert of_batches(batches([{**ROWS[0], **changed}, *ROWS[1:]], 3))[1] != of_batches(batches(ROWS, 3))[1]


def test_the_order_of_the_rows_and_the_borders_between_them_count():
    assert of_batches(batches(ROWS[::-1], 3))[1] != of_batches(batches(ROWS, 3))[1]
    joined = [{**ROWS[0], "input_ids": [5]}, {**ROWS[1], "input_ids": [6]}, ROWS[2]]
    assert of_batches(batches(joined, 3))[1] != of_batches(batches(ROWS, 3))[1]


def test_what_has_changed_is_said():
    assert changes(SAME, read(SAME.to_json())) == []
    other = Fingerprints({"train": (5, "d"), "test": (2, "e")}, ["pos", "neg"], (9, "f"))
    assert changes(SAME, other) == [
        "train has 5 rows, had 4",
        "test has other rows",
        "the labels are pos, neg, were neg, pos",
        "the vocabulary has other tokens",
    ]
    assert changes(SAME, Fingerprints({"train": (4, "a")}, ["neg", "pos"], (10, "g"))) == [
        "test has 0 rows, had 2",
        "the vocabulary has 10 tokens, had 9",
    ]


def test_a_file_has_the_fingerprint_of_its_rows(tmp_path):
    with pa.OSFile(str(tmp_path / "rows.arrow"), "wb") as sink, pa.ipc.new_stream(sink, TYPES) as stream:
        for batch in batches(ROWS, 2, 1):
            stream.write_batch(batch)
    assert fingerprints.of_file(tmp_path / "rows.arrow") == of_batches(batches(ROWS, 3))
