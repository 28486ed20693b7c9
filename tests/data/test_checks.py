"""Checks: what makes training pointless is refused, other problems are reported."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from conftest import ROOT
from datasets import Dataset

from pipeline.data.checks import entity_types, label_set, report
from pipeline.data.rows import Places
from pipeline.errors import UserError


def rows(texts: list[str], labels: list[str]) -> Dataset:
    return Dataset.from_dict({"text": texts, "label": labels, "line": list(range(len(texts)))})


NAMES = {split: Places((f"{split}.csv",), f"{split}.csv") for split in ("train", "validation", "test")}


def test_clean_data_has_no_warnings():
    splits = {"train": rows(["a b", "c d"], ["x", "y"]), "test": rows(["e f", "g"], ["y", "x"])}
    counted = report(splits, NAMES, {"train": []})
    assert counted["notes"] == []
    assert counted["rows"] == {"train": 2, "test": 2}
    assert counted["labels"]["train"] == {"x": 1, "y": 1}


def test_repeated_shared_and_empty_rows_are_counted_and_reported():
    splits = {
        "train": rows(["Same text", "same text!", "one", "one"], ["x", "y", "x", "y"]),
        "test": rows(["SAME  TEXT", "one", "new"], ["x", "y", "x"]),
    }
    counted = report(splits, NAMES, {"train": [7, 9], "test": []})
    assert counted["duplicates"] == {"train": 1, "test": 0}
    assert counted["shared_with_train"] == {"test": {"exact": 1, "normalised": 2}}
    assert counted["notes"] == [
        "train.csv: 2 rows without text were left out (line 7, 9)",
        "1 rows of train repeat another row",
        "2 of 3 rows of test are also in train (1 of them verbatim), so its scores will be too high",
    ]


def test_a_row_of_translations_may_lack_its_target_as_well():
    pairs = Dataset.from_dict({"text": ["a b"], "target": ["c d"], "line": [1]})
    notes = report({"train": pairs}, NAMES, {"train": [7]})["notes"]
    assert notes == ["train.csv: 1 rows without text or target were left out (line 7)"]


def test_label_sets_that_differ_are_reported():
    splits = {"train": rows(["a", "b"], ["x", "y"]), "test": rows(["c", "d"], ["x", "X"])}
    assert report(splits, NAMES, {})["notes"] == [
        "test has labels that are not in train: X",
        "test has no row with the label y",
        "labels that differ only in case count as different classes: x",
    ]


@pytest.mark.parametrize(
    ("labels", "names", "expected"),
    [
        (["b", "a"], None, ["a", "b"]),
        (["10", "9", "1"], None, ["1", "9", "10"]),
        (["-1", "1", "0"], None, ["-1", "0", "1"]),
        (["b", "a"], ["b", "a", "c"], ["b", "a", "c"]),
        (["b", "z"], ["b", "a"], ["b", "z"]),
    ],
)
def test_labels_are_ordered_as_the_source_says_or_by_size_or_alphabet(labels, names, expected):
    assert label_set(names, {"train": rows(["t"] * len(labels), labels)}) == expected


def test_entities_are_counted_by_type():
    def tagged(tags):
        return Dataset.from_dict({"text": ["a b", "c d"], "tags": tags, "line": [1, 2]})

    splits = {"train": tagged([["B-X", "I-X"], ["O", "B-Y"]]), "test": tagged([["B-Y", "B-Y"], ["O", "O"]])}
    counted = report(splits, NAMES, {})
    assert counted["labels"] == {"train": {"X": 1, "Y": 1}, "test": {"Y": 2}}
    assert "test has no row with the label X" in counted["notes"]
    assert entity_types(None, splits) == ["X", "Y"]
    assert entity_types(["O", "B-Y", "I-Y", "B-X", "I-X", "B-Z"], splits) == ["Y", "X", "Z"]


def test_one_label_is_refused():
    with pytest.raises(UserError, match="every row of train has the label 'x'; at least two classes are needed"):
        label_set(None, {"train": rows(["a", "b"], ["x", "x"])})


def test_a_column_of_texts_or_ids_is_not_a_label():
    with pytest.raises(UserError, match=r"data.label_column: 30 different labels in 30 rows, such as '0'"):
        label_set(None, {"train": rows(["t"] * 30, [str(number) for number in range(30)])})


def test_the_order_of_the_labels_is_the_same_in_every_process():
    """Strings have another hash in each process, and so has a set another order; nan has no place between numbers."""
    program = (
        "from datasets import Dataset; from pipeline.data.checks import label_set;"
        "print(*(label_set(None, {'train': Dataset.from_dict({'text': labels, 'label': labels})}) for labels in"
        " (['2', '1', '01', '1e0', '001'], ['2', 'nan', '1', 'inf', 'NaN'], ['b', 'B', 'a'])))"
    )
    printed = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)},
            capture_output=True, text=True, check=True,
        ).stdout
        for seed in ("1", "2")
    }  # fmt: skip
    assert printed == {"['001', '01', '1', '1e0', '2'] ['1', '2', 'NaN', 'inf', 'nan'] ['B', 'a', 'b']\n"}
