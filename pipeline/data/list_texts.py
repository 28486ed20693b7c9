"""Lists that are written as texts: as Python, NumPy or JSON prints them.

`pandas.to_csv` writes a column of lists as "['a', 'b']" and one of arrays as "['a' 'b']", which Python itself would
read as a list of one string, ab.
"""

from __future__ import annotations

import ast
import json
import re
from typing import Any

from pipeline.errors import shorten

# A string in either kind of quotes, or anything without a blank, a comma or a quote.
ITEM = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|[^\s,'"\[\]]+""", re.DOTALL)
INTEGER, NUMBER = re.compile(r"[-+]?\d+"), re.compile(r"[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?")
SEPARATOR = re.compile(r"[\s,]*")
WRAPPED = re.compile(r"(?:array|list)\((.*?)(?:,\s*dtype=[^\]\[]*)?\)", re.DOTALL)
LONGEST_QUOTE = 40


class NotAList(ValueError):
    """A text is not a list."""


def parse(text: str, bare_words: bool = True) -> list[Any]:
    """The list of strings and numbers that `text` holds in brackets.

    Args:
        bare_words: whether strings may have no quotes, as in [a, b].

    Raises:
        NotAList: it holds none, or NumPy has left out its middle.
    """
    text = text.strip()
    if wrapped := WRAPPED.fullmatch(text):
        text = wrapped[1].strip()
    if text[:1] != "[" or text[-1:] != "]":
        raise NotAList(f"{shorten(text, LONGEST_QUOTE)!r} is not a list")
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return _items(text[1:-1], bare_words)


def _items(text: str, bare_words: bool) -> list[Any]:
    items: list[Any] = []
    place = _behind_separator(text, 0)
    while place < len(text):
        item = ITEM.match(text, place)
        if item is None:
            raise NotAList(f"{shorten(text[place:], LONGEST_QUOTE)!r} in a list is neither a text nor a number")
        if item[0] == "...":
            raise NotAList("NumPy has left out the middle of a list (...); write lists, not arrays, to the file")
        items.append(_item(item[0], bare_words))
        place = _behind_separator(text, item.end())
    return items


def _behind_separator(text: str, place: int) -> int:
    found = SEPARATOR.match(text, place)
    return found.end() if found else place


def _item(text: str, bare_words: bool) -> Any:
    if text[0] in "'\"":
        return ast.literal_eval(text) if "\\" in text else text[1:-1]
    if INTEGER.fullmatch(text):
        return int(text)
    if NUMBER.fullmatch(text):
        return float(text)
    if text == "None":
        return None
    if not bare_words:
        raise NotAList(f"{shorten(text, LONGEST_QUOTE)!r} in a list has no quotes")
    return text
