"""Files of the annotation tool that data.format names: JSON, JSON lines, DocBin or a folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from pipeline.config.data import Data
from pipeline.config.files.detection import head_of
from pipeline.data.annotations import brat, spacy
from pipeline.data.readers import json_lines, json_objects
from pipeline.data.readers.common import NumberedRow
from pipeline.errors import UserError


def _start(file: Path, data: Data) -> str:
    """What a file begins with, unpacked and decoded."""
    return head_of(file, data.encoding).text.lstrip()


def read(file: Path, data: Data, warnings: list[str]) -> Iterator[NumberedRow | pa.RecordBatch]:
    """Rows of a JSON file, or of one with a JSON value on each line.

    Raises:
        UserError: it is neither, or a row is malformed.
    """
    # A list may be the whole file, or a pair on the first of many lines.
    first, _, rest = _start(file, data).partition("\n")
    is_list = first.startswith("[") and not (rest.lstrip().startswith("[") and first.rstrip().endswith("]"))
    reader = json_objects.read_json if is_list else json_lines.read
    yield from reader(file, data, warnings)


def read_spacy(file: Path, data: Data, warnings: list[str]) -> Iterator[NumberedRow | pa.RecordBatch]:
    """Rows of spaCy: JSON or, if the file does not begin like it, a DocBin.

    Raises:
        UserError: it is neither, or a row is malformed.
    """
    is_text = _start(file, data).startswith(("[", "{"))
    yield from (read if is_text else spacy.read)(file, data, warnings)


def read_brat(folder: Path, data: Data, warnings: list[str]) -> Iterator[NumberedRow | pa.RecordBatch]:
    """A row for each text of a folder.

    Raises:
        UserError: it is a file, or a span is malformed.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: brat needs the folder of the .txt and .ann files; set data.source to it")
    yield from brat.read(folder, data, warnings)
