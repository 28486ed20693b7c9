"""Tables as text (.csv, .tsv): a header with the column names, and quoted fields that may contain line breaks."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator
from pathlib import Path

from pipeline.config.data import Data
from pipeline.data.readers.common import NumberedRow, lines
from pipeline.errors import UserError

# Delimiter -> its name in messages, singular and plural, and the format that expects it, if any.
DELIMITERS = {
    ",": ("a comma", "commas", "csv"),
    "\t": ("a tab", "tabs", "tsv"),
    ";": ("a semicolon", "semicolons", None),
}


def read_csv(file: Path, data: Data, warnings: list[str]) -> Iterator[NumberedRow]:
    """Rows of a table with commas between the columns; see `_read`."""
    return _read(file, ",")


def read_tsv(file: Path, data: Data, warnings: list[str]) -> Iterator[NumberedRow]:
    """Rows of a table with tabs between the columns; see `_read`."""
    return _read(file, "\t")


def _read(file: Path, delimiter: str) -> Iterator[NumberedRow]:
    """Rows by the names in the header; blank lines are skipped.

    Raises:
        UserError: there is no usable header, or a row has too many or too few fields or an open quote.
    """
    csv.field_size_limit(sys.maxsize)
    reader = csv.reader((line for _, line in lines(file)), delimiter=delimiter, strict=True)
    begins = 1
    try:
        header = [name.strip() for name in next(reader, [])]
        _check_header(file, header, delimiter)
        begins = reader.line_num + 1
        for fields in reader:
            if fields and len(fields) != len(header):
                raise UserError(
                    f"{file}:{begins}: {len(fields)} fields, but the header has {len(header)}; quote fields that"
                    f" contain {DELIMITERS[delimiter][0]} or a line break"
                )
            if fields:
                yield begins, dict(zip(header, fields, strict=True))
            begins = reader.line_num + 1
    except csv.Error as error:
        raise UserError(f"{file}:{begins}: {error}; check the quotes from this line on") from error


def _check_header(file: Path, header: list[str], delimiter: str) -> None:
    if not any(header):
        raise UserError(f"{file}:1: no header; the first line must name the columns, such as text{delimiter}label")
    if "" in header:
        raise UserError(f"{file}:1: column {header.index('') + 1} has no name")
    doubled = [name for name in header if header.count(name) > 1]
    if doubled:
        raise UserError(f"{file}:1: two columns are called {doubled[0]!r}; rename one")
    for other, (_, found, format) in DELIMITERS.items():
        if len(header) == 1 and other != delimiter and other in header[0]:
            expected = DELIMITERS[delimiter][1]
            remedy = f"; rename it to .{format} or set data.format to {format}" if format else ""
            raise UserError(f"{file}:1: the columns are separated by {found}, not by {expected}{remedy}")
