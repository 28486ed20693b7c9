"""How a table as text is written: its separator, its quoting and its header, from the settings or from the file."""

from __future__ import annotations

import collections
import csv
import io
import itertools
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pipeline.config.data import Data
from pipeline.data.readers import headers, quoting, separators
from pipeline.data.readers.common import UTF8, chunks, encoding_of
from pipeline.data.readers.quotes import BLANK, MARK, Escapes, Marks, Piece, is_spaced, marks_in, piece_of
from pipeline.errors import UserError

HEAD_BYTES = 1 << 17
ROWS_OF_HEAD = 1000
# Around a name: blanks, a byte order mark in the middle of a file, a no-break space.
SPACES = " \t\ufeff\xa0"


class Row(NamedTuple):
    """A row: the line that it begins on, counted from 0, the line after it, and its fields."""

    line: int
    stop: int
    fields: list[str]


class Dialect(NamedTuple):
    """How a table is written.

    Attributes:
        separator: between the columns.
        quoted: whether quotation marks enclose fields.
        escapes: what a backslash escapes.
        spaced: whether one blank may precede a quoted field.
        multiline: whether a row may have more than one line.
        names: of the columns; "" for those without one.
        first_line: where the rows begin, from 1.
        header: whether the names come from the file.
    """

    separator: str
    quoted: bool = True
    escapes: Escapes = "nothing"
    spaced: bool = False
    multiline: bool = True
    names: tuple[str, ...] = ()
    first_line: int = 1
    header: bool = True

    @property
    def byte(self) -> int:
        """The separator as a byte."""
        return ord(self.separator)

    def rows_of(self, content: bytes) -> Iterator[Row]:
        """The rows of `content`, which begins with one; blank lines are left out."""
        csv.field_size_limit(sys.maxsize)
        reader = csv.reader(
            io.StringIO(self.standard(content).decode(UTF8), newline=""),
            delimiter=self.separator,
            quoting=csv.QUOTE_MINIMAL if self.quoted else csv.QUOTE_NONE,
            escapechar="\\" if self.escapes == "all" else None,
        )
        begins = 0
        for fields in reader:
            if fields and (len(fields) > 1 or len(self.names) == 1 or fields[0].strip()):
                yield Row(begins, reader.line_num, [own.lstrip(" ") for own in fields] if self.spaced else fields)
            begins = reader.line_num

    def standard(self, content: bytes) -> bytes:
        """`content` as Arrow and Python's csv module read it, of the same length.

        Escaped marks are doubled, if a backslash escapes nothing else, and blanks before a quoted field are in it.
        """
        if not (self.spaced or self.escapes == "marks") or b'"' not in content:
            return content
        piece = piece_of(content, self.byte, self.escapes)
        marks = self.marks_in(piece)
        changed = np.frombuffer(content, np.uint8).copy()
        if self.spaced:
            shifted = marks.starts[marks.opens & ~marks.before & is_spaced(piece.bytes, marks.starts)]
            changed[shifted], changed[shifted - 1] = BLANK, MARK
        else:
            changed[piece.escaped[marks.inside(piece.escaped, inside=False)] - 1] = MARK
        return changed.tobytes()

    def marks_in(self, piece: Piece) -> Marks:
        """The quotation marks of whole rows."""
        return marks_in(piece, self.byte, inside=False, spaced=self.spaced)


def decide(file: Path, data: Data, warnings: list[str], own: str) -> Dialect:
    """How `file` is written. What is not obvious is added to `warnings`.

    Args:
        own: the separator that the format of the file expects.

    Raises:
        UserError: no reading makes sense, or more than one; the message names the settings that decide.
    """
    head, is_whole = _head(file, data)
    lines = io.StringIO(head.decode(UTF8), newline="").readlines()
    declared = separators.declared(lines[0]) if lines else None
    skipped = int(declared is not None)
    while skipped < len(lines) and not lines[skipped].strip():
        skipped += 1
    if lines[skipped:] and (comments := separators.comments_before(lines[skipped:])):
        skipped += comments
        warnings.append(f"{file}: {comments} comment{'s' * (comments > 1)} before the table left out")
    text = "".join(lines[skipped:])
    if not text:
        raise UserError(f"{file}:1: no header; the first line must name the columns, such as text{own}label")
    separator = separators.chosen(data) or declared or separators.detect(file, text, own)
    encoding = encoding_of(file, data)
    if encoding != UTF8 and data.encoding is None:
        warnings.append(f"{file}: its encoding is {encoding}")
    if separator == separators.ALONE:
        warnings.append(f"{file}: one column, whose texts contain {separators.named(own)[1]}")
    elif separator != own and not (data.separator or declared):
        warnings.append(f"{file}: the columns are separated by {separators.named(separator)[1]}")
    found = quoting.decide(quoting.Table(file, data, text, separator, skipped), warnings)
    dialect = Dialect(separator, *found, first_line=skipped + 1)
    rows = list(itertools.islice(dialect.rows_of(text.encode(UTF8)), ROWS_OF_HEAD))
    if not is_whole and len(rows) > 1:
        rows.pop()  # it may have been cut off
    return _with_names(file, data, warnings, dialect, rows)


def _head(file: Path, data: Data) -> tuple[bytes, bool]:
    """The first lines of a file, of up to `HEAD_BYTES` if the first one is not longer, and whether that is all."""
    head, rest = b"", chunks(file, data)
    for chunk in rest:
        head += chunk
        if len(head) > HEAD_BYTES:
            break
    end = max(head.rfind(b"\n", 0, HEAD_BYTES), head.rfind(b"\r", 0, HEAD_BYTES)) + 1
    if len(head) > HEAD_BYTES and end:
        return head[:end], False
    return head, next(rest, None) is None


def _with_names(file: Path, data: Data, warnings: list[str], dialect: Dialect, rows: list[Row]) -> Dialect:
    fields = [row.fields for row in rows]
    header = headers.has_header(fields) if data.header is None else data.header
    at = dialect.first_line
    if header is None:
        raise UserError(f"{file}:{at}: this may be the header, or a row; set data.header to true or false")
    if not header:
        if data.header is None:
            warnings.append(f"{file}: no header; columns are numbered from 1")
        width = collections.Counter(map(len, fields)).most_common(1)[0][0]
        return dialect._replace(names=tuple(str(number) for number in range(1, width + 1)), header=False)
    names = headers.fitted([name.strip(SPACES) for name in fields[0]], fields[1:])
    _check(file, at, names, dialect.separator)
    return dialect._replace(names=tuple(names), first_line=at + rows[0].stop)


def _check(file: Path, line: int, names: Sequence[str], separator: str) -> None:
    if not any(names):
        raise UserError(f"{file}:{line}: no header; the first line must name the columns, such as text{separator}label")
    doubled = [name for name in names if name and names.count(name) > 1]
    if doubled:
        raise UserError(f"{file}:{line}: two columns are called {doubled[0]!r}; rename one")
