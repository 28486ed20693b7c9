"""What readers share: what a row is, the signatures of other kinds of files, and the lines of text files.

Every reader of text gets its bytes from `open_binary`, which unpacks compressed files, and its text from `chunks`,
`lines` or `text_of`, which read UTF-8, UTF-16 with a byte order mark, or what data.encoding names.
"""

from __future__ import annotations

import codecs
import io
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

from pipeline.config.archives import open_binary
from pipeline.config.data import Data
from pipeline.data.readers import charset
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
# What files of other kinds begin with: what they are, the format that reads them, and what else to do.
SIGNATURES = {
    b"PK\x03\x04": ("a zip archive (or an Office document)", None, "unpack it, or save the table as .csv"),
    b"PAR1": ("a parquet file", "parquet", ""),
    b"%PDF": ("a PDF", None, "convert it to text"),
}
TAR, TAR_AT = b"ustar", 257
# Byte order marks and the encodings that they announce. UTF-32 comes first: it begins with the same two bytes.
MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
UTF8 = "utf-8"


def check_signature(file: Path, format: str) -> None:
    """Refuse an empty file, and one that begins like a file of another kind than `format`, such as .csv.

    Raises:
        UserError: as above.
        OSError: it cannot be read.
    """
    with open_binary(file) as stream:
        start = stream.read(TAR_AT + len(TAR))
    if not start:
        raise UserError(f"{file}: the file is empty")
    for signature, (kind, readable, remedy) in SIGNATURES.items():
        if start.startswith(signature) and readable != format:
            raise UserError(f"{file}: this is {kind}; {remedy or f'set data.format to {readable}'}")
    if start[TAR_AT:] == TAR:
        raise UserError(f"{file}: this is a tar archive; unpack it")


def encoding_of(file: Path, data: Data | None = None) -> str:
    """The encoding of a text file: data.encoding, what a byte order mark announces, or UTF-8.

    Raises:
        UserError: Python does not know data.encoding.
        OSError: the file cannot be read.
    """
    if data is not None and data.encoding is not None:
        charset.check(data.encoding)
        name = codecs.lookup(data.encoding).name
        return UTF8 if name == "utf-8-sig" else name
    with open_binary(file) as stream:
        start = stream.read(4)
    return next((encoding for mark, encoding in MARKS.items() if start.startswith(mark)), UTF8)


def chunks(file: Path, data: Data | None = None, longest: int | None = None) -> Iterator[bytes]:
    """A text file as UTF-8 without byte order mark, in pieces of about `CHUNK_BYTES` that consist of whole lines.

    A line ends with LF, CRLF or CR. Its end is kept; the last line may have none.

    Args:
        longest: a piece may end after a blank in a line that has more bytes than this, so that memory does not grow
            with the length of a line; None: no piece ends in a line.

    Raises:
        UserError: a byte has no meaning in the encoding of the file, or is NUL; the message has its place.
        OSError: the file cannot be read.
    """
    encoding = encoding_of(file, data)
    position = 0
    with open_binary(file) as stream:
        pieces = _raw(stream) if encoding == UTF8 else _decoded(file, stream, encoding)
        for piece in _whole_lines(pieces, longest):
            if b"\0" in piece:
                raise UserError(charset.explain_nul(file, position + piece.index(b"\0"), piece))
            if encoding == UTF8:
                charset.check_utf8(file, piece, position)
            position += len(piece)
            yield piece.removeprefix(codecs.BOM_UTF8) if position == len(piece) else piece


def _raw(stream: BinaryIO) -> Iterator[bytes]:
    while piece := stream.read(CHUNK_BYTES):
        yield piece


def _decoded(file: Path, stream: BinaryIO, encoding: str) -> Iterator[bytes]:
    """Text in another encoding as UTF-8."""
    decoder = codecs.getincrementaldecoder(encoding)()
    read = 0
    while True:
        piece = stream.read(CHUNK_BYTES)
        if not read and charset.is_surely_utf8(piece):
            raise UserError(f"{file}: it is UTF-8, which data.encoding {encoding} would garble; remove this setting")
        read += len(piece)
        try:
            text = decoder.decode(piece, final=not piece)
        except UnicodeError as error:
            # Without a mark, UTF-16 and UTF-32 say nothing of the place before Python 3.13.
            if not isinstance(error, UnicodeDecodeError) or "BOM" in error.reason:
                raise UserError(
                    f"{file}: it has no byte order mark, so it may not be {encoding}; remove data.encoding, or set it"
                    f" to {encoding}-le or {encoding}-be"
                ) from error
            place = read - len(error.object) + error.start
            raise UserError(charset.explain(file, place, error.object[error.start], encoding)) from error
        if text:
            yield text.encode(UTF8)
        if not piece:
            return


def _whole_lines(pieces: Iterable[bytes], longest: int | None = None) -> Iterator[bytes]:
    """The same bytes, cut only after line ends. A CR at the end of a piece waits: LF may follow.

    A line of more than `longest` bytes is also cut after a blank, or between two characters if it has none.
    """
    pending: list[bytes] = []
    for piece in pieces:
        if pending and pending[-1].endswith(b"\r") and not piece.startswith(b"\n"):
            yield b"".join(pending)
            pending = []
        end = max(piece.rfind(b"\n"), piece.rfind(b"\r", 0, -1)) + 1
        if end:
            yield b"".join([*pending, piece[:end]])
            pending = []
        if piece[end:]:
            pending.append(piece[end:])
        if longest and sum(map(len, pending)) > longest + 1:  # CR may be the end of the line
            line = b"".join(pending)
            end = _last_cut(line)
            yield line[:end]
            pending = [line[end:]] if line[end:] else []
    if pending:
        yield b"".join(pending)


def _last_cut(line: bytes) -> int:
    """Where a line that goes on can be cut: after its last blank, or before its last character."""
    blank = line.rfind(b" ")
    end = blank + 1 if blank >= 0 else len(line) - 1
    while 1 < end < len(line) and line[end] & 0xC0 == 0x80:  # inside a character of UTF-8
        end -= 1
    return end


def lines(file: Path, data: Data | None = None) -> Iterator[tuple[int, str]]:
    """Lines of a text file, numbered from 1, their ends (LF, CRLF or CR) kept. U+2028 and the like end no line.

    Raises:
        UserError, OSError: see `chunks`.
    """
    number = 1
    for chunk in chunks(file, data):
        # Unlike str.splitlines, a text stream knows no other line ends than these three.
        for line in io.StringIO(chunk.decode(UTF8), newline=""):
            yield number, line
            number += 1


def text_of(file: Path, data: Data | None = None) -> str:
    """The whole text of a file.

    Raises:
        UserError, OSError: see `chunks`.
    """
    return b"".join(chunks(file, data)).decode(UTF8)
