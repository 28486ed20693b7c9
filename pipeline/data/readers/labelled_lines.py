"""Lines of a label and a text: `__label__positive a funny film` (fastText, any number of labels), `1 a funny film`."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from pipeline.config.data import Data
from pipeline.data.readers.common import lines
from pipeline.data.readers.record_batches import ROWS_PER_BATCH, of_columns

PREFIX = "__label__"
LINES_LOOKED_AT = 10_000
LISTS = pa.list_(pa.string())

# The line of a row, its text and its labels.
Labelled = tuple[int, str, list[str]]


def read_fasttext(file: Path, data: Data, warnings: list[str]) -> Iterator[pa.RecordBatch]:
    """The text and its label; lists of labels if one of the first `LINES_LOOKED_AT` lines has several.

    As in fastText, each word with the prefix is a label, wherever it is. A line without one is not labelled.

    Raises:
        UserError: the file is not text.
    """
    rows: Iterator[Labelled] = (_fasttext(number, line) for number, line in lines(file, data) if line.strip())
    return _batches(rows)


def read_label_first(file: Path, data: Data, warnings: list[str]) -> Iterator[pa.RecordBatch]:
    """The first word of each line as the label, and the others as the text.

    Raises:
        UserError: the file is not text.
    """
    rows = (_label_first(number, line) for number, line in lines(file, data) if line.strip())
    return _batches(rows)


def _fasttext(number: int, line: str) -> Labelled:
    first, *rest = line.split(maxsplit=1)
    if rest and first.startswith(PREFIX) and PREFIX not in rest[0]:
        return number, rest[0].rstrip(), [first[len(PREFIX) :]]
    words = line.split()
    labels = [word[len(PREFIX) :] for word in words if word.startswith(PREFIX)]
    return number, " ".join(word for word in words if not word.startswith(PREFIX)), labels


def _label_first(number: int, line: str) -> Labelled:
    label, *rest = line.split(maxsplit=1)
    return number, rest[0].rstrip() if rest else "", [label]


def _batches(rows: Iterator[Labelled]) -> Iterator[pa.RecordBatch]:
    first = list(itertools.islice(rows, LINES_LOOKED_AT))
    several = any(len(labels) > 1 for _, _, labels in first)
    rows = itertools.chain(first, rows)
    while batch := list(itertools.islice(rows, ROWS_PER_BATCH)):
        numbers, texts, labels = zip(*batch, strict=True)
        several = several or any(len(found) > 1 for found in labels)
        column = labels if several else [found[0] if found else None for found in labels]
        yield of_columns({"text": texts, "label": pa.array(column, LISTS if several else pa.string())}, numbers)
