"""Labels get their names, spellings that look the same are joined, and rows and splits without labels are left out."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pyarrow as pa
import pytest
from datasets import Dataset

from pipeline.config.data import Data
from pipeline.data.labels import clean, count
from pipeline.data.rows import Places
from pipeline.errors import UserError


def cleaned(classes=None, known=(), settings=None, **columns):
    splits, names = {}, {}
    for split, column in columns.items():
        splits[split] = Dataset(pa.table({"label": column, "line": list(range(2, len(column) + 2))}))
        names[split] = Places((f"{split}.csv",), f"{split}.csv")
    return clean(splits, names, classes, Data(source="a.csv", **(settings or {})), Path(tempfile.mkdtemp()), known)


def labels(found) -> dict[str, list]:
    return {split: rows["label"][:] for split, rows in found.splits.items()}


def test_labels_that_need_no_change_stay_the_same_rows():
    found = cleaned(train=["a", "b", "a"], test=["b"])
    assert labels(found) == {"train": ["a", "b", "a"], "test": ["b"]}
    assert (found.label_names, found.unlabelled, found.warnings) == (None, [], [])


def test_numbers_have_the_names_of_the_source():
    found = cleaned(["neg", "pos"], train=["1", "0", "pos"], validation=["0"])
    assert labels(found) == {"train": ["pos", "neg", "pos"], "validation": ["neg"]}
    assert found.label_names == ["neg", "pos"]


def test_rows_without_a_label_are_left_out_and_counted():
    found = cleaned(train=["a", None, "b", None, "a"])
    assert labels(found) == {"train": ["a", "b", "a"]}
    assert found.warnings == ["2 rows of train have no label and were left out (train.csv:3, train.csv:5)"]


def test_a_split_without_labels_is_unlabelled():
    found = cleaned(train=["a", "b"], test=pa.nulls(3, pa.string()))
    assert (list(found.splits), found.unlabelled) == (["train"], ["test"])


@pytest.mark.parametrize(
    "train", [["0", "1"] * 3, ["neg", "pos"] * 3, ["0", "4"] * 3, ["-1", "1"] * 3, ["-1", "0", "1"] * 3]
)
def test_a_split_of_nothing_but_minus_one_is_unlabelled(train):
    found = cleaned(train=train, test=["-1"] * 4)
    assert labels(found) == {"train": train}
    assert found.unlabelled == ["test"]


def test_a_rare_minus_one_beside_ids_is_no_label():
    found = cleaned(train=["0", "1", "2"] * 10 + ["-1"])
    assert labels(found) == {"train": ["0", "1", "2"] * 10}
    assert "the label -1 is read as no label" in found.warnings[0]
    assert found.warnings[1] == "1 rows of train have no label and were left out (train.csv:32)"


def test_minus_one_is_no_label_if_the_source_names_its_classes():
    found = cleaned(["neg", "pos"], train=["0", "-1", "1"])
    assert labels(found) == {"train": ["neg", "pos"]}


def test_a_common_minus_one_is_a_class_and_that_is_said():
    found = cleaned(train=["-1", "0", "1"] * 10)
    assert labels(found) == {"train": ["-1", "0", "1"] * 10}
    assert "the label -1 is read as a class, as 33% of the rows have it" in found.warnings[0]
    assert "set data.missing_labels to -1" in found.warnings[0]


def test_settings_decide_what_minus_one_means():
    train = ["-1", "0", "1"] * 10
    assert labels(cleaned(settings={"missing_labels": ("-1",)}, train=train)) == {"train": ["0", "1"] * 10}
    named = cleaned(settings={"label_names": ("-1=bad", "0=so-so", "1=good")}, train=train)
    assert labels(named) == {"train": ["bad", "so-so", "good"] * 10}
    assert named.warnings == []


def test_missing_labels_names_further_marks():
    found = cleaned(settings={"missing_labels": ("unknown",)}, train=["a", "Unknown", "b"])
    assert labels(found) == {"train": ["a", "b"]}


@pytest.mark.parametrize(
    "twin", ["negative\u200b", "\ufeffnegative", "negative\u200f", "nega\u00adtive", "ne\u200dgative"]
)
def test_labels_that_differ_in_invisible_marks_are_one_label(twin):
    found = cleaned(train=["negative", "positive", twin, "negative"])
    assert labels(found) == {"train": ["negative", "positive", "negative", "negative"]}
    assert "count as one: negative" in found.warnings[0]


def test_labels_that_differ_in_unicode_form_are_one_label():
    found = cleaned(train=["n\u00e9gatif", "ne\u0301gatif", "positif"])
    assert labels(found) == {"train": ["n\u00e9gatif", "n\u00e9gatif", "positif"]}
    assert found.warnings


def test_marks_inside_a_label_that_has_no_twin_are_kept():
    persian, emoji = "خوب\u200cها", "❤\ufe0f"
    assert labels(cleaned(train=[persian, emoji])) == {"train": [persian, emoji]}


def test_labels_that_differ_in_case_stay_different():
    assert labels(cleaned(train=["Good", "good"])) == {"train": ["Good", "good"]}


def test_new_labels_are_ids_of_the_model_if_all_are():
    found = cleaned(known=["neg", "pos"], test=["1", "0", None])
    assert labels(found) == {"test": ["pos", "neg"]}
    assert found.warnings[0] == "the labels are read as ids of the model's labels: 0 = neg, 1 = pos"
    assert labels(cleaned(known=["1", "0"], test=["1", "0"])) == {"test": ["1", "0"]}
    assert labels(cleaned(known=["neg", "pos"], test=["1", "neg"])) == {"test": ["1", "neg"]}


def test_new_labels_that_look_like_a_label_of_the_model_are_that_label():
    assert labels(cleaned(known=["n\u00e9gatif"], test=["ne\u0301gatif\u200b"])) == {"test": ["n\u00e9gatif"]}


def test_a_label_without_a_name_is_refused_with_its_line():
    with pytest.raises(UserError, match=r"train\.csv:4: the label 'bat' has no name; did you mean bad\?"):
        cleaned(settings={"label_names": ("0=bad", "1=good")}, train=["0", "1", "bat"])


def test_lists_of_labels_are_named_label_by_label():
    lists = pa.array([["0", "1"], [], None, ["1"]], pa.list_(pa.string()))
    found = cleaned(["neg", "pos"], train=lists)
    assert labels(found) == {"train": [["neg", "pos"], [], ["pos"]]}
    assert count(found.splits["train"], "label") == {"neg": 1, "pos": 2}


def test_numbers_are_left_as_they_are_and_missing_ones_left_out():
    found = cleaned(train=pa.array([0.5, None, -1.0]))
    assert labels(found) == {"train": [0.5, -1.0]}


@pytest.mark.parametrize("test", [["0", "1"], ["?"], ["False", "True"]])
def test_a_split_whose_labels_are_all_unknown_to_train_is_refused(test):
    refusal = f"test.csv: no label of test ({', '.join(test)}) is one of train (bad, good); if they mean the same"
    with pytest.raises(UserError) as refused:
        cleaned(train=["good", "bad"], test=test)
    assert str(refused.value).startswith(refusal)
    given = cleaned(train=["good", "bad"], test=["0", "1"], settings={"label_names": ("0=bad", "1=good")})
    assert labels(given)["test"] == ["bad", "good"]
    assert cleaned(train=["good", "bad"], test=["?"], settings={"missing_labels": ("?",)}).unlabelled == ["test"]
