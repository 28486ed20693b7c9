"""Whether the fields of a table are quoted, and how a quotation mark is written in them, decided from all of the file.

A table is read as quoted if all of its fields that begin with a quotation mark also end with one. If each line has the
right number of fields without any quoting as well, as in GLUE, both readings make sense. Then a quoted field that
contains whole rows is not one.
"""

from __future__ import annotations

import collections
import io
import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from pipeline.config.data import Data
from pipeline.data.readers.common import UTF8, chunks
from pipeline.data.readers.quotes import Escapes, Survey
from pipeline.errors import UserError

# Share of the lines in a quoted field that are rows by themselves, from which on it looks as if rows were swallowed.
SUSPICIOUS = 0.9
# A column with this many different values, or fewer, has labels or the like.
FEW_VALUES = 50
NUMBER = re.compile(r"[+-]?\d+(\.\d+)?")
ESCAPED = re.compile(r"\\.", re.DOTALL)
LOOKED_AT = 2000


class Quoting(NamedTuple):
    """How fields are quoted.

    Attributes:
        quoted: whether quotation marks enclose fields.
        escapes: what a backslash escapes.
        spaced: whether one blank may precede a quoted field.
        multiline: whether rows may have several lines.
    """

    quoted: bool
    escapes: Escapes = "nothing"
    spaced: bool = False
    multiline: bool = False


PLAIN = Quoting(quoted=False)


@dataclass(frozen=True)
class Table:
    """A table whose quoting is to be decided.

    Attributes:
        head: its first lines, without those that are skipped.
        separator: between the columns.
        skipped: number of lines before the table.
    """

    file: Path
    data: Data
    head: str
    separator: str
    skipped: int

    @property
    def lines(self) -> list[str]:
        """The first lines that are not blank, without their ends."""
        return _lines(self.head)

    @property
    def header_width(self) -> int:
        """The number of fields in the first line if nothing is quoted."""
        return self.lines[0].count(self.separator) + 1

    def survey(self, escapes: Escapes = "nothing", spaced: bool = False) -> Survey:
        """What the marks in all of the file look like."""
        lines = self.lines if escapes == "nothing" else _lines(ESCAPED.sub("", self.head))
        # The number of fields that most lines have if nothing is quoted.
        width = collections.Counter(line.count(self.separator) + 1 for line in lines).most_common(1)[0][0]
        survey = Survey(ord(self.separator), width, self.skipped + 1, escapes, spaced)
        return survey.add(after(chunks(self.file, self.data), self.skipped), self.skipped)


def _lines(text: str) -> list[str]:
    found = (line.rstrip("\n") for line in io.StringIO(text, newline=None) if line.strip())
    return list(itertools.islice(found, LOOKED_AT))


def after(pieces: Iterator[bytes], skipped: int) -> Iterator[bytes]:
    """The same pieces, which consist of whole lines, without the first lines."""
    for piece in pieces:
        if not skipped:
            yield piece
            continue
        kept = io.StringIO(piece.decode(UTF8), newline="").readlines()
        if kept[skipped:]:
            yield "".join(kept[skipped:]).encode(UTF8)
        skipped = max(0, skipped - len(kept))


def decide(table: Table, warnings: list[str]) -> Quoting:
    """How the fields of a table are quoted. What is not obvious is added to `warnings`.

    Raises:
        UserError: no reading makes sense, or more than one.
    """
    plain = table.survey()
    setting = table.data.quoting
    if setting == "none":
        return PLAIN
    has_marks = bool(plain.quoted or plain.in_text)
    if setting == "double":
        return _checked(table, _spaced(table, plain) or plain)
    if setting == "backslash":
        return _checked(table, _escaped(table))
    if not has_marks and not (plain.backslashed and (plain.ragged or table.header_width != plain.width)):
        return PLAIN
    best = _best(table, plain)
    if best is not None and not _is_plain(table, best, plain):
        if best.escapes != "nothing":
            warnings.append(f"{table.file}: quotation marks are escaped by backslashes")
        return _of(best)
    if plain.ragged or _is_mostly_quoted(plain):
        raise UserError(_undecided(table, plain))
    if has_marks:
        warnings.append(f"{table.file}: nothing is quoted, and quotation marks are part of the text")
    return PLAIN


def _of(survey: Survey) -> Quoting:
    multiline = survey.spread > 0 or survey.escaped_ends > 0
    return Quoting(quoted=True, escapes=survey.escapes, spaced=survey.spaced, multiline=multiline)


def _spaced(table: Table, plain: Survey) -> Survey | None:
    """The survey with blanks before quoted fields, if there are some and all marks have a meaning then."""
    if not plain.after_blank or table.separator == "\t" or (_is_valid(plain) and not plain.in_text):
        return None
    survey = table.survey(spaced=True)
    return survey if _is_valid(survey) and not survey.in_text else None


def _escaped(table: Table) -> Survey:
    """The survey with backslashes: they escape only marks if some stand before characters without a meaning."""
    survey = table.survey("all")
    return survey if not survey.loose else table.survey("marks")


def _is_valid(survey: Survey) -> bool:
    return not survey.broken and not survey.inside


def _best(table: Table, plain: Survey) -> Survey | None:
    """The best way of quoting that makes sense, if one does."""
    valid = _is_valid(plain)
    if spaced := _spaced(table, plain):
        return spaced
    if plain.backslashed and (not valid or plain.in_text or not plain.quoted):
        escaped = _escaped(table)
        fits = escaped.escaped and _is_valid(escaped) and not (escaped.ragged and not escaped.quoted)
        if fits and (not valid or not escaped.in_text):
            return escaped
    return plain if valid else None


def _is_plain(table: Table, quoted: Survey, plain: Survey) -> bool:
    """Whether nothing is quoted although the survey `quoted` makes sense.

    Raises:
        UserError: it cannot be told.
    """
    is_tabbed = table.separator == "\t"
    if plain.width > 1 and quoted.spread and quoted.whole >= SUSPICIOUS * quoted.spread:
        swallows = _swallows(table, quoted)
        if not swallows and quoted.quoted * 2 > quoted.rows:
            swallows = False
        elif not swallows and is_tabbed:  # texts contain commas, but hardly ever tabs
            swallows = True
        elif swallows is None and (quoted.doubled or quoted.escaped):
            swallows = False
        if (swallows and plain.ragged) or (swallows is None and not plain.ragged):
            raise UserError(_undecided(table, plain, quoted))
        return bool(swallows)
    if plain.width == 1 and quoted.spread and quoted.in_text and not quoted.doubled + quoted.escaped:
        raise UserError(_undecided(table, plain, quoted))
    if plain.ragged or not is_tabbed or quoted.spread or quoted.doubled or quoted.escaped:
        return False
    return quoted.quoted > 0 and not _is_mostly_quoted(plain) and not _quotes_commas(table)


def _is_mostly_quoted(plain: Survey) -> bool:
    """Whether there are half as many fields that begin with a mark as lines: chance does not bring them about."""
    return plain.at_start * 2 > plain.lines


def _quotes_commas(table: Table) -> bool:
    """Whether fields are quoted that contain a comma, and no others: spreadsheets do so in files with tabs, too."""
    fields = [field for line in table.lines for field in line.split(table.separator)]
    return all(("," in field) == field.startswith('"') for field in fields)


def _swallows(table: Table, quoted: Survey) -> bool | None:
    """Whether quoted fields of several lines contain whole rows; None if it cannot be told.

    Such a field hides what follows it in its first line, and what precedes its end in the last one. If this is what
    other rows have in the same columns, a few labels or numbers, it is part of a row; otherwise it is text.
    """
    split = [line.split(table.separator) for line in table.lines[1:] if '"' not in line]  # without a header
    rows = [fields for fields in split if len(fields) == quoted.width]
    columns = list(zip(*rows, strict=True)) or [()] * quoted.width
    votes = set()
    for line, ends in quoted.multiline:
        fields = line.decode(UTF8).rstrip("\r\n").split(table.separator)
        if ends:
            hidden = range(next((place for place, text in enumerate(fields) if text.endswith('"')), 0))
        else:
            opened = max((place for place, text in enumerate(fields) if text.startswith('"')), default=0)
            hidden = range(opened + 1, len(fields))
        votes |= {_belongs(fields[place], columns[place]) for place in hidden if place < quoted.width}
    votes.discard(None)
    return votes.pop() if len(votes) == 1 else None


def _belongs(value: str, column: Sequence[str]) -> bool | None:
    """Whether `value` is like those of `column`: one of a few, or a number; None if the column has texts."""
    values = set(column)
    if values and all(map(NUMBER.fullmatch, values)):
        return bool(NUMBER.fullmatch(value))
    return value in values if 0 < len(values) <= FEW_VALUES else None


def _checked(table: Table, survey: Survey) -> Quoting:
    """The quoting that a setting names.

    Raises:
        UserError: it does not fit the file.
    """
    if not _is_valid(survey):
        raise UserError(f"{table.file}:{_fault(survey)}; fix it, or set data.quoting to another value")
    return _of(survey)


def _fault(survey: Survey) -> str:
    """Where a table that is not well quoted is wrong, and how."""
    if survey.broken:
        return f"{survey.broken}: text follows the quotation mark that closes a field"
    return f"{survey.opened}: the quotation mark that opens a field is never closed"


def _undecided(table: Table, plain: Survey, quoted: Survey | None = None) -> str:
    """The message for a table that can be read in no way, or in more than one (`quoted`)."""
    remedy = "set data.quoting to double, backslash or none"
    if quoted is not None and not plain.ragged:
        return (
            f"{table.file}: quotation marks at the beginning of fields may enclose texts of several lines, or be part"
            f" of texts; {remedy}"
        )
    fault = f"{_fault(plain)}" if not _is_valid(plain) else f"{plain.opened}: a quoted field contains whole rows"
    if plain.ragged and not _is_mostly_quoted(plain):
        line, fields = plain.ragged
        fault += f"; without quoting, line {line} has {fields} field{'s' * (fields != 1)} instead of {plain.width}"
    return f"{table.file}:{fault}; fix the quotation marks, or {remedy}"
