"""Whether the first row of a table names its columns, and what they are called."""

from __future__ import annotations

import re
from collections.abc import Sequence

# Names of columns that are hardly ever values.
USUAL = {
    *("text", "texts", "sentence", "sentence1", "sentence2", "review", "content", "tweet", "premise", "hypothesis"),
    *("label", "labels", "sentiment", "class", "category", "target", "id", "idx", "tokens", "tags", "ner_tags", "word"),
    *("comment", "message", "title", "body", "question", "headline", "document", "article", "user", "author", "date"),
}
MISSING = {"", "?", "-", "na", "n/a", "nan", "none", "null"}
NUMBER = re.compile(r"[+-]?(\d+([.,]\d+)*|\.\d+)(e[+-]?\d+)?%?", re.IGNORECASE)
DATE = re.compile(r"\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}([T ].*)?|.*\b\d{1,2}:\d{2}(:\d{2}.*)?|\d{1,2}\.? \w+ \d{4}")
# A text is longer than a name: in words, or in characters where words are not separated.
LONG_WORDS, LONG_CHARACTERS, LONG_IDEOGRAPHS = 5, 40, 8
SHORT_WORDS = 2
LONGEST_DATE = 40
# A value that is found in this many other rows at least, or in this share of them, is one of a few labels.
OFTEN, SHARE = 2, 0.005
MOST = 0.9


def has_header(rows: Sequence[Sequence[str]]) -> bool | None:
    """Whether the first of `rows`, the first ones of a table, names the columns; None if it cannot be told.

    A word above numbers is a name. A number above numbers, and a label that recurs below, are values. What is shorter
    than all texts below it may be a name or a text, and what is as long is a text.
    """
    first = [value.strip() for value in rows[0]]
    columns = [[row[place].strip() for row in rows[1:] if place < len(row)] for place in range(len(first))]
    pairs = list(zip(first, columns, strict=True))
    usual = [(value, column) for value, column in pairs if value.lower() in USUAL]
    if len(usual) > 1 or any(not _recurs(value, column) for value, column in usual) or not any(columns):
        return True
    if _counts_up(first) and any(_kind(column) in ("text", "word") for column in columns):
        return True  # pandas numbers columns that it has no names for
    named = any(_is_name(value, column) for value, column in pairs)
    recurs = any(_recurs(value, column) for value, column in pairs)
    alike = any(_kind([value]) == _kind(column) == "number" for value, column in pairs)
    texts = [(value, column) for value, column in pairs if _kind(column) == "text"]
    if recurs and (named or any(_is_short(value, column) for value, column in texts)):
        return None
    if named or recurs or alike:
        return named
    return not texts or any(_kind([value]) != "text" for value, _ in texts)


def _counts_up(first: Sequence[str]) -> bool:
    numbers = first[1:] if first[0] == "" else first
    return list(numbers) in ([str(n) for n in range(len(numbers))], [str(n) for n in range(1, len(numbers) + 1)])


def _kind(values: Sequence[str]) -> str:
    """number (or date), text or word: what most of the values are."""
    filled = [value for value in values if value.lower() not in MISSING]
    if not filled:
        return "missing"
    if sum(map(_is_number, filled)) >= MOST * len(filled):
        return "number"
    return "text" if sum(map(_is_long, filled)) * 2 > len(filled) else "word"


def _is_number(value: str) -> bool:
    return bool(NUMBER.fullmatch(value)) or (len(value) <= LONGEST_DATE and bool(DATE.fullmatch(value)))


def _is_long(value: str) -> bool:
    ideographs = value[LONG_IDEOGRAPHS:] > "\u2e7f"
    return len(value.split()) >= LONG_WORDS or len(value) >= LONG_CHARACTERS or ideographs


def _is_name(value: str, column: Sequence[str]) -> bool:
    """Whether a word stands above numbers."""
    return _kind([value]) in ("word", "text") and _kind(column) == "number"


def _is_short(value: str, texts: Sequence[str]) -> bool:
    """Whether a word or two are shorter than all texts below."""
    return len(value.split()) <= SHORT_WORDS and not _is_long(value) and len(value) < min(map(len, texts))


def _recurs(value: str, column: Sequence[str]) -> bool:
    """Whether a value that is not a number is found again and again below."""
    if _kind([value]) != "word":
        return False
    return column.count(value) >= max(OFTEN, SHARE * len(column))


def fitted(names: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The names in a header for rows that have one column more than it, or fewer.

    R writes no name above the names of rows, and spreadsheets write separators for columns that are empty. A column
    that has no name gets the name "".
    """
    names = list(names)
    widths = sorted(len(row) for row in rows)
    width = widths[len(widths) // 2] if widths else len(names)
    while len(names) > width and not names[-1]:
        names.pop()
    if len(names) + 1 == width:
        ids = [row[0] for row in rows if len(row) == width]
        is_empty = not any(row[-1].strip() for row in rows if len(row) == width)
        if is_empty:
            return [*names, ""]
        if all(id.isdecimal() for id in ids) and len(set(ids)) == len(ids):
            return ["", *names]
    return names
