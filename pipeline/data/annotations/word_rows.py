"""Tables with a word in each row, such as Kaggle's ner_dataset.csv: rows of a sentence become one.

A sentence begins where its column has another value, or has one at all, if it is filled at the first word of each
sentence only. Without such a column, rows without a word are between sentences, or blank lines of the file.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.config.data import Data
from pipeline.data import split_column
from pipeline.data.annotations.conversion import others
from pipeline.data.annotations.notes import Notes
from pipeline.data.readers.common import WORD_LINES, NumberedRow, Row
from pipeline.data.rows import Places
from pipeline.data.tagging.tags import TAG
from pipeline.errors import UserError

# Usual names in lower case, without blanks, marks and underscores.
WORDS = ("word", "words", "token", "tokens", "text", "form")
TAGS = ("tag", "tags", "ner", "nertag", "nertags", "label", "labels", "entity", "iob", "bio", "nerlabel")
SENTENCES = (
    *("sentence", "sentenceid", "sentid", "sentenceidx", "sentenceno", "sentencenumber", "sent", "sentenceindex"),
    *("sentno", "sid", "sentidx", "sentnum", "sentencenum"),
)
DOCUMENTS = ("document", "documentid", "doc", "docid", "file", "filename", "article", "articleid", "prevdoc")
SPLIT_COLUMNS = {*split_column.NAMES, *split_column.QUESTIONS}
# More words than this are not one sentence: nothing was found that ends it.
LONGEST = 10_000
# The same, if there is no second sentence.
LONGEST_ALONE = 64
WITHOUT_WORD = "{} rows without a word were left out"


@dataclass(frozen=True)
class _Columns:
    """Of the words, of the tags, and of what tells sentences apart; `only_first`: the last is filled at the first word
    of a sentence only."""

    words: str
    tags: str | None
    sentence: tuple[str, ...] = ()
    only_first: bool = False


def matches(names: Sequence[str], rows: Sequence[Row], data: Data) -> bool:
    """Whether there is a column of single words and one of their tags."""
    return _columns(names, rows, data) is not None


def matches_words(names: Sequence[str], rows: Sequence[Row], data: Data) -> bool:
    """Whether there is a column of single words, and one that says which sentence each belongs to."""
    columns = _columns(names, rows, data, tagged=False)
    return columns is not None and bool(columns.sentence)


def made_of(first: Sequence[Row], where: Places, data: Data) -> dict[str, str]:
    """What the columns of the rows are made of, for the user."""
    columns = _columns(_names(first), first, data)
    assert columns is not None, "matches comes first"
    ends = " + ".join(columns.sentence) or "blank lines"
    return {"tokens": columns.words, "tags": columns.tags or "", "sentences": ends}


def convert(
    rows: Iterator[NumberedRow], first: Sequence[Row], where: Places, data: Data, warnings: list[str]
) -> Iterator[NumberedRow]:
    """Rows with `tokens`, `tags` and the line of each word.

    Raises:
        UserError: nothing tells where a sentence ends.
    """
    columns = _columns(_names(first), first, data)
    assert columns is not None, "matches comes first"
    return _converted(rows, columns, where, warnings)


def convert_words(
    rows: Iterator[NumberedRow], first: Sequence[Row], where: Places, data: Data, warnings: list[str]
) -> Iterator[NumberedRow]:
    """Rows with `tokens`, and `sentence`, what tells them apart.

    Raises:
        UserError: nothing tells where a sentence ends.
    """
    columns = _columns(_names(first), first, data, tagged=False)
    assert columns is not None, "matches_words comes first"
    return _converted(rows, columns, where, warnings)


def _converted(
    rows: Iterator[NumberedRow], columns: _Columns, where: Places, warnings: list[str]
) -> Iterator[NumberedRow]:
    notes = Notes(str(where))
    for sentence in _sentences(rows, columns, where, notes):
        yield _row(sentence, columns)
    warnings += notes.lines()


def _sentences(
    rows: Iterator[NumberedRow], columns: _Columns, where: Places, notes: Notes
) -> Iterator[list[NumberedRow]]:
    sentence: list[NumberedRow] = []
    before: tuple[Any, ...] | None = None
    first_line = line_before = None
    for line, row in rows:
        value = tuple(row.get(name) for name in columns.sentence)
        empty, blank = any(map(_is_empty, value)), _is_empty(row.get(columns.words))
        if not columns.sentence:
            begins = blank or (line_before is not None and line > line_before + 1)
        else:
            begins = not empty and (columns.only_first or value != before)
        if begins and sentence:
            yield sentence
            sentence = []
        before, line_before = before if empty else value, line
        first_line = line if first_line is None else first_line
        if not blank:
            sentence.append((line, row))
        elif columns.tags is not None and not _is_empty(row.get(columns.tags)):
            notes.add(WITHOUT_WORD, where.at(line))
        _check_end(sentence, LONGEST, where)
    if sentence:
        if sentence[0][0] == first_line:
            _check_end(sentence, LONGEST_ALONE, where)
        yield sentence


def _check_end(sentence: list[NumberedRow], longest: int, where: Places) -> None:
    if len(sentence) > longest:
        raise UserError(
            f"{where}: {len(sentence)} rows of words, and nothing says where a sentence ends; add a column sentence_id,"
            " or a blank line after each sentence"
        )


def _row(sentence: list[NumberedRow], columns: _Columns) -> NumberedRow:
    lines = [line for line, _ in sentence]
    first = sentence[0][1]
    names = {*columns.sentence, *(name for name in first if name.lower() in SPLIT_COLUMNS)}
    row = {name: value for name, value in others(first).items() if name in names}
    row["tokens"] = [str(word[columns.words]) for _, word in sentence]
    if columns.tags is not None:
        row["tags"] = [_tag(word.get(columns.tags)) for _, word in sentence]
    return lines[0], {**row, WORD_LINES: lines}


def _tag(value: Any) -> Any:
    """Numbers stay numbers, as ids of names; a missing tag is a text that is no tag, which is refused with its line."""
    if _is_empty(value):
        return ""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _is_empty(value: Any) -> bool:
    return value is None or value != value or (isinstance(value, str) and not value.strip())


def _names(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row))


def _columns(names: Sequence[str], rows: Sequence[Row], data: Data, tagged: bool = True) -> _Columns | None:
    words = _named(names, WORDS, data.token_column)
    tags = _named([name for name in names if name != words], TAGS, data.tag_column) if tagged else None
    if words is None or (tags is None and tagged):
        return None
    if not all(_is_single(row.get(name)) for row in rows for name in (words, tags) if name is not None):
        return None
    left = [name for name in names if name not in (words, tags)]
    sentence = _named(left, SENTENCES, None)
    if sentence is None:
        are_tags = tags is not None and any(TAG.fullmatch(str(row.get(tags)).strip()) for row in rows)
        return _Columns(words, tags) if are_tags and _are_words(words, rows) else None
    if tags is not None and not any(_is_tag(row.get(tags)) for row in rows):
        return None
    document = _named([name for name in left if name != sentence], DOCUMENTS, None)
    return _Columns(words, tags, *_sentence_columns(sentence, document, rows))


def _sentence_columns(sentence: str, document: str | None, rows: Sequence[Row]) -> tuple[tuple[str, ...], bool]:
    """The columns that tell sentences apart, and whether they are filled at the first word of a sentence only."""
    values = [row.get(sentence) for row in rows]
    filled = [value for value in values if not _is_empty(value)]
    repeats = any(left == right for left, right in itertools.pairwise(filled))
    if len(filled) < len(values) and not repeats:
        return (sentence,), True
    return tuple(name for name in (document, sentence) if name), False


def _is_tag(value: Any) -> bool:
    text = str(value).strip()
    return bool(TAG.fullmatch(text)) or text.isdecimal()


def _are_words(name: str, rows: Sequence[Row]) -> bool:
    """Whether cells are single words rather than texts. Most texts contain a blank."""
    filled = [str(row[name]).strip() for row in rows if not _is_empty(row.get(name))]
    return sum(" " in word for word in filled) < len(filled) / 10


def _named(names: Sequence[str], usual: Sequence[str], chosen: str | None) -> str | None:
    if chosen is not None:
        return chosen if chosen in names else None
    by_name: Mapping[str, str] = {_plain(name): name for name in reversed(list(names))}
    return next((by_name[name] for name in usual if name in by_name), None)


def _plain(name: str) -> str:
    return "".join(letter for letter in str(name).lower() if letter.isalnum())


def _is_single(value: Any) -> bool:
    return not isinstance(value, (list, dict))
