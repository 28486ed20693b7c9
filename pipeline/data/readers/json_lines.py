"""JSON lines (.jsonl): an object on each line, parsed many lines at a time."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline.config.data import Data
from pipeline.data.readers.common import NumberedRow, Row, chunks
from pipeline.data.readers.json_values import as_object, as_text, is_annotated, parse
from pipeline.data.readers.record_batches import numbered_rows
from pipeline.errors import UserError

# Makes a row of the value on a line; gets the file and the number of the line, for messages.
AsRow = Callable[[Path, int, Any], Row]


def read(file: Path, data: Data, warnings: list[str]) -> Iterator[NumberedRow | pa.RecordBatch]:
    """The object on each line; blank lines are skipped. Lists of values are rows whose columns have numbers from 1.

    Raises:
        UserError: a line is not a JSON object, or not like the first.
    """
    begins, as_row = 1, None
    for chunk in chunks(file, data):
        lines = chunk.splitlines()  # of bytes: JSON may contain U+2028
        numbers = [number for number, line in enumerate(lines, begins) if line.strip()]
        begins += len(lines)
        if not numbers:
            continue
        found = [line for line in lines if line.strip()]
        as_row = as_row or _kind(parse(file, numbers[0], found[0].decode().strip()))
        yield from numbered_rows(_rows(file, found, numbers, as_row), numbers)


def _kind(first: Any) -> AsRow:
    """What makes a row of a value like `first`."""
    if isinstance(first, list) and not is_annotated(first):
        return functools.partial(_numbered, len(first))
    return as_text if isinstance(first, str) else as_object


def _numbered(width: int, file: Path, number: int, value: Any) -> Row:
    if not isinstance(value, list) or len(value) != width:
        found = f"{len(value)} values" if isinstance(value, list) else "no list"
        raise UserError(f"{file}:{number}: {found}, but the first line has a list of {width}")
    return {str(place): item for place, item in enumerate(value, start=1)}


def _rows(file: Path, lines: Sequence[bytes], numbers: Sequence[int], as_row: AsRow) -> list[Row]:
    """The row on each of `lines`. They are parsed as one list, which is faster; what is wrong with a line shows when
    each is parsed alone."""
    try:
        found = json.loads(b"[" + b",".join(lines) + b"]")
    except (ValueError, RecursionError):
        found = []
    if as_row is as_object and len(found) == len(lines) and all(type(value) is dict for value in found):
        return found
    return [
        as_row(file, number, parse(file, number, line.decode().strip()))
        for number, line in zip(numbers, lines, strict=True)
    ]
