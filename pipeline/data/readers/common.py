"""What readers share: numbered lines of UTF-8 text, the signatures of other kinds of files, and what a row is."""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from pipeline.config.data import Data
from pipeline.errors import UserError

if TYPE_CHECKING:
    import pyarrow as pa

Row = dict[str, Any]
NumberedRow = tuple[int, Row]


class Reader(Protocol):
    """Yields the rows of a file, one by one or in batches; see the docstring of the package."""

    def __call__(self, file: Path, data: Data, warnings: list[str], /) -> Iterable[NumberedRow | pa.RecordBatch]: ...


# Names that no column has. Of the column (int64) of a record batch with the line, or number, of each row:
LINE = "\0line"
# Of what keeps the line of each word of a row: a key of a row, a column (lists of int64) of a record batch.
WORD_LINES = "\0lines"

CHUNK_BYTES = 1 << 20
# What files of other kinds begin with, and the format that reads them, if any: a wrong suffix is more common than a
# broken file.
SIGNATURES = {
    b"PK\x03\x04": ("a zip archive (or an Office document)", None),
    b"\x1f\x8b": ("compressed with gzip", None),
    b"PAR1": ("a parquet file", "parquet"),
    b"%PDF": ("a PDF", None),
    codecs.BOM_UTF32_LE: ("UTF-32 text", None),  # before UTF-16, which begins with the same two bytes
    codecs.BOM_UTF16_LE: ("UTF-16 text", None),
    codecs.BOM_UTF16_BE: ("UTF-16 text", None),
}


def check_signature(file: Path, format: str) -> None:
    """Refuse an empty file, and one that begins like a file of another kind than `format`, such as .csv.

    Raises:
        UserError: as above.
        OSError: it cannot be read.
    """
    with file.open("rb") as stream:
        start = stream.read(max(map(len, SIGNATURES)))
    if not start:
        raise UserError(f"{file}: the file is empty")
    for signature, (kind, readable) in SIGNATURES.items():
        if start.startswith(signature) and readable != format:
            remedy = f"set data.format to {readable}" if readable else f"convert it to UTF-8 {format}"
            raise UserError(f"{file}: this is {kind}, at byte 0; {remedy}")


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
            # A chunk may end between CR and LF, so a CR at its end waits for the next one. bytes.splitlines knows no
            # other line ends, unlike str.splitlines: U+2028 and the like are part of a text here.
            if pending.endswith((b"\n", b"\r")) and not pending.endswith(b"\r"):
                complete, pending = [*complete, pending], b""
            for line in complete:
                yield number, decode(line, file, position)
                number, position = number + 1, position + len(line)
    if pending:
        yield number, decode(pending, file, position)


def decode(line: bytes, file: Path, position: int) -> str:
    """`line` as text; it begins at byte `position` of `file`.

    Raises:
        UserError: a byte is not UTF-8, or is NUL.
    """
    if position == 0:
        line = line.removeprefix(codecs.BOM_UTF8)
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{file}: not UTF-8 at byte {position + error.start} (0x{line[error.start]:02x}); convert the file to UTF-8"
        ) from error
    if "\0" in text:
        raise UserError(f"{file}: a NUL at byte {position + line.index(0)}; the file is not text")
    return text
