"""The lines of a CoNLL file: which of them are words with all their columns, and which end a sentence.

Nearly all lines are simply a word with its columns, which NumPy can tell from the places of the separators. Only the
others are looked at one by one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from pipeline.config.data import Data
from pipeline.data.readers.common import chunks
from pipeline.data.readers.conll_layout import Layout
from pipeline.errors import UserError

LINE_END, TAB, HASH = b"\n\t#"
# Kinds of lines; `LEFT_OUT` are comments, words without a letter, and the names of columns.
WORD, BORDER, LEFT_OUT = 0, 1, 2
# What a column between word and tag may contain: a part of speech or another tag. In a file of words and tags, anything
# else before the tag is part of the word.
OTHER_COLUMN = re.compile(r"[A-Z]+\$?|O|[BIESLUMW]-.+")
DOCUMENTS = re.compile(b"docstart", re.IGNORECASE)


def blocks(file: Path, data: Data | None = None) -> Iterator[bytes]:
    """The lines of a text file as UTF-8, some thousands at a time, each with LF at its end.

    Raises:
        UserError, OSError: see `common.chunks`.
    """
    for block in chunks(file, data):
        if b"\r" in block:
            block = block.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        yield block if block.endswith(b"\n") else block + b"\n"


@dataclass
class LeftOut:
    """What in a block was read in another way than as a line is written, or not at all, by number of line.

    Attributes:
        documents: lines that begin a document.
        comments: lines that begin with #.
        blank: words without a letter.
        with_blanks: words that contain blanks.
    """

    documents: list[int] = field(default_factory=list)
    comments: list[int] = field(default_factory=list)
    blank: list[int] = field(default_factory=list)
    with_blanks: list[int] = field(default_factory=list)


class Lines:
    """The lines of a block.

    Shapes: L lines.

    Args:
        block: complete lines, see `conll_layout.with_tabs`.
        first: the number of the first one.
        where: the file, for messages.

    Attributes:
        starts: (L,) where each line begins.
        kinds: (L,) WORD, BORDER (a sentence ends) or LEFT_OUT.

    Raises:
        UserError: a line has more or fewer columns than others.
    """

    def __init__(self, block: bytes, layout: Layout, first: int, where: str):
        self.block, self.layout, self.first, self.where = block, layout, first, where
        self.left_out = LeftOut()
        bytes_ = np.frombuffer(block, dtype=np.uint8)
        marks = np.flatnonzero((bytes_ == LINE_END) | (bytes_ == TAB))
        line_ends = np.flatnonzero(bytes_[marks] == LINE_END)  # (L,) among the marks
        ends = marks[line_ends]
        self.starts = np.concatenate([[0], ends[:-1] + 1])
        self.kinds = np.where(ends == self.starts, BORDER, WORD).astype(np.int8)
        odd = np.diff(line_ends, prepend=-1) != layout.width
        # A mark right after another one, or at the beginning, ends a column without a character.
        odd[np.searchsorted(line_ends, np.flatnonzero(np.diff(marks, prepend=-1) == 1))] = True
        odd |= bytes_[self.starts] == HASH
        if b"DOCSTART" in block or b"docstart" in block:
            places = [match.start() for match in DOCUMENTS.finditer(block)]
            odd[np.searchsorted(ends, places)] = True
        # Number of a line in the block -> its columns, where they are not simply what is between the tabs.
        self.rewritten: dict[int, bytes] = {}
        for index in np.flatnonzero(odd & (self.kinds == WORD)).tolist():
            self._read(index, block[self.starts[index] : ends[index]])

    def __len__(self) -> int:
        return len(self.starts)

    def _read(self, index: int, line: bytes) -> None:
        """Read a line that may be something else than a word with all its columns."""
        text, number = line.decode(), self.first + index
        fields = text.split("\t")
        if not text.strip():  # of other blanks than those between columns
            self.kinds[index] = BORDER
        elif self.layout.is_document(fields):
            self.kinds[index] = BORDER
            self.left_out.documents.append(number)
        elif text.startswith("#") and self.layout.is_comment(fields, text):
            self.kinds[index] = LEFT_OUT
            self.left_out.comments.append(number)
        else:
            fields = self._fitted(fields, number)
            if not fields[self.layout.words]:
                self.kinds[index] = LEFT_OUT
                self.left_out.blank.append(number)
            elif (written := "\t".join(fields).encode()) != line:
                self.rewritten[index] = written

    def _fitted(self, fields: list[str], number: int) -> list[str]:
        """As many columns as the other lines have."""
        layout, width = self.layout, self.layout.width
        if len(fields) > width and layout.separator is None and not fields[0]:
            fields = fields[1:]  # the line is indented
        if layout.brackets and len(fields) > max(layout.words, layout.tags or 0):
            return (fields + [""] * width)[:width]  # CoNLL-2012: each verb of a sentence has a column of its own
        while len(fields) > width and not fields[-1]:
            fields = fields[:-1]
        if width == 2 and len(fields) > 2 and self._is_word_with_separators(fields):
            self.left_out.with_blanks.append(number)
            return [(layout.separator or " ").join(fields[:-1]), fields[-1]]
        if layout.separator == "\t" and max(layout.words, layout.tags or 0) < len(fields) < width:
            return fields + [""] * (width - len(fields))
        if len(fields) != width:
            between = {None: "blanks", "\t": "tabs"}.get(layout.separator, repr(layout.separator))
            raise UserError(
                f"{self.where}:{number}: {len(fields)} columns, but most lines have {width}, separated by {between};"
                " fix the line, or leave it empty to end a sentence"
            )
        return fields

    def _is_word_with_separators(self, fields: list[str]) -> bool:
        layout = self.layout
        if layout.separator == "\t" or (layout.words, layout.tags) != (0, 1):
            return False
        is_tag = fields[-1] in layout.known or (
            layout.form is not None and layout.form.standard(fields[-1]) is not None
        )
        return is_tag and not any(map(OTHER_COLUMN.fullmatch, fields[1:-1]))

    def body(self, stop: int) -> bytes:
        """The words among the lines before line `stop`: one in each line, with all columns; other lines are empty."""
        end = int(self.starts[stop]) if stop < len(self) else len(self.block)
        changed = {**dict.fromkeys(np.flatnonzero(self._is_hidden(stop)).tolist(), b""), **self.rewritten}
        # Arrow drops a byte order mark at the beginning, which may be a word here.
        parts, done = [b"\n"], 0
        for index in sorted(index for index in changed if index < stop):
            start = int(self.starts[index])
            parts += [self.block[done:start], changed[index]]
            done = self.block.index(b"\n", start)
        return b"".join([*parts, self.block[done:end]])

    def _is_hidden(self, stop: int) -> np.ndarray:
        """(stop,) whether a line has text that is not a word."""
        ends = np.append(self.starts[1:], len(self.block)) - 1
        return ((self.kinds != WORD) & (ends > self.starts))[:stop]
