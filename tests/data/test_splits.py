"""Carving: seeded, stratified, and without a text that two splits share."""

from __future__ import annotations

import numpy as np
import pytest
from datasets import Dataset

from pipeline.config.data import Data
from pipeline.data.splits import carve, complete, limit
from pipeline.errors import UserError


def a_split(rows: int, classes: int = 2) -> Dataset:
    return Dataset.from_dict(
        {
            "text": [f"text {number}" for number in range(rows)],
            "label": [str(number % classes) for number in range(rows)],
            "line": list(range(rows)),
        }
    )


def test_every_row_lands_in_one_part_and_classes_keep_their_shares():
    classes = ["a"] * 700 + ["b"] * 200 + ["c"] * 100
    parts = carve(np.arange(1000), classes, [0.1, 0.2], seed=0)
    assert sorted(np.concatenate(parts).tolist()) == list(range(1000))
    counts = [[sum(classes[row] == name for row in part) for name in "abc"] for part in parts]
    assert counts == [[490, 140, 70], [70, 20, 10], [140, 40, 20]]


def test_rows_of_equal_text_stay_together():
    texts = np.array([row % 37 for row in range(400)])
    parts = carve(texts, None, [0.2, 0.3], seed=1)
    assert sum(len(set(texts[part])) for part in parts) == 37


def test_the_carving_is_a_function_of_the_seed():
    def parts(seed):
        return [part.tolist() for part in carve(np.arange(50), None, [0.2, 0.2], seed)]

    assert parts(3) == parts(3) != parts(4)
    assert parts(0)[1] == [2, 3, 4, 18, 20, 23, 24, 26, 34, 36]  # the same on every machine and release


def test_only_missing_splits_are_carved():
    splits = complete({"train": a_split(100), "test": a_split(10)}, Data("x"), "label", "f")
    assert {name: len(rows) for name, rows in splits.items()} == {"train": 90, "validation": 10, "test": 10}
    whole = {name: a_split(10) for name in ("train", "validation", "test")}
    assert complete(whole, Data("x"), "label", "f") is whole


def test_texts_that_differ_in_case_and_punctuation_only_are_one_text_for_carving():
    texts = [f"{word}{end}" for word in ("Good", "bad", "fine", "odd", "So So") for end in ("", "!", " .")] * 2
    rows = Dataset.from_dict({"text": texts, "label": ["a"] * len(texts), "line": list(range(len(texts)))})
    splits = complete({"train": rows}, Data("x", validation_share=0.2, test_share=0.2), "label", "f")
    words = [{text.strip("! .").lower() for text in part["text"]} for part in splits.values()]
    assert sum(map(len, words)) == 5


@pytest.mark.parametrize(
    ("splits", "data", "message"),
    [
        ({"test": a_split(9)}, Data("x"), "f: it has no training split, only test"),
        ({"train": a_split(4)}, Data("x"), "f: 4 rows are too few to carve validation and test from"),
        (
            {"train": a_split(99), "test": a_split(9)},
            Data("x", test_share=0.2),
            "data.test_share: f has a test split of its own; remove this setting",
        ),
    ],
)
def test_what_cannot_be_carved_is_refused(splits, data, message):
    with pytest.raises(UserError) as refusal:
        complete(splits, data, "label", "f")
    assert str(refusal.value).startswith(message)


def test_a_limit_is_spread_evenly_over_the_rows():
    assert limit(a_split(100), 4)["line"] == [0, 25, 50, 75]
    assert len(limit(a_split(3), 10)) == 3
