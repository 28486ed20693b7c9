"""Tables as text (.csv, .tsv), read in bulk by Arrow."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from pipeline.config.data import Data
from pipeline.data.readers import dialect as dialects
from pipeline.data.readers.common import LINE, chunks
from pipeline.data.readers.dialect import Dialect
from pipeline.data.readers.quotes import CR, Piece, is_end, piece_of
from pipeline.data.readers.quoting import after
from pipeline.data.readers.separators import named
from pipeline.errors import UserError, listing


def read_csv(file: Path, data: Data, warnings: list[str]) -> Iterator[pa.RecordBatch]:
    """Rows of a table with commas between the columns, unless the file shows otherwise; see `_read`."""
    return _read(file, data, warnings, ",")


def read_tsv(file: Path, data: Data, warnings: list[str]) -> Iterator[pa.RecordBatch]:
    """Rows of a table with tabs between the columns, unless the file shows otherwise; see `_read`."""
    return _read(file, data, warnings, "\t")


def _read(file: Path, data: Data, warnings: list[str], own: str) -> Iterator[pa.RecordBatch]:
    """Rows as batches: the columns that have a name (string), and `LINE`. Blank lines are left out.

    Raises:
        UserError: the file can be read in no way, or in more than one, or a row has too many or too few fields.
        OSError: the file cannot be read.
    """
    dialect = dialects.decide(file, data, warnings, own)
    table = _Table(file, dialect)
    repeated = 0
    for content, piece, line in _blocks(after(chunks(file, data), dialect.first_line - 1), dialect):
        batch = table.in_bulk(content, piece, line) or table.row_by_row(content, line)
        rows = _without_headers(batch) if dialect.header else batch
        repeated += batch.num_rows - rows.num_rows
        if rows.num_rows:
            yield rows
    if repeated:
        warnings.append(f"{file}: {repeated} more {'header' if repeated == 1 else 'headers'} in the file left out")
    if table.left_out:
        which = (
            f"column{'s' * (len(table.left_out) > 1)} {listing([str(place + 1) for place in sorted(table.left_out)])}"
        )
        warnings.append(f"{file}: {which} without a name left out")


def _without_headers(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Rows that are not the header again, as in files that were joined."""
    same = pc.equal(batch.column(0), batch.schema.names[0])
    if not same.true_count:
        return batch
    for name in batch.schema.names[1:-1]:
        same = pc.and_(same, pc.equal(batch.column(name), name))
    return batch.filter(pc.invert(same))


def _blocks(pieces: Iterator[bytes], dialect: Dialect) -> Iterator[tuple[bytes, Piece, int]]:
    """Whole rows: as they are, for analysis, and the line of the first one."""
    line, pending = dialect.first_line, b""
    for chunk in pieces:
        content, pending = pending + chunk, b""
        piece = piece_of(content, dialect.byte, dialect.escapes)
        if dialect.multiline:
            ends = piece.ends[_ends_row(piece, dialect)]
            stop = int(ends[-1]) + 1 if len(ends) else 0
            if stop < len(content):
                content, pending = content[:stop], content[stop:]
                piece = piece_of(content, dialect.byte, dialect.escapes)
        if content:
            yield content, piece, line
        line += len(piece.ends)
    if pending:  # a field is still open, which the survey of the whole file has refused, unless the file has changed
        yield pending, piece_of(pending, dialect.byte, dialect.escapes), line


def _ends_row(piece: Piece, dialect: Dialect) -> np.ndarray:
    """Whether each of the line ends in `piece` ends a row."""
    if not dialect.multiline:
        return np.ones(len(piece.ends), np.bool_)
    return is_end(piece, piece.ends) & ~dialect.marks_in(piece).inside(piece.ends, inside=False)


def _lines_of_rows(piece: Piece, dialect: Dialect) -> np.ndarray:
    """The line of each row that is not blank, counted from 0."""
    last = np.flatnonzero(_ends_row(piece, dialect))
    first = np.concatenate([[0], last + 1])[: len(last)]
    starts = np.concatenate([[0], piece.ends + 1])[first]
    sizes = piece.ends[last] - starts
    only_cr = (sizes == 1) & (piece.bytes[np.minimum(starts, len(piece.bytes) - 1)] == CR)
    return first[(sizes > 0) & ~only_cr]


class _Table:
    """Makes batches of whole rows of a file.

    Attributes:
        left_out: places, from 0, of the columns that have values but no name.
    """

    def __init__(self, file: Path, dialect: Dialect):
        self.file, self.dialect = file, dialect
        self.left_out: set[int] = set()
        # A nameless column needs a name of its own while Arrow reads it.
        names = [name or f"\0{place}" for place, name in enumerate(dialect.names)]
        self.read = {"use_threads": False, "column_names": names}
        self.parse = csv.ParseOptions(
            delimiter=dialect.separator,
            quote_char='"' if dialect.quoted else False,
            escape_char="\\" if dialect.escapes == "all" else False,
            newlines_in_values=dialect.multiline,
        )
        self.convert = csv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.string()),
            check_utf8=False,  # `chunks` has checked it
        )

    def in_bulk(self, content: bytes, piece: Piece, line: int) -> pa.RecordBatch | None:
        """The rows of `content`, which begins at `line`, or None if Arrow finds one of the wrong width."""
        source = pa.BufferReader(self.dialect.standard(content))
        options = csv.ReadOptions(block_size=len(content) + 1, **self.read)
        try:
            table = csv.read_csv(source, options, self.parse, self.convert)
        except pa.ArrowInvalid:
            return None
        if table.num_rows == len(piece.ends):
            lines = np.arange(line, line + table.num_rows)
        else:
            lines = _lines_of_rows(piece, self.dialect) + line
        if table.num_rows != len(lines):
            return None
        columns = [column.combine_chunks() for column in table.columns]
        if self.dialect.spaced:
            columns = [pc.utf8_ltrim(column, " ") for column in columns]
        return self._batch(columns, lines)

    def row_by_row(self, content: bytes, line: int) -> pa.RecordBatch:
        """The same with rows that lack empty columns, or have too many of them.

        Raises:
            UserError: a row has too many or too few fields.
        """
        rows = [(line + row.line, self._fitted(line + row.line, row.fields)) for row in self.dialect.rows_of(content)]
        columns = list(zip(*(fields for _, fields in rows), strict=True)) or [()] * len(self.dialect.names)
        arrays = [pa.array(column, pa.string()) for column in columns]
        return self._batch(arrays, np.array([number for number, _ in rows], np.int64))

    def _fitted(self, line: int, fields: list[str]) -> list[str]:
        names = self.dialect.names
        if any(field.strip() for field in fields[len(names) :]) or any(names[len(fields) :]):
            raise UserError(self._ragged(line, len(fields)))
        return fields[: len(names)] + [""] * (len(names) - len(fields))

    def _ragged(self, line: int, found: int) -> str:
        expected = len(self.dialect.names)
        others = "the header has" if self.dialect.header else "most rows have"
        a_separator, separators = named(self.dialect.separator)
        quote = "quote fields that contain" if self.dialect.quoted else "nothing is quoted, so no field may contain"
        return (
            f"{self.file}:{line}: {found} field{'s' * (found != 1)}, but {others} {expected}, separated by"
            f" {separators}; {quote} {a_separator} or a line break, or set data.separator or data.quoting"
        )

    def _batch(self, columns: Sequence[pa.Array], lines: np.ndarray) -> pa.RecordBatch:
        named = {}
        for place, (name, column) in enumerate(zip(self.dialect.names, columns, strict=True)):
            if name:
                named[name] = column
            elif place not in self.left_out and (pc.max(pc.binary_length(column)).as_py() or 0) > 0:
                self.left_out.add(place)
        return pa.RecordBatch.from_pydict(named | {LINE: pa.array(lines, pa.int64())})
