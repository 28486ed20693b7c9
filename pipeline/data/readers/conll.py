"""CoNLL files of any dialect: one word per line, in columns, and a blank line after each sentence."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from pipeline.config.data import Data
from pipeline.config.looks_like_conll import SENTENCE_END
from pipeline.data.readers.common import LINE, WORD_LINES
from pipeline.data.readers.conll_columns import TAG_NAMES, WORD_NAMES, choose
from pipeline.data.readers.conll_layout import Layout, with_prefixes, with_tabs
from pipeline.data.readers.conll_lines import BORDER, LEFT_OUT, WORD, LeftOut, Lines, blocks
from pipeline.errors import UserError

# Bytes that are looked at to choose the columns; several times more while there is no entity among them.
HEAD_BYTES, HEAD_GROWS, LARGEST_HEAD = 1 << 18, 8, 1 << 24
# A file without a blank line is one sentence if it has up to this many words, and a mistake if it has more; reading
# gives up at the second number.
LONGEST_ALONE, ENDLESS = 64, 10_000
SHOWN = 3
# Numbers in CoNLL-U of a word that stands for those after it (1-2), and of one that is not in the text (8.1).
NOT_WORDS = r"^\d+[-.]\d+$"
NUMBERED = r"^([^\d])\d$"


def read(file: Path, data: Data, warnings: list[str]) -> Iterator[pa.RecordBatch]:
    """Sentences of `file`, with a list for each word's columns.

    A batch has each column by its number from 1 and by its name if the file names it, the words as `tokens`, the tags
    as `tags` if there are any, and the line of each word under `WORD_LINES`. The first lines decide which columns hold
    words and tags, see `conll_columns.choose`.

    Raises:
        UserError: a line has more or fewer columns than others, or there is no blank line in a long file.
    """
    found = blocks(file, data)
    head: list[bytes] = []
    layout = _layout(found, head, data)
    if layout is None:
        return
    named = _names(layout, data)
    if not layout.is_usual:
        warnings.append(f"{file}: {layout}")
    sentences = Sentences(layout, str(file), named)
    for block in itertools.chain(head, found):
        yield from sentences.read(block)
    yield from sentences.read(b"", at_end=True)
    warnings += sentences.warnings()


def same_columns(file: Path, data: Data) -> Data:
    """Settings that choose the columns of `file` in other files as well, if these have the same number of columns."""
    layout = _layout(blocks(file, data), [], data)
    if layout is None or layout.tags is None:
        return data
    words, tags = str(layout.words + 1), str(layout.tags + 1)
    return replace(data, token_column=data.token_column or words, tag_column=data.tag_column or tags)


def _layout(found: Iterator[bytes], head: list[bytes], data: Data) -> Layout | None:
    """The layout of the file; `head` gets the blocks that were read for it, until there is an entity."""
    layout, size = None, HEAD_BYTES
    while (layout is None or not layout.has_entities) and size <= LARGEST_HEAD:
        while sum(map(len, head)) < size and (block := next(found, None)) is not None:
            head.append(block)
        text = b"".join(head)
        layout = choose(text[: text.rfind(b"\n", 0, size) + 1], data)
        if len(text) <= size:
            break
        size *= HEAD_GROWS
    return layout


def _names(layout: Layout, data: Data) -> dict[str, int]:
    """Name -> place. Names that another task or reader would take for words or tags are left to the columns chosen."""
    names = {name: place for place, name in enumerate(layout.names[: layout.width])}
    chosen = {data.token_column, data.tag_column}
    kept = {
        name: place
        for name, place in names.items()
        if name in chosen or not (name.isdecimal() or name.casefold() in WORD_NAMES | TAG_NAMES)
    }
    return {**kept, "tokens": layout.words, **({} if layout.tags is None else {"tags": layout.tags})}


class Sentences:
    """Makes sentences of blocks of lines.

    Attributes:
        layout: of the columns.
        where: the file.
        named: columns that get a name besides their number.
    """

    def __init__(self, layout: Layout, where: str, named: Mapping[str, int]):
        self.layout, self.where, self.named = layout, where, named
        self._pending, self._line, self._words = b"", 1, 0
        # Whether a blank line is between two words, and after the last one.
        self._has_borders, self._is_ended = layout.ends_sentences is not None, False
        self._has_header = layout.has_header
        self._counts: Counter[str] = Counter()  # of the lists of `LeftOut`
        self._with_blanks: list[int] = []  # the first `SHOWN`
        self._nodes = 0

    def read(self, block: bytes, at_end: bool = False) -> Iterator[pa.RecordBatch]:
        """The sentences that end in `block`, and the last one at the end of the file.

        Raises:
            UserError: see `read` above.
        """
        block = self._pending + with_tabs(block, self.layout.separator)
        if not block:
            return
        lines = Lines(block, self.layout, self._line, self.where)
        borders, words = np.flatnonzero(lines.kinds == BORDER), np.flatnonzero(lines.kinds == WORD)
        after_border = int(borders[-1]) + 1 if len(borders) else 0
        if len(words):  # a blank line before the first word or after the last one divides nothing
            self._has_borders |= self._words > 0 or bool(np.any((borders > words[0]) & (borders < words[-1])))
            self._is_ended = after_border > words[-1]
        self._check_alone(self._words + len(words), at_end and not self._is_ended)
        stop = len(lines) if at_end else after_border
        if stop and (batch := self._batch(lines, stop)) is not None:
            yield batch
        self._line += stop
        self._pending = block[lines.starts[stop] :] if stop < len(lines) else b""

    def _check_alone(self, words: int, at_end: bool) -> None:
        if not self._has_borders and words > (LONGEST_ALONE if at_end else ENDLESS):
            raise UserError(
                f"{self.where}: no blank line in {min(words, ENDLESS + 1)} lines, so all of it is one sentence; put a"
                " blank line after each sentence"
            )

    def _batch(self, lines: Lines, stop: int) -> pa.RecordBatch | None:
        """The sentences before line `stop`."""
        words = np.flatnonzero(lines.kinds[:stop] == WORD)
        if self._has_header and len(words):
            lines.kinds[words[0]] = LEFT_OUT
            words, self._has_header = words[1:], False
        self._count(lines.left_out, self._line + stop)
        if not len(words):
            return None
        table = self._table(lines.body(stop))
        assert len(table) == len(words), f"{len(table)} rows in {len(words)} lines"
        sentences = np.cumsum(lines.kinds[:stop] == BORDER)[words]  # (words,) which one each word belongs to
        if self.layout.number is not None:
            kept = pc.invert(pc.match_substring_regex(table[self.layout.number], NOT_WORDS))
            table, at = table.filter(kept), np.flatnonzero(kept.to_numpy())
            self._nodes += len(words) - len(at)
            words, sentences = words[at], sentences[at]
        if (place := self.layout.ends_sentences) is not None:
            ends = pc.match_substring(table[place], SENTENCE_END).to_numpy()
            sentences = sentences + np.cumsum(ends) - ends
        self._words += len(words)
        return self._lists(table, words + self._line, sentences)

    def _count(self, left_out: LeftOut, before: int) -> None:
        """Count what is in the lines before line `before`."""
        for name, numbers in vars(left_out).items():
            self._counts[name] += sum(number < before for number in numbers)
        room = SHOWN - len(self._with_blanks)
        self._with_blanks += [number for number in left_out.with_blanks if number < before][:room]

    def _table(self, body: bytes) -> pa.Table:
        """Columns of lines that all have the same number of them."""
        names = [str(place + 1) for place in range(self.layout.width)]
        types = dict.fromkeys(names, pa.string())
        return csv.read_csv(
            pa.BufferReader(body),
            read_options=csv.ReadOptions(use_threads=False, block_size=len(body) + 1, column_names=names),
            parse_options=csv.ParseOptions(delimiter="\t", quote_char=False, double_quote=False, escape_char=False),
            convert_options=csv.ConvertOptions(check_utf8=False, column_types=types, strings_can_be_null=False),
        )

    def _lists(self, table: pa.Table, lines: np.ndarray, sentences: np.ndarray) -> pa.RecordBatch:
        """A row for each sentence."""
        table = self._with_words_and_tags(table)
        starts = np.flatnonzero(np.diff(sentences, prepend=-1))
        offsets = pa.array(np.append(starts, len(sentences)), pa.int32())
        columns = {name: pa.ListArray.from_arrays(offsets, table[name].combine_chunks()) for name in table.column_names}
        named = {name: columns[str(place + 1)] for name, place in self.named.items()}
        # A column of words alone needs no number, which would look like another column.
        columns = {**columns, **named} if self.layout.width > 1 else named
        columns[LINE] = pa.array(lines[starts])
        columns[WORD_LINES] = pa.ListArray.from_arrays(offsets, pa.array(lines))
        return pa.RecordBatch.from_pydict(columns)

    def _with_words_and_tags(self, table: pa.Table) -> pa.Table:
        """The table with words and tags alone in their columns."""
        layout = self.layout
        if layout.prefix:
            words = pc.replace_substring_regex(table[layout.words], "^" + re.escape(layout.prefix), "")
            table = table.set_column(layout.words, table.column_names[layout.words], words)
        if layout.is_numbered:
            words = pc.replace_substring_regex(table[layout.words], NUMBERED, r"\1")
            table = table.set_column(layout.words, table.column_names[layout.words], words)
        if layout.tags is not None and layout.brackets:
            tags = pa.array(with_prefixes(table[layout.tags].to_pylist()), pa.string())
            table = table.set_column(layout.tags, table.column_names[layout.tags], pa.chunked_array([tags]))
        if layout.tags is not None and layout.tag_key is not None:
            coded = table[layout.tags].combine_chunks().dictionary_encode()
            tags = pa.array(map(layout.tag_of, coded.dictionary.to_pylist()), pa.string()).take(coded.indices)
            table = table.set_column(layout.tags, table.column_names[layout.tags], tags)
        return table

    def warnings(self) -> list[str]:
        """What was left out and what is unusual."""
        counts = {
            "-DOCSTART- lines": self._counts["documents"],
            "comments": self._counts["comments"],
            "words without a letter": self._counts["blank"],
            "words of CoNLL-U that stand for others or are not in the text": self._nodes,
        }
        skipped = [f"{count} {what}" for what, count in counts.items() if count]
        found = [f"{self.where}: {' and '.join(skipped)} were left out"] if skipped else []
        if blanks := self._counts["with_blanks"]:
            shown = ", ".join(map(str, self._with_blanks)) + ", ..." * (blanks > SHOWN)
            found.append(f"{self.where}: {blanks} words contain blanks (line {shown})")
        if not self._has_borders and self._words > (LONGEST_ALONE if self._is_ended else 1):
            found.append(f"{self.where}: it has no blank line between words, so all of it is one sentence")
        return found
