"""CoNLL files (.conll, .bmes): one word per line, any number of columns, a blank line after each sentence."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from pipeline.config.data import Data
from pipeline.data.readers.common import WORD_LINES, NumberedRow, Row, lines
from pipeline.data.tags import SHOWN, TAG
from pipeline.errors import UserError

BLANKS = " \t\r\n"
DOCUMENT = "-DOCSTART-"
# What a column between word and tag may contain: a part of speech or another tag. In a file of words and tags, anything
# else before the tag is part of the word.
OTHER_COLUMN = re.compile(rf"[A-Z]+\$?|{TAG.pattern}")
HEADER = re.compile(r"#\s*global\.columns\s*=\s*(.+)")
# A file without a blank line is one sentence if it has up to this many words, and a mistake if it has more; reading
# gives up at the second number.
LONGEST_ALONE, ENDLESS = 64, 10_000


def read(file: Path, data: Data, warnings: list[str]) -> Iterator[NumberedRow]:
    """Sentences of `file`; see `Sentences`.

    Raises:
        UserError: a line has more or fewer columns than those above, or there is no blank line in a long file.
    """
    sentences = Sentences(lines(file), str(file))
    yield from sentences
    warnings += sentences.warnings


class Sentences:
    """Sentences of a file, each with the number of the line that it begins on.

    A row has each column by its number from 1, by its name if a line `# global.columns = ...` names it, the first one
    as `tokens`, the last one as `tags`, and the line of each word under `WORD_LINES`. If there is a tab between the
    columns of the first word, columns are separated by tabs, and otherwise by blanks.

    Attributes:
        warnings: what was left out; complete once all is read.
    """

    def __init__(self, lines: Iterable[tuple[int, str]], where: str):
        self.lines, self.where = lines, where
        self.warnings: list[str] = []
        self._tabs, self._width = False, 0
        self._names: list[str] = []
        self._documents = self._comments = 0
        self._with_blanks: list[int] = []

    def __iter__(self) -> Iterator[NumberedRow]:
        sentence: list[list[str]] = []
        numbers: list[int] = []
        alone = True
        for number, line in self.lines:
            fields = self._fields(number, line)
            if fields:
                sentence.append(fields)
                numbers.append(number)
            elif fields is None:
                alone = alone and not sentence
                if sentence:
                    yield numbers[0], self._row(sentence, numbers)
                sentence, numbers = [], []
            self._check_end(len(sentence), alone, ENDLESS)
        self._check_end(len(sentence), alone, LONGEST_ALONE)
        if sentence:
            yield numbers[0], self._row(sentence, numbers)
        self._warn(alone and len(sentence) > 1)

    def _fields(self, number: int, line: str) -> list[str] | None:
        """Columns of a word; None where a sentence ends, an empty list for a comment."""
        stripped = line.strip(BLANKS)
        if not stripped or stripped.startswith(DOCUMENT):
            self._documents += bool(stripped)
            return None
        tabs = self._tabs if self._width else "\t" in stripped
        fields = [field.strip(" ") for field in stripped.split("\t")] if tabs else re.split("[ \t]+", stripped)
        if stripped.startswith("#") and self._is_comment(fields, tabs):
            self._comments += 1
            if header := HEADER.fullmatch(stripped):
                self._names = header[1].split()
            return []
        if self._width == 2 and not tabs and self._is_word_with_blanks(fields):
            self._with_blanks.append(number)
            fields = [stripped[: -len(fields[-1])].rstrip(BLANKS), fields[-1]]
        self._check_width(number, len(fields))
        self._tabs, self._width = tabs, len(fields)
        return fields

    def _is_comment(self, fields: list[str], tabs: bool) -> bool:
        """A line that begins with # is a word only if it has a word's columns, one of them a tag."""
        fits = len(fields) > 1 and len(fields) == (self._width or len(fields))
        return not fits or not (tabs or any(TAG.fullmatch(field) for field in fields[1:]))

    def _is_word_with_blanks(self, fields: list[str]) -> bool:
        between = fields[1:-1]
        return bool(between and TAG.fullmatch(fields[-1])) and not any(map(OTHER_COLUMN.fullmatch, between))

    def _check_width(self, number: int, width: int) -> None:
        if width == 1 and not self._width:
            raise UserError(
                f"{self.where}:{number}: one column only; expected a word and its tag, separated by a blank or a tab"
            )
        if self._width and width != self._width:
            raise UserError(
                f"{self.where}:{number}: {width} columns, but the lines above have {self._width}, separated by"
                f" {'tabs' if self._tabs else 'blanks'}; fix the line, or leave it empty to end a sentence"
            )

    def _check_end(self, words: int, alone: bool, limit: int) -> None:
        if alone and words > limit:
            raise UserError(
                f"{self.where}: no blank line in {words} lines, so all of it is one sentence; put a blank line after"
                " each sentence"
            )

    def _row(self, sentence: list[list[str]], numbers: list[int]) -> Row:
        columns = [list(column) for column in zip(*sentence, strict=True)]
        numbered = {str(place): column for place, column in enumerate(columns, start=1)}
        named = dict(zip(self._names, columns, strict=False))
        return {"tokens": columns[0], "tags": columns[-1], **named, **numbered, WORD_LINES: numbers}

    def _warn(self, alone: bool) -> None:
        counts = {f"{DOCUMENT} lines": self._documents, "comments": self._comments}
        skipped = [f"{count} {what}" for what, count in counts.items() if count]
        if skipped:
            self.warnings.append(f"{self.where}: {' and '.join(skipped)} were left out")
        if self._with_blanks:
            lines = ", ".join(map(str, self._with_blanks[:SHOWN])) + ", ..." * (len(self._with_blanks) > SHOWN)
            self.warnings.append(f"{self.where}: {len(self._with_blanks)} words contain blanks (line {lines})")
        if alone:
            self.warnings.append(f"{self.where}: it has no blank line, so all of it is one sentence")
