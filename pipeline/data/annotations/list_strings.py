"""Lists in the cells of a table: as Python, NumPy or JSON prints them, or separated by blanks or commas.

`pandas.to_csv` writes a column of lists as "['EU', 'rejects']" and one of arrays as "['EU' 'rejects']". In tables of
sentences the tags are often separated by blanks or by commas ("B-ORG O" or "B-ORG,O").
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from pipeline.config.data import Data
from pipeline.data.annotations.conversion import others
from pipeline.data.list_texts import NotAList, parse
from pipeline.data.readers.common import NumberedRow, Row
from pipeline.data.rows import Places
from pipeline.data.tagging.tags import TAG
from pipeline.errors import UserError

# What a table without brackets has between tags.
BETWEEN_TAGS = re.compile(r"\s*[,;|]\s*|\s+")
BARE_TAG = re.compile(r"[BIO]|\d+")
BLANKS = re.compile(r"\s+")
MOST_WRONG = 100


Fits = Callable[[Sequence[Any]], bool]


def is_list(value: Any) -> bool:
    """Whether `value` is a text that holds a list."""
    return isinstance(value, str) and value.strip()[-1:] in ("]", ")") and _parses(value)


def _parses(value: str) -> bool:
    try:
        parse(value)
    except NotAList:
        return False
    return True


def convert(
    rows: Iterator[NumberedRow], found: tuple[str, str], where: Places, warnings: list[str]
) -> Iterator[NumberedRow]:
    """Rows with `tokens` and `tags`; `found` are the columns of the words and of the tags.

    Raises:
        UserError: a cell is not a list, or a sentence has not one tag for each word.
    """
    tokens_column, tags_column = found
    for line, row in rows:
        place = where.at(line)
        tags = _cell(row.get(tags_column), place, tags_column, BETWEEN_TAGS)
        tokens = _cell(row.get(tokens_column), place, tokens_column, BLANKS)
        if len(tokens) != len(tags):
            raise UserError(
                f"{place}: {tokens_column} has {len(tokens)} words, but {tags_column} {len(tags)} tags; give each word"
                " its tag"
            )
        yield line, {**others(row, found), "tokens": tokens, "tags": tags}


def word_column(rows: Sequence[Row], data: Data, roles: Mapping[str, Sequence[str]]) -> str | None:
    """The column of words: the one that data.token_column names, or one with a usual name, whose cells are lists."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    return _first(names, data.token_column, roles["tokens"], rows, lambda values: any(map(is_list, values)))


def convert_words(rows: Iterator[NumberedRow], column: str, where: Places) -> Iterator[NumberedRow]:
    """Rows with `tokens`, of the lists in `column`.

    Raises:
        UserError: a cell is not a list.
    """
    for line, row in rows:
        yield line, {**others(row, [column]), "tokens": _cell(row.get(column), where.at(line), column, BLANKS)}


def _cell(value: Any, place: str, column: str, separator: re.Pattern[str]) -> list[Any]:
    if value is None or value != value:
        return []
    if isinstance(value, list):
        return value
    text = str(value).strip()
    if text[:1] == "[" or text[-1:] == ")":
        try:
            return parse(text)
        except NotAList as error:
            raise UserError(f"{place}: {column}: {error}") from error
    return separator.split(text) if text else []


def columns(rows: Sequence[Row], data: Data, roles: Mapping[str, Sequence[str]]) -> tuple[str, str] | None:
    """The columns of the words and of the tags: those that data.token_column and data.tag_column name, or those with
    usual names whose cells are lists."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    tags = _first(names, data.tag_column, (*roles.get("tags", ()), *MORE_TAGS), rows, _are_tags)
    left = [name for name in names if name != tags]
    tokens = _first(left, data.token_column, (*roles.get("tokens", ()), *MORE_TOKENS), rows, _is_filled)
    if tags is None or tokens is None:
        return None
    cells = [str(row[tags]) for row in rows if isinstance(row.get(tags), str)]
    words = [row[tokens] for row in rows if isinstance(row.get(tokens), str)]
    # A single word and its tag in every row is a table with a word in each row.
    lists = any(is_list(cell) or len(BETWEEN_TAGS.split(cell.strip())) > 1 for cell in cells)
    return (tokens, tags) if lists or any(map(is_list, words)) else None


# Names that mean words, or tags, only where the cells are lists of them.
MORE_TOKENS = ("sentence", "text", "sentences", "tokenized_text")
MORE_TAGS = ("label", "word_labels", "entities", "ner_label")


def _first(
    names: Sequence[str], chosen: str | None, usual: Sequence[str], rows: Sequence[Row], fits: Fits
) -> str | None:
    if chosen is not None:
        return chosen if chosen in names else None
    by_name = {name.strip().lower(): name for name in reversed(list(names))}
    known = (by_name[name] for name in usual if name in by_name)
    return next((name for name in known if fits([row.get(name) for row in rows])), None)


def _is_filled(values: Sequence[Any]) -> bool:
    return any(isinstance(value, (str, list)) and value for value in values)


def _are_tags(values: Sequence[Any]) -> bool:
    """Whether most cells are lists as texts, or tags with separators; the others are mistakes, which are refused."""
    right = wrong = 0
    for value in values:
        if isinstance(value, str) and value.strip():
            fits = is_list(value) or _are_separated(value)
            right, wrong = right + fits, wrong + (not fits)
            if wrong > MOST_WRONG:
                return False
    return right > wrong


def _are_separated(text: str) -> bool:
    return all(TAG.fullmatch(tag) or BARE_TAG.fullmatch(tag) for tag in BETWEEN_TAGS.split(text.strip()))
