"""Which character separates the columns of a table, decided from its first lines."""

from __future__ import annotations

import collections
import csv
import io
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from pipeline.config.data import Data
from pipeline.errors import UserError

# Separator -> its name in messages, singular and plural.
NAMES = {
    ",": ("a comma", "commas"),
    "\t": ("a tab", "tabs"),
    ";": ("a semicolon", "semicolons"),
    "|": ("a vertical bar", "vertical bars"),
}
# Stands for the separator of a table that has one column, whose texts contain commas. No text contains it.
ALONE = "\x1f"
# The first line that Excel reads and writes, such as sep=;
DECLARATION = re.compile(r'"?sep=(.)"?[\r\n]*', re.IGNORECASE)
# Share of the rows that have the same number of fields, so that a few broken ones do not count.
MOST = 0.95
# How well a separator fits: not at all; every line has the same number of fields; so has every row, with quoted fields.
UNFIT, LINES, ROWS = range(3)
LOOKED_AT = 2000
# A comma between digits, as in 3,5, is no separator if it never stands elsewhere.
REAL_COMMA = re.compile(r"(?<!\d),|,(?!\d)")


def named(separator: str) -> tuple[str, str]:
    """A separator in messages, singular and plural."""
    return NAMES.get(separator, (f"a {separator!r}", f"{separator!r}"))


def chosen(data: Data) -> str | None:
    """The separator that data.separator names, if it is set.

    Raises:
        UserError: it is not a single ASCII character, or one with another meaning.
    """
    if data.separator is None:
        return None
    separator = {"tab": "\t", "\\t": "\t"}.get(data.separator, data.separator)
    if len(separator) != 1 or not separator.isascii() or separator in '"\\\r\n\0':
        raise UserError(
            f"data.separator: {data.separator!r} cannot separate columns; set it to one ASCII character, such as ;"
            " or to tab"
        )
    return separator


def declared(line: str) -> str | None:
    """The separator that the first line of a file declares, as in sep=; if it does."""
    found = DECLARATION.fullmatch(line)
    return found[1] if found else None


def detect(file: Path, text: str, own: str) -> str:
    """The separator of a table that begins with `text`, which consists of whole lines.

    Args:
        own: the separator that the format of the file expects; it is preferred to others that fit as well. It does
            not separate anything if the first line has none and the others have any number of them: then the answer
            is `ALONE`.

    Raises:
        UserError: several others fit.
    """
    lines = [line.rstrip("\n") for line in io.StringIO(text, newline=None) if line.strip()][:LOOKED_AT]
    fits = {own: _fit(lines, text, own)}
    for separator in NAMES:
        # In prose, a blank follows each comma.
        if separator != own and (separator != "," or re.search(",(?! )", text)):
            fits[separator] = _fit(lines, text, separator)
    best = max(fits.values())
    if fits[own] == best > UNFIT or not lines:
        return own
    others = [separator for separator in fits if fits[separator] == best > UNFIT]
    if not others and own not in lines[0]:
        others = [separator for separator in fits if separator in lines[0]]
    if not others and own not in lines[0] and own in text and not _uniform(line.count(own) + 1 for line in lines[1:]):
        return ALONE
    if len(others) > 1:
        raise UserError(
            f"{file}: the columns may be separated by {' or '.join(named(s)[1] for s in others)}; set data.separator"
        )
    return others[0] if others else own


def comments_before(lines: Sequence[str]) -> int:
    """The number of comments before a table: lines that begin with #, unlike its header, which names columns."""
    count = 0
    while count < len(lines) and lines[count].startswith("#") and not any(name in lines[count] for name in NAMES):
        count += 1
    if not count:
        return 0
    rest = [line.rstrip("\r\n") for line in lines[count:] if line.strip()][:LOOKED_AT]
    is_table = any(_fit(rest, "".join(lines[count:]), separator) > UNFIT for separator in NAMES)
    return count if is_table else 0


def _fit(lines: Sequence[str], text: str, separator: str) -> int:
    if not lines or separator not in text or (separator == "," and not REAL_COMMA.search(text)):
        return UNFIT
    if '"' not in text:
        return ROWS if _uniform(line.count(separator) + 1 for line in lines) else UNFIT
    widths: list[int] = []
    try:
        for row in csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True):
            widths += [len(row)] if row else []
    except csv.Error as error:
        if "end of data" not in str(error):  # the text may end in a quoted field
            widths = []
    if _uniform(widths):
        return ROWS
    return LINES if _uniform(line.count(separator) + 1 for line in lines) else UNFIT


def _uniform(found: Iterable[int]) -> bool:
    """Whether most rows have the same number of fields, more than one, and the first row has as many.

    A header may have one name more or less: for a trailing separator, or for the names of rows.
    """
    widths = list(found)
    if not widths:
        return False
    width, count = collections.Counter(widths).most_common(1)[0]
    return width > 1 and count >= MOST * len(widths) and widths[0] > 1 and abs(widths[0] - width) <= 1
