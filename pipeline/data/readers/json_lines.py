"""JSON lines (.jsonl): an object on each line, parsed many lines at a time."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline.config.data import Data
from pipeline.data.readers.common import NumberedRow, chunks
from pipeline.data.readers.json_values import as_object, parse
from pipeline.data.readers.record_batches import numbered_rows


def read(file: Path, data: Data, warnings: list[str]) -> Iterator[NumberedRow | pa.RecordBatch]:
    """The object on each line; blank lines are skipped.

    Raises:
        UserError: a line is not a JSON object.
    """
    begins = 1
    for chunk in chunks(file, data):
        lines = chunk.splitlines()  # of bytes: JSON may contain U+2028
        numbers = [number for number, line in enumerate(lines, begins) if not line.isspace() and line]
        rows = _objects(file, [lines[number - begins] for number in numbers], numbers)
        yield from numbered_rows(rows, numbers)
        begins += len(lines)


def _objects(file: Path, lines: Sequence[bytes], numbers: Sequence[int]) -> list[Any]:
    """The object on each of `lines`. They are parsed as one list, which is faster; what is wrong with a line shows when
    each is parsed alone."""
    try:
        found = json.loads(b"[" + b",".join(lines) + b"]")
    except (ValueError, RecursionError):
        found = []
    if len(found) == len(lines) and all(type(value) is dict for value in found):
        return found
    return [
        as_object(file, number, parse(file, number, line.decode().strip()))
        for number, line in zip(numbers, lines, strict=True)
    ]
