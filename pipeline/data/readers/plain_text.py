"""Plain text (.txt): each line is a row."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pipeline.config.data import Data
from pipeline.data.readers.common import NumberedRow, lines


def read(file: Path, data: Data, warnings: list[str]) -> Iterator[NumberedRow]:
    """Every line, blank ones too: they count in a running text.

    Raises:
        UserError: the file is not UTF-8 text.
    """
    for number, line in lines(file):
        yield number, {"text": line.rstrip("\r\n")}
