"""fastText's lines: `__label__positive a funny film`, with any number of labels."""

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


def read(file: Path, data: Data, warnings: list[str]) -> Iterator[pa.RecordBatch]:
    """The text and its label; lists of labels if one of the first `LINES_LOOKED_AT` lines has several.

    As in fastText, each word with the prefix is a label, wherever it is. A line without one is not labelled.

    Raises:
        UserError: the file is not text.
    """
    rows: Iterator[tuple[int, str, list[str]]]
    rows = (_row(number, line) for number, line in lines(file, data) if line.strip())
    first = list(itertools.islice(rows, LINES_LOOKED_AT))
    several = any(len(labels) > 1 for _, _, labels in first)
    rows = itertools.chain(first, rows)
    while batch := list(itertools.islice(rows, ROWS_PER_BATCH)):
        numbers, texts, labels = zip(*batch, strict=True)
        several = several or any(len(found) > 1 for found in labels)
        column = labels if several else [found[0] if found else None for found in labels]
        yield of_columns({"text": texts, "label": pa.array(column, _LISTS if several else pa.string())}, numbers)


_LISTS = pa.list_(pa.string())


def _row(number: int, line: str) -> tuple[int, str, list[str]]:
    first, *rest = line.split(maxsplit=1)
    if rest and first.startswith(PREFIX) and PREFIX not in rest[0]:
        return number, rest[0].rstrip(), [first[len(PREFIX) :]]
    words = line.split()
    labels = [word[len(PREFIX) :] for word in words if word.startswith(PREFIX)]
    return number, " ".join(word for word in words if not word.startswith(PREFIX)), labels
