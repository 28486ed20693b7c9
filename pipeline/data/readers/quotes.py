"""Quotation marks of a table: where fields begin and end under each way of quoting, in bulk.

A quotation mark at the beginning of a field opens it, and the next one that is not written twice closes it. Marks
elsewhere in an unquoted field are part of the text. So a run of marks acts on the state "inside a quoted field" in one
of three ways, which numpy can chain for a whole piece of a file:

* an even number of marks changes nothing (a doubled mark inside, an empty field outside);
* an odd number at the beginning of a field swaps inside and outside;
* an odd number elsewhere leads outside: it closes a field, or is text.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

MARK, BACKSLASH, LF, CR, BLANK, LETTER = b'"\\\n\r x'
# What a backslash escapes: nothing, only quotation marks (R), or any character that has a meaning (Python, Java).
Escapes = Literal["nothing", "marks", "all"]
SAMPLES = 20
BLANKS = b" \t\r\n"

Bytes = npt.NDArray[np.uint8]
Places = npt.NDArray[np.intp]
Mask = npt.NDArray[np.bool_]


class Piece(NamedTuple):
    """Whole lines of a table, for analysis.

    Attributes:
        bytes: escaped characters are replaced by a letter, and a CR that ends a line by LF.
        ends: places of the line ends, those of escaped ones too; the end of the piece counts as one.
        escaped: places of the escaped characters.
        loose: number of backslashes before other characters than those with a meaning.
    """

    bytes: Bytes
    ends: Places
    escaped: Places
    loose: int = 0


class Marks(NamedTuple):
    """Runs of quotation marks in a piece, in order.

    Attributes:
        starts, lengths: place of the first mark, and number of marks.
        opens: whether the run begins at the beginning of a field.
        before, after: whether the run begins, and ends, inside a quoted field.
    """

    starts: Places
    lengths: Places
    opens: Mask
    before: Mask
    after: Mask

    def inside(self, places: Places, inside: bool) -> Mask:
        """Whether each of `places` is in a quoted field, if the piece begins `inside` one."""
        states = np.concatenate([[inside], self.after])
        return states[np.searchsorted(self.starts, places)]


def piece_of(chunk: bytes, separator: int, escapes: Escapes = "nothing") -> Piece:
    """`chunk`, which consists of whole lines, prepared for `marks_in`."""
    content = np.frombuffer(chunk, np.uint8)
    if b"\r" in chunk and chunk.count(b"\r") != chunk.count(b"\r\n"):
        content = content.copy()
        alone = content == CR
        alone[:-1] &= content[1:] != LF
        content[alone] = LF
    ends = np.flatnonzero(content == LF)
    if len(chunk) and (not len(ends) or ends[-1] != len(chunk) - 1):
        ends = np.append(ends, len(chunk))
    if escapes == "nothing" or b"\\" not in chunk:
        return Piece(content, ends, np.empty(0, np.intp))
    starts, lengths = _runs(content == BACKSLASH)
    escaped = (starts + lengths)[lengths % 2 == 1]
    escaped = escaped[escaped < len(content)]
    known = np.isin(content[escaped], [MARK] if escapes == "marks" else [MARK, separator, LF, CR])
    content = content.copy()
    content[escaped[known]] = LETTER
    return Piece(content, ends, escaped[known], int((~known).sum()))


def _runs(mask: Mask) -> tuple[Places, Places]:
    """Start and length of each run of True."""
    places = np.flatnonzero(mask)
    if not len(places):
        return places, places
    first = np.flatnonzero(np.concatenate([[True], np.diff(places) > 1]))
    return places[first], np.diff(np.append(first, len(places)))


def marks_in(piece: Piece, separator: int, inside: bool, spaced: bool = False) -> Marks:
    """The quotation marks of a piece that begins at the beginning of a line, `inside` a quoted field or not.

    Args:
        spaced: whether a field also begins after one blank, as in `1, "a text"`.
    """
    content = piece.bytes
    starts, lengths = _runs(content == MARK)
    opens = _begins_field(content, starts, separator)
    if spaced:
        opens |= is_spaced(content, starts) & _begins_field(content, starts - 1, separator)
    odd = lengths % 2 == 1
    swaps = np.cumsum(odd & opens)
    # The number of swaps up to the last run that leads outside.
    settled = np.maximum.accumulate(np.where(odd & ~opens, swaps, -1 if inside else 0))
    after = (swaps - settled) % 2 == 1
    return Marks(starts, lengths, opens, np.concatenate([[inside], after])[:-1], after)


def is_end(piece: Piece, ends: Places) -> Mask:
    """Whether each of `ends` does end a line, rather than being escaped."""
    within = ends < len(piece.bytes)
    return ~within | (piece.bytes[np.where(within, ends, 0)] == LF)


def _begins_field(content: Bytes, places: Places, separator: int) -> Mask:
    previous = content[np.maximum(places - 1, 0)]
    return (places <= 0) | (previous == separator) | (previous == LF)


def is_spaced(content: Bytes, places: Places) -> Mask:
    """Whether a blank precedes each of `places`."""
    return (places > 0) & (content[np.maximum(places - 1, 0)] == BLANK)


class Place(NamedTuple):
    """A line, from 1, and the number of fields in it."""

    line: int
    fields: int


@dataclass
class Survey:
    """What the quotation marks of a whole table look like if they are read as such, and if they are not.

    Attributes:
        separator: byte between the columns.
        width: number of columns.
        header_line: the line of the header, which may have another width.
        escapes: what a backslash escapes.
        spaced: whether a field also begins after one blank.
        lines: number of lines in the file.
        rows: number of lines that do not end inside a quoted field.
        quoted, doubled, escaped: number of quoted fields, of marks written twice in them, and of escaped characters.
        at_start: number of fields, between separators, that begin with a mark.
        in_text: number of marks in unquoted fields.
        escaped_ends: number of escaped line ends.
        loose: number of backslashes before other characters.
        broken: the first line with a quoted field that text follows, or 0.
        backslashed: whether a backslash stands before a mark or a separator.
        after_blank: whether a mark stands after a separator and a blank.
        opened: line of the last opening mark.
        inside: whether a field is open at the end of what has been read.
        ragged: the first line that does not have `width` fields if nothing is quoted.
        spread: number of lines of quoted fields of several lines; `whole` of them have `width` fields by themselves.
        multiline: lines that begin outside a quoted field and end inside one, and the other way round (True); the
            first `SAMPLES`.
    """

    separator: int
    width: int
    header_line: int = 1
    escapes: Escapes = "nothing"
    spaced: bool = False
    lines: int = 0
    rows: int = 0
    quoted: int = 0
    doubled: int = 0
    escaped: int = 0
    escaped_ends: int = 0
    at_start: int = 0
    in_text: int = 0
    loose: int = 0
    broken: int = 0
    backslashed: bool = False
    after_blank: bool = False
    opened: int = 0
    inside: bool = False
    ragged: Place | None = None
    spread: int = 0
    whole: int = 0
    multiline: list[tuple[bytes, bool]] = field(default_factory=list)

    def add(self, chunks: Iterable[bytes], skipped: int = 0) -> Survey:
        """Read all of a table, whose first line follows `skipped` others in its file."""
        self.lines = skipped
        for chunk in chunks:
            piece = piece_of(chunk, self.separator, self.escapes)
            self.escaped += len(piece.escaped)
            self.escaped_ends += int((~is_end(piece, piece.ends)).sum())
            self.loose += piece.loose
            if b"\\" in chunk:
                self.backslashed |= any(bytes([BACKSLASH, byte]) in chunk for byte in (MARK, self.separator, LF))
            spread = self._add_marks(piece, chunk)
            if not self.ragged or spread.any():
                self._add_widths(piece, spread, chunk)
            self.lines += len(piece.ends)
        return self

    def _add_marks(self, piece: Piece, chunk: bytes) -> Mask:
        """Whether each line belongs to a quoted field of several lines."""
        if b'"' not in chunk:
            self.rows += 0 if self.inside else len(piece.ends)
            return np.full(len(piece.ends), self.inside)
        marks = marks_in(piece, self.separator, self.inside, self.spaced)
        starts, lengths, opens, before, after = marks
        opening = opens & ~before
        closing = (before & ~after) | (opening & ~after)
        self.quoted += int(opening.sum())
        self.at_start += int(opens.sum())
        self.in_text += int((~before & ~opens).sum())
        spaced = is_spaced(piece.bytes, starts) & _begins_field(piece.bytes, starts - 1, self.separator)
        self.after_blank |= bool(spaced.any())
        # The first mark of a run outside opens the field; an odd number of what is left has a closing mark in it.
        self.doubled += int(((lengths - opening) // 2)[before | opening].sum())
        if opening.any():
            last = starts[np.flatnonzero(opening)[-1]]
            self.opened = self.lines + 1 + int(np.searchsorted(piece.ends, last))
        self._add_broken(piece, (starts + lengths)[closing])
        at_ends = marks.inside(piece.ends, self.inside)
        continues = np.concatenate([[self.inside], at_ends])[:-1]
        self.rows += int((~at_ends).sum())
        self._add_multiline(piece, chunk, np.flatnonzero(at_ends != continues), at_ends)
        self.inside = bool(after[-1]) if len(after) else self.inside
        return continues | at_ends

    def _add_broken(self, piece: Piece, follows: Places) -> None:
        """Note the first place behind a closed field that continues it with text."""
        follows = follows[follows < len(piece.bytes)]
        found = piece.bytes[follows]
        broken = (found != self.separator) & (found != LF) & (found != CR)
        if not self.broken and broken.any():
            place = follows[np.flatnonzero(broken)[0]]
            self.broken = self.lines + 1 + int(np.searchsorted(piece.ends, place))

    def _add_multiline(self, piece: Piece, chunk: bytes, lines: Places, at_ends: Mask) -> None:
        for line in lines[: SAMPLES - len(self.multiline)]:
            start = piece.ends[line - 1] + 1 if line else 0
            self.multiline.append((chunk[start : piece.ends[line]], not at_ends[line]))

    def _add_widths(self, piece: Piece, spread: Mask, chunk: bytes) -> None:
        """Note the first line of the wrong width, blank ones excepted, if nothing is quoted."""
        separators = np.flatnonzero(piece.bytes == self.separator)
        kept = is_end(piece, piece.ends)
        ends = piece.ends[kept]
        widths = np.diff(np.searchsorted(separators, ends), prepend=0) + 1
        self.spread += int(spread.sum())
        self.whole += int((spread[kept] & (widths == self.width)).sum())
        for row in np.flatnonzero(widths != self.width):
            start = ends[row - 1] + 1 if row else 0
            line = self.lines + 1 + int(np.searchsorted(piece.ends, start))
            if line != self.header_line and chunk[start : ends[row]].strip(BLANKS):
                self.ragged = Place(line, int(widths[row]))
                return
