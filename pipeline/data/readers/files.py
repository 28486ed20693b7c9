"""Local files to rows, one at a time: csv, tsv, json, jsonl, txt, parquet and columns, each row with its line."""

from __future__ import annotations

import codecs
import csv
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.config.paths import DATA_SUFFIXES
from pipeline.data.readers.conll import Columns
from pipeline.errors import UserError, reason, suggest

Row = dict[str, Any]

PARQUET_ROWS = 1024
CHUNK_BYTES = 1 << 20
UTF8_BOM = codecs.BOM_UTF8
# What other kinds of file begin with: a wrong extension is a commoner mistake than a broken file.
SIGNATURES = {
    b"PK\x03\x04": "a zip archive (or an Office document)",
    b"\x1f\x8b": "compressed with gzip",
    b"PAR1": "a parquet file",
    b"%PDF": "a PDF",
    codecs.BOM_UTF32_LE: "UTF-32 text",  # it begins as UTF-16 does
    codecs.BOM_UTF16_LE: "UTF-16 text",
    codecs.BOM_UTF16_BE: "UTF-16 text",
}


def read(file: Path, notes: list[str] | None = None) -> Iterator[tuple[int, Row]]:
    """Rows of `file` with the number of the line (of parquet and .json: of the row) that each begins on.

    Args:
        notes: gets what a reader has to tell of the file when all of it is read.

    Raises:
        UserError: the file is missing, of an unknown or another kind, not UTF-8, or has a malformed row.
    """
    reader = READERS.get(file.suffix.lower())
    if reader is None:
        raise UserError(f"{file}: {file.suffix or 'a file without extension'} cannot be read{suggest('', READERS)}")
    if not file.is_file():
        raise UserError(f"{file}: there is no such file")
    try:
        _check_signature(file)
        rows = reader(file)
        yield from rows
        if notes is not None:
            notes += getattr(rows, "notes", [])
    except OSError as error:
        raise UserError(f"{file}: cannot be read: {error.strerror or error}") from error


def _check_signature(file: Path) -> None:
    with file.open("rb") as stream:
        start = stream.read(4)
    if not start:
        raise UserError(f"{file}: the file is empty")
    for signature, kind in SIGNATURES.items():
        if start.startswith(signature) and not (signature == b"PAR1" and file.suffix.lower() == ".parquet"):
            raise UserError(f"{file}: this is {kind}, at byte 0; give it as UTF-8 {file.suffix}")


def lines(file: Path) -> Iterator[tuple[int, str]]:
    """Lines of a UTF-8 file, with or without BOM, numbered from 1, their ends (LF, CRLF or CR) kept.

    Raises:
        UserError: a byte is not UTF-8, or is NUL; the message has its position in the file.
    """
    number, position, pending = 1, 0, b""
    with file.open("rb") as stream:
        while chunk := stream.read(CHUNK_BYTES):
            pending += chunk
            *complete, pending = pending.splitlines(keepends=True)
            # CRLF must not be split between two chunks, and other line ends than LF are only text here.
            if pending.endswith((b"\n", b"\r")) and not pending.endswith(b"\r"):
                complete, pending = [*complete, pending], b""
            for line in complete:
                yield number, _decode(line, file, position)
                number, position = number + 1, position + len(line)
    if pending:
        yield number, _decode(pending, file, position)


def _decode(line: bytes, file: Path, position: int) -> str:
    if position == 0:
        line = line.removeprefix(UTF8_BOM)
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{file}: not UTF-8 at byte {position + error.start} (0x{line[error.start]:02x}); convert the file to UTF-8"
        ) from error
    if "\0" in text:
        raise UserError(f"{file}: a NUL at byte {position + line.index(0)}; the file is not text")
    return text


def _csv(file: Path) -> Iterator[tuple[int, Row]]:
    return _delimited(file, ",")


def _tsv(file: Path) -> Iterator[tuple[int, Row]]:
    return _delimited(file, "\t")


def _delimited(file: Path, delimiter: str) -> Iterator[tuple[int, Row]]:
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
                    f"{file}:{begins}: {len(fields)} fields, but the header has {len(header)}; quote fields that hold"
                    f" {'a tab' if delimiter == chr(9) else 'a comma'} or a line break"
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
    for other, name in {",": "commas", "\t": "tabs", ";": "semicolons"}.items():
        if len(header) == 1 and other != delimiter and other in header[0]:
            raise UserError(
                f"{file}:1: the columns are separated by {name}, not by {'tabs' if delimiter == chr(9) else 'commas'}"
                f"{'; rename it to .tsv' if other == chr(9) else ''}{'; rename it to .csv' if other == ',' else ''}"
            )


def _jsonl(file: Path) -> Iterator[tuple[int, Row]]:
    for number, line in lines(file):
        if line.strip():
            yield number, _object(file, number, _parse(file, number, line.strip()))


def _json(file: Path) -> Iterator[tuple[int, Row]]:
    values = _parse(file, 1, _decode(file.read_bytes(), file, 0))
    if isinstance(values, dict):  # {"data": [...]}: the one list in it
        lists = [value for value in values.values() if isinstance(value, list)]
        values = lists[0] if len(lists) == 1 else values
    if not isinstance(values, list):
        raise UserError(f'{file}: expected a list of objects, such as [{{"text": ..., "label": ...}}]')
    for number, value in enumerate(values, start=1):
        yield number, _object(file, number, value)


def _parse(file: Path, number: int, text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        place = f"{file}:{number + error.lineno - 1}"
        extra = ""
        if error.msg == "Extra data" and file.suffix.lower() == ".json":
            extra = "; if each line is an object of its own, rename the file to .jsonl"
        raise UserError(f"{place}: not JSON at column {error.colno}: {error.msg}{extra}") from error
    except RecursionError as error:
        raise UserError(f"{file}:{number}: JSON nested too deeply") from error
    except ValueError as error:  # a number of thousands of digits
        raise UserError(f"{file}:{number}: not JSON: {reason(error)}") from error


def _object(file: Path, number: int, value: Any) -> Row:
    if not isinstance(value, dict):
        raise UserError(f"{file}:{number}: expected an object with named fields, found {json.dumps(value)[:40]}")
    return value


def _txt(file: Path) -> Iterator[tuple[int, Row]]:
    for number, line in lines(file):
        yield number, {"text": line.rstrip("\r\n")}


def _parquet(file: Path) -> Iterator[tuple[int, Row]]:
    number = 0
    try:
        with pq.ParquetFile(file) as table:
            names = table.schema_arrow.names
            doubled = [name for name in names if names.count(name) > 1]
            if doubled:
                raise UserError(f"{file}: two columns are called {doubled[0]!r}; rename one")
            for batch in table.iter_batches(PARQUET_ROWS):
                for row in _as_text(batch).to_pylist():
                    number += 1
                    yield number, row
    except UserError:
        raise
    except (pa.ArrowException, ValueError, OSError) as error:  # Arrow raises OSError for damaged bytes, too
        raise UserError(f"{file}: not a readable parquet file after row {number}: {reason(error)}") from error


def _as_text(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Moments and spans of time as Arrow writes them: Python's own types hold fewer of them."""
    columns = [column.cast(pa.string()) if pa.types.is_temporal(column.type) else column for column in batch.columns]
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)


def _columns(file: Path) -> Columns:
    return Columns(lines(file), str(file))


def class_names(file: Path) -> dict[str, list[str]]:
    """Column -> names of its classes, where `datasets` has written the parquet file and noted them there."""
    if file.suffix.lower() != ".parquet":
        return {}
    try:
        noted = (pq.read_schema(file).metadata or {}).get(b"huggingface", b"{}")
        features = json.loads(noted).get("info", {}).get("features", {})
    except (pa.ArrowException, ValueError, OSError):
        return {}  # reading the rows says what is wrong with the file
    kinds = {column: kind.get("feature", kind) for column, kind in features.items() if isinstance(kind, dict)}
    return {column: kind["names"] for column, kind in kinds.items() if kind.get("_type") == "ClassLabel"}


READERS: dict[str, Callable[[Path], Iterable[tuple[int, Row]]]] = {
    ".csv": _csv,
    ".tsv": _tsv,
    ".json": _json,
    ".jsonl": _jsonl,
    ".txt": _txt,
    ".parquet": _parquet,
    ".conll": _columns,
    ".bmes": _columns,
}
assert tuple(READERS) == DATA_SUFFIXES
