"""A column that says which split each row of a table belongs to, as Ludwig, AutoML services and fastai write it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pipeline.config.files.split_names import SPLITS, UNLABELLED, split_called
from pipeline.data.columns import is_missing
from pipeline.data.rows import Peeked, Places, RowBatch, values
from pipeline.errors import UserError

# Usual names. What is in such a column counts: it divides the rows only if all of it names splits.
NAMES = ("split", "splits", "data_split", "dataset_split", "partition", "set", "subset", "fold", "ml_use", "usage")
# Ludwig's numbers, in a column called split.
NUMBERS = {"0": "train", "1": "validation", "2": "test"}
# Columns that answer one question, such as fastai's is_valid: answer -> split.
QUESTIONS = {
    "is_train": {"true": "train", "1": "train", "false": "test", "0": "test"},
    "is_valid": {"true": "validation", "1": "validation", "false": "train", "0": "train"},
    "is_validation": {"true": "validation", "1": "validation", "false": "train", "0": "train"},
    "is_test": {"true": "test", "1": "test", "false": "train", "0": "train"},
}


def matches(rows: Peeked) -> str | None:
    """The column that says which split a row belongs to; None: there is none."""
    candidates = (name for name in rows.names if name.strip().lower() in (*NAMES, *QUESTIONS))
    return next((name for name in candidates if _divides(name, rows.column(name))), None)


def _divides(name: str, column: Sequence[Any]) -> bool:
    usual = name.strip().lower()
    found = {_written(value) for value in column}
    return bool(found - UNLABELLED) and all(value in UNLABELLED or _split(usual, value) for value in found)


def _written(value: Any) -> str:
    text = str(value).strip().lower()
    return text.removesuffix(".0")


def _split(usual: str, value: str) -> str | None:
    """The split that `value` means in a column called `usual`."""
    if usual in QUESTIONS:
        return QUESTIONS[usual].get(value)
    return split_called(value) or (NUMBERS.get(value) if usual == "split" else None)


def divide(batch: RowBatch, column: str, places: Places) -> dict[str, RowBatch]:
    """Split -> its rows in `batch`, without the column. Rows that are marked as unlabelled belong to none.

    Raises:
        UserError: a row belongs to no known split.
    """
    found = _splits_of(batch, column, places)
    rest, present = batch.without(column), set(found)
    return {split: rest.only(found == split) for split in SPLITS if split in present}


def unscored(batch: RowBatch, column: str, places: Places) -> RowBatch:
    """The rows in `batch` that are for training or marked as unlabelled, without the column.

    Raises:
        UserError: a row belongs to no known split.
    """
    found = _splits_of(batch, column, places)
    return batch.without(column).only((found == "train") | (found == ""))


def _splits_of(batch: RowBatch, column: str, places: Places) -> np.ndarray:
    """(N,) the split of each row, or the empty text for rows without labels."""
    written = values(batch.columns[column]) if column in batch.columns else [None] * len(batch)
    split_of: dict[str, str] = {}
    for place, value in zip(batch.places, written, strict=True):
        if str(value) not in split_of:
            split_of[str(value)] = _split_or_refuse(column, value, places.at(place))
    return np.array([split_of[str(value)] for value in written], dtype=object)


def _split_or_refuse(column: str, value: Any, where: str) -> str:
    """The split, or the empty text for rows without labels."""
    text = _written(value)
    if text in UNLABELLED:
        return ""
    split = None if is_missing(value) else _split(column.strip().lower(), text)
    if split is None:
        wrong = "is empty" if is_missing(value) else f"is {value!r}"
        raise UserError(
            f"{where}: the column {column!r} {wrong}, but other rows have train, validation or test; fill it in, or"
            " rename the column"
        )
    return split
