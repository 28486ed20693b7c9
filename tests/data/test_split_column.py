"""A column that divides the rows of one table into splits."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.config.data import Data
from pipeline.data import sources, split_column
from pipeline.data.rows import batches, peek
from pipeline.errors import UserError
from pipeline.tasks.sentiment import Sentiment


def load(file: Path, content: str, **settings) -> sources.LoadedSource:
    file.write_text(content)
    work = file.parent / "work"
    work.mkdir()
    return sources.load(sources.locate(Data(str(file), **settings)), Sentiment.columns, work)


def table(*splits: object, name: str = "split") -> str:
    rows = "".join(f"day number {n},{'good' if n % 2 else 'bad'},{split}\n" for n, split in enumerate(splits))
    return f"text,label,{name}\n{rows}"


@pytest.mark.parametrize(
    ("name", "values", "sizes"),
    [
        ("split", ["train", "dev", "train", "test"], {"train": 2, "validation": 1, "test": 1}),
        ("Split", ["TRAIN", "Validation", "TRAIN", "TEST"], {"train": 2, "validation": 1, "test": 1}),
        ("split", [0, 1, 0, 2], {"train": 2, "validation": 1, "test": 1}),
        ("set", ["training", "testing", "training", "training"], {"train": 3, "test": 1}),
        ("fold", ["train", "val", "train", "train"], {"train": 3, "validation": 1}),
        ("is_valid", [False, True, False, False], {"train": 3, "validation": 1}),
        ("split", ["train", "unsupervised", "train", "test"], {"train": 2, "test": 1}),
        ("fold", [1, 2, 1, 2], {"train": 4}),
        ("set", ["a", "b", "a", "b"], {"train": 4}),
        ("topic", ["train", "test", "train", "train"], {"train": 4}),
    ],
)
def test_a_column_divides_the_rows_if_all_its_values_name_splits(tmp_path, name, values, sizes):
    loaded = load(tmp_path / "a.csv", table(*values, name=name), label_column="label", text_column="text")
    assert {split: len(rows) for split, rows in loaded.splits.items()} == sizes
    said = [line for line in loaded.warnings if "divides the rows" in line]
    assert len(said) == (len(sizes) > 1)


def test_the_rows_of_each_split_keep_their_order_and_lines(tmp_path):
    loaded = load(tmp_path / "a.csv", table("test", "train", "test", "train", "dev"))
    assert loaded.splits["train"]["line"] == [3, 5]
    assert loaded.splits["test"]["text"] == ["day number 0", "day number 2"]
    assert list(loaded.splits) == ["train", "validation", "test"]
    assert f"{tmp_path}/a.csv: the column 'split' divides the rows: 2 train, 1 validation, 2 test" in loaded.warnings


def test_the_column_is_never_taken_for_the_label(tmp_path):
    rows = "".join(f"day number {n},{'train' if n else 'test'}\n" for n in range(6))
    with pytest.raises(UserError, match="it has texts only, no labels"):
        load(tmp_path / "a.csv", f"text,split\n{rows}")


def test_a_column_that_is_set_as_the_label_divides_nothing(tmp_path):
    loaded = load(tmp_path / "a.csv", table("train", "test", "train"), label_column="split")
    assert loaded.splits["train"]["label"] == ["train", "test", "train"]


def test_a_row_without_a_split_is_refused_with_its_line(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "SAMPLE_ROWS", 2)
    monkeypatch.setattr("pipeline.data.rows.ROWS_PER_BATCH", 2)
    rows = [
        {"text": f"day {n}", "label": n % 2, "split": s} for n, s in enumerate(["train", "dev", "train", "holdout"])
    ]
    with pytest.raises(UserError, match=r"a.jsonl:4: the column 'split' is 'holdout', but other rows have train"):
        load(tmp_path / "a.jsonl", "".join(json.dumps({**row, "x": {}}) + "\n" for row in rows))


def test_splits_of_a_json_object_divide_its_rows(tmp_path):
    rows = [{"text": f"day {n}", "label": "ab"[n % 2]} for n in range(4)]
    loaded = load(tmp_path / "a.json", json.dumps({"train": rows, "test": rows[:1], "dev": rows[:2]}))
    assert {split: len(found) for split, found in loaded.splits.items()} == {"train": 4, "validation": 2, "test": 1}


@pytest.mark.parametrize("row", [{"text": "train", "label": "test"}, {"split": None}, {"split": ["train"]}])
def test_a_table_without_such_a_column_has_none(row):
    assert split_column.matches(peek(batches([(1, row)]), 1)) is None
