"""Carving: seeded, stratified, and without a text in two splits."""

from __future__ import annotations

import numpy as np
import pytest
from datasets import Dataset

from pipeline.config.data import Data
from pipeline.data.splits import carve, complete, limit, rare_classes
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


def test_carving_depends_only_on_the_seed():
    def parts(seed):
        return [part.tolist() for part in carve(np.arange(50), None, [0.2, 0.2], seed)]

    assert parts(3) == parts(3) != parts(4)
    assert parts(0)[1] == [2, 3, 4, 18, 20, 23, 24, 26, 34, 36]  # the same on every machine and release


def test_only_missing_splits_are_carved(tmp_path):
    splits = complete({"train": a_split(100), "test": a_split(10)}, Data("x"), "label", "f", [], folder=tmp_path)
    assert {name: len(rows) for name, rows in splits.items()} == {"train": 90, "validation": 10, "test": 10}
    whole = {name: a_split(10) for name in ("train", "validation", "test")}
    assert complete(whole, Data("x"), "label", "f", [], folder=tmp_path) is whole


def test_texts_that_differ_in_case_and_punctuation_only_are_one_text_for_carving(tmp_path):
    texts = [f"{word}{end}" for word in ("Good", "bad", "fine", "odd", "So So") for end in ("", "!", " .")] * 2
    rows = Dataset.from_dict({"text": texts, "label": ["a"] * len(texts), "line": list(range(len(texts)))})
    splits = complete(
        {"train": rows},
        Data("x", validation_share=0.2, test_share=0.2),
        "label",
        "f",
        [],
        folder=tmp_path,
    )
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
            "data.test_share: f already has a test split; remove this setting",
        ),
    ],
)
def test_data_that_cannot_be_carved_is_refused(splits, data, message, tmp_path):
    with pytest.raises(UserError) as refusal:
        complete(splits, data, "label", "f", [], folder=tmp_path)
    assert str(refusal.value).startswith(message)


def test_a_limit_is_spread_evenly_over_the_rows():
    assert limit(a_split(100), 4)["line"] == [0, 25, 50, 75]
    assert len(limit(a_split(3), 10)) == 3


def carved_by_share_alone(classes, shares, seed):
    """Row numbers of each part for rows of different texts, without regard to what is left of a class in the rest."""
    parts = np.zeros(len(classes), dtype=int)
    generator, owed = np.random.Generator(np.random.PCG64(seed)), [0.0] * len(shares)
    for name in sorted(set(classes)):
        members = generator.permutation(np.flatnonzero(np.asarray(classes) == name))
        taken = 0
        for part, share in enumerate(shares):
            owed[part] += share * len(members)
            count = min(round(owed[part]), len(members) - taken)
            owed[part] -= count
            parts[members[taken : taken + count]] = part + 1
            taken += count
    return [np.flatnonzero(parts == part).tolist() for part in range(len(shares) + 1)]


def random_data(generator):
    """Up to 40 rows of few classes; sometimes texts repeat, also with another class."""
    rows, kinds = generator.integers(1, 41), generator.integers(1, 8)
    classes = [str(number) for number in generator.integers(0, kinds, rows)]
    different = generator.random() < 0.5
    texts = np.arange(rows) if different else generator.integers(0, max(1, rows // 2), rows)
    shares = [[0.1, 0.1], [0.3, 0.2], [0.5, 0.4], [0.2]][generator.integers(4)]
    return texts, classes, shares, different


def test_no_class_loses_its_last_rows_to_validation_and_test():
    generator, same = np.random.default_rng(0), 0
    for _ in range(600):
        texts, classes, shares, different = random_data(generator)
        parts = carve(texts, classes, shares, seed=0)
        where = {row: number for number, part in enumerate(parts) for row in part.tolist()}
        assert sorted(where) == list(range(len(texts)))
        assert all(len({where[row] for row in np.flatnonzero(texts == text)}) == 1 for text in texts)
        rare = {
            name
            for name in classes
            if len({t for t, c in zip(texts, classes, strict=True) if c == name}) <= len(shares)
        }
        assert rare_classes(texts, classes, len(parts)) == sorted(rare)
        for name in set(classes):
            own = [where[row] for row, other in enumerate(classes) if other == name]
            assert 0 in own
            assert name not in rare or set(own) == {0}
        if different and not rare:
            by_share = carved_by_share_alone(classes, shares, seed=0)
            if all(name in {classes[row] for row in by_share[0]} for name in classes):
                assert [part.tolist() for part in parts] == by_share
                same += 1
    assert same > 50  # if there are enough rows, nothing else changes


def test_ten_rows_of_five_labels_keep_every_label_in_train(tmp_path):
    """Four labels of one row each and one of six: by their shares alone, train would lose the label 3."""
    labels = ["0", "1", "2", "3", "4", "4", "4", "4", "4", "4"]
    rows = Dataset.from_dict({"text": [f"text {n}" for n in range(10)], "label": labels, "line": list(range(10))})
    warnings: list[str] = []
    splits = complete(
        {"train": rows},
        Data("x", validation_share=0.2, test_share=0.2),
        "label",
        "f",
        warnings,
        folder=tmp_path,
    )
    assert {name: sorted(set(part["label"])) for name, part in splits.items()} == {
        "train": ["0", "1", "2", "3", "4"],
        "validation": ["4"],
        "test": ["4"],
    }
    assert warnings == ["labels with fewer than 3 different texts are in train only: 0, 1, 2, 3"]
    lost = carved_by_share_alone(labels, [0.2, 0.2], 0)[0]
    assert "3" not in {labels[row] for row in lost}


def test_rare_labels_are_reported_in_a_line_that_can_be_read_however_many_they_are(tmp_path):
    labels = [f"rare {number:03}" for number in range(200)] + ["common"] * 400
    rows = Dataset.from_dict({"text": [f"text {n}" for n in range(600)], "label": labels, "line": list(range(600))})
    warnings: list[str] = []
    splits = complete({"train": rows}, Data("x"), "label", "f", warnings, folder=tmp_path)
    assert {name: len(part) for name, part in splits.items()} == {"train": 520, "validation": 40, "test": 40}
    assert warnings[0].endswith("rare 019 and 180 more")


def test_rows_that_would_leave_validation_or_test_empty_are_refused(tmp_path):
    rows = Dataset.from_dict({"text": list("abcdefghij"), "label": list("0123401234"), "line": list(range(10))})
    message = r"f: 10 rows are too few to carve validation and test from \(labels with fewer than 3 .*\); add rows"
    with pytest.raises(UserError, match=message):
        complete({"train": rows}, Data("x"), "label", "f", [], folder=tmp_path)
