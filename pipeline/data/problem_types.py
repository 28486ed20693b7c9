"""What labels are, in the terms of `problem_type` in transformers' configurations: read off their values."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from pipeline.config.data import Data
from pipeline.data.column_values import number_of, present
from pipeline.data.columns import SEPARATORS, as_indicators, as_list

SINGLE, MULTI, REGRESSION = "single_label_classification", "multi_label_classification", "regression"
PROBLEM_TYPES = (SINGLE, MULTI, REGRESSION)
# Labels are numbers if more than this share of them is, and some are not whole.
MOSTLY = 0.9


def missing_marks(data: Data) -> frozenset[str]:
    """The marks of a missing label that data.missing_labels adds, in lower case."""
    return frozenset(mark.strip().lower() for mark in data.missing_labels or ())


def problem_type_of(sample: Sequence[Any], column: str, data: Data) -> tuple[str, list[str]]:
    """What the values of the label column are, and why."""
    marks = missing_marks(data)
    known = [value for value in present(sample) if str(value).strip().lower() not in marks]
    listed = [as_list(value) for value in known]
    if any(own is not None and len(own) != 1 for own in listed):
        return MULTI, [
            f"the rows have lists of labels in {column!r}, so the model learns any number of labels a text"
            f" (data.problem_type {MULTI})"
        ]
    numbers = [number for value in known if (number := number_of(value)) is not None]
    # A single typing error does not make classes of measurements; the error is refused with its line.
    if len(numbers) > MOSTLY * len(known) and not all(map(float.is_integer, numbers)) and not data.label_names:
        return REGRESSION, [
            f"the labels in {column!r} are numbers that are not whole, so the model learns a number (data.problem_type"
            f" {REGRESSION}); to learn classes, set data.problem_type to {SINGLE}"
        ]
    return SINGLE, _joined_labels({value for value in known if isinstance(value, str)}, column)


def indicated(sample: Sequence[Any]) -> int:
    """Of how many labels each row has a 0 or 1, as the losses of torch take them; 0 if they are ids or names, none of
    which would be there twice in a row."""
    marks = [as_indicators(value) for value in present(sample)]
    sizes = {0 if own is None else len(own) for own in marks}
    repeats = any(own is not None and len(own) > len(set(own)) for own in marks)
    return sizes.pop() if len(sizes) == 1 and repeats else 0


def _joined_labels(known: set[str], column: str) -> list[str]:
    """A line about labels that look like several in one, such as `drama|comedy` beside `drama` and `comedy`."""
    for separator in SEPARATORS:
        parts = {label: [part.strip() for part in label.split(separator)] for label in known if separator in label}
        joined = sorted(label for label, own in parts.items() if all(part in known for part in own))
        single = known - parts.keys()
        if not joined and parts and single and all(map(str.isdecimal, [*single, *itertools.chain(*parts.values())])):
            joined = sorted(parts)  # ids of labels, some of which never occur alone
        if joined:
            return [
                f"the labels in {column!r} such as {joined[0]!r} are read as classes of their own; to learn any number"
                f" of labels a text, set data.problem_type to {MULTI}"
            ]
    return []
