"""The columns of a CoNLL file: how they are separated, and which of them hold the words and the tags."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from pipeline.config.data import Data
from pipeline.config.tag_forms import OUTSIDE, PREFIXED, Form, form_of

DOCUMENT = re.compile(r"[-_<\[]{1,3}DOCSTART[-_>\]]{0,3}", re.IGNORECASE)
NAMES = re.compile(r"#\s*global\.columns\s*[=:]\s*(.+)")
KEY_AND_VALUE = re.compile(r"#+\s*[\w.:-]+\s*[=:]\s")
# What a column between word and tag may contain: a part of speech or another tag. In a file of words and tags, anything
# else before the tag is part of the word.
OTHER_COLUMN = re.compile(r"[A-Z]+\$?|O|[BIESLUMW]-.+")
WORD_NAMES = {"form", "word", "words", "token", "tokens", "text", "surface"}
TAG_NAMES = {
    "tag",
    "tags",
    "ner",
    "ner_tag",
    "ner_tags",
    "ne",
    "label",
    "labels",
    "entity",
    "iob",
    "bio",
    "ne-coarse-lit",
}
CHUNKS = {"NP", "VP", "PP", "ADVP", "ADJP", "SBAR", "PRT", "CONJP", "INTJ", "LST", "UCP", "NC", "VC", "PC"}
UNUSED = {"", "_", "-", "-X-", "*"}
SHOWN_AS = {"same": "other"}
# Separators that are tried, after tabs and blanks.
SEPARATORS = ",;|"
# Shares of the rows: of a column that counts words, and of tags that have the form of most.
COUNTING, TAGS = 0.9, 0.9
# Of several layers of tags, the first is chosen that has at least this share of the most words in entities.
OUTER = 0.8
# Share of O below which tags are those of phrases, if other tags have a larger one, and the rows that it takes to know.
PHRASES, ENOUGH = 0.4, 200


@dataclass(frozen=True)
class Layout:
    """How a CoNLL file is written.

    Attributes:
        separator: one character, or None for any number of blanks and tabs.
        width: number of columns.
        words: place of the column of words, from 0.
        tags: of the column of tags; None if there is none.
        number: of the column that counts the words of a sentence, if any.
        kinds: what each column holds, for messages.
        names: of the columns, if the file names them.
        has_header: whether the first line that is no comment has the names.
        form: of the tags.
        known: tags that occur among the rows that were looked at.
        has_entities: whether there is an entity among the rows that were looked at.
    """

    separator: str | None
    width: int
    words: int = 0
    tags: int | None = None
    number: int | None = None
    kinds: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    has_header: bool = False
    form: Form | None = None
    known: frozenset[str] = frozenset()
    has_entities: bool = False

    def is_comment(self, fields: Sequence[str], line: str) -> bool:
        """Whether a line that begins with # is no word: it has other columns, or no tag in the column of tags."""
        if len(fields) != self.width or KEY_AND_VALUE.match(line):
            return True
        if self.number is not None and not fields[self.number][:1].isdecimal():
            return True
        if self.tags is None or fields[self.tags] in self.known:
            return False
        form = self.form
        return form is None or form.kind == "types" or form.standard(fields[self.tags]) is None

    def is_document(self, fields: Sequence[str]) -> bool:
        """Whether the line is the border of a document in place of a word."""
        candidates = {0, self.words} if len(fields) > self.words else {0}
        return any(DOCUMENT.fullmatch(fields[place]) for place in candidates)

    @property
    def is_usual(self) -> bool:
        """Whether the words are in the first column and the tags in the last one."""
        return self.words == 0 and self.tags in (None, self.width - 1)

    def __str__(self) -> str:
        tags = "no tags" if self.tags is None else f"tags in column {self.tags + 1}"
        return f"words in column {self.words + 1}, {tags} (of {self.width}: {', '.join(self.names or self.kinds)})"


Row = tuple[int, list[str]]
"""Sentence and columns."""


def choose(head: bytes, data: Data) -> Layout | None:
    """The layout of a file that begins with these lines; None if there is no word among them."""
    lines = head.decode().split("\n")
    separator = _separator(lines, data.separator)
    lines = with_tabs(head, separator).decode().split("\n")
    names = next((tuple(match[1].split()) for line in lines if (match := NAMES.fullmatch(line))), ())
    rows = list(_rows(lines, separator))
    if not rows:
        return None
    layout = Layout(separator, Counter(len(fields) for _, fields in rows).most_common(1)[0][0], names=names)
    rows = [(sentence, fields) for sentence, fields in rows if len(fields) == layout.width]
    if _has_header(rows, data.header):
        layout = replace(layout, names=tuple(rows[0][1]), has_header=True)
        rows = rows[1:]
    return _Sample(rows, layout, data).layout() if rows else layout


def with_tabs(block: bytes, separator: str | None) -> bytes:
    """The same lines with one tab between the columns, and no blanks around them; lines of blanks become empty.

    Args:
        separator: see `Layout`.
    """
    if separator is None:
        block = block.replace(b" ", b"\t")
        if b"\t\t" in block:
            block = re.sub(rb"\t+", b"\t", block)
        return block.replace(b"\t\n", b"\n") if b"\t\n" in block else block
    if separator != "\t":
        block = block.replace(separator.encode(), b"\t")
    if b" \t" in block or b"\t " in block:
        block = re.sub(rb" *\t *", b"\t", block)
    if b" \n" in block or b"\n " in block or block.startswith(b" "):
        block = re.sub(rb"(?m)^ +| +$", b"", block)
    if b"\n\t" in block or block.startswith(b"\t"):
        block = re.sub(rb"(?m)^\t+$", b"", block)
    return block


def _separator(lines: Sequence[str], chosen: str | None) -> str | None:
    if chosen:
        return {"tab": "\t", " ": None}.get(chosen, chosen)
    words = [stripped for line in lines if (stripped := line.strip(" \t"))]
    if sum("\t" in line for line in words) > len(words) / 2:
        rows = [re.split("[ \t]+", line) for line in words if not line.startswith("#")]
        widths = {len(fields) for fields in rows if not DOCUMENT.fullmatch(fields[0])}
        is_mixed = len(widths) == 1 and not all("\t" in line for line in words if not line.startswith("#"))
        return None if is_mixed else "\t"
    if sum(" " in line for line in words) < len(words) / 2:
        for separator in SEPARATORS:
            if words and all(separator in line for line in words):
                return separator
    return None


def _rows(lines: Sequence[str], separator: str | None) -> Iterator[Row]:
    """The words of `lines`. Lines that begin with # are taken for words only if there are no others."""
    without = [line for line in lines if not line.startswith("#")]
    sentence = 0
    for line in without if any(without) else [line for line in lines if not KEY_AND_VALUE.match(line)]:
        fields = line.split("\t")
        if not line or DOCUMENT.fullmatch(fields[0]):
            sentence += 1
        else:
            is_indented = separator is None and not fields[0]
            yield sentence, fields[1:] if is_indented else fields


def _has_header(rows: Sequence[Row], chosen: bool | None) -> bool:
    """Whether the first row has names of columns: one of words, and others that occur in no other row."""
    if chosen is not None:
        return chosen
    (_, first), *others = rows
    is_words = [name.casefold() in WORD_NAMES for name in first]
    if not any(is_words) or len(first) == 1 or any(map(PREFIXED.fullmatch, first)):
        return False
    values = [{fields[place] for _, fields in others} for place in range(len(first))]
    return not any(
        name in OUTSIDE or name in own for name, own, word in zip(first, values, is_words, strict=True) if not word
    )


@dataclass
class _Sample:
    """The first rows of a file, all of the same width.

    Attributes:
        kinds: of each column: number (it counts the words of a sentence or file), numbers, unused (marks that stand for
            nothing), same (one value in each sentence, such as its id), tags, or other.
    """

    rows: Sequence[Row]
    start: Layout
    data: Data
    kinds: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.columns = list(zip(*(fields for _, fields in self.rows), strict=True))
        self.counts = [Counter(column) for column in self.columns]
        given = self.data.names_of_labels
        self.named = [_renamed(counts, given) for counts in self.counts]
        self.forms = [form_of(counts) for counts in self.named]
        self.kinds = [self._kind(place) for place in range(len(self.columns))]

    def layout(self) -> Layout:
        tags = self._chosen(self.data.tag_column, self._tags())
        words = self._chosen(self.data.token_column, self._words(tags))
        number = next((place for place, kind in enumerate(self.kinds) if kind == "number" and place != words), None)
        form = None if tags is None else self.forms[tags]
        return replace(
            self.start,
            words=words or 0,
            tags=tags,
            number=number,
            kinds=tuple(
                "word" if place == words else SHOWN_AS.get(kind, kind) for place, kind in enumerate(self.kinds)
            ),
            form=form,
            known=frozenset(self.counts[tags]) if tags is not None else frozenset(),
            has_entities=tags is not None and self._inside(tags) > 0,
        )

    def _kind(self, place: int) -> str:
        counts, form = self.counts[place], self.forms[place]
        if all(value.replace("-", "").replace(".", "").isdecimal() for value in counts):
            if self._counts_up(place):
                return "number"
            # Numbers may be tags, whose names are elsewhere.
            named = counts.keys() <= self.data.names_of_labels.keys()
            if not named:
                return "numbers" if place < len(self.columns) - 1 else "other"
        if set(counts) <= UNUSED:
            return "unused"
        if form is not None and form.kind != "types" and self._fits(place) and (form.kind == "prefix" or form.outside):
            return "tags"
        return "same" if self._is_the_same_in_each_sentence(place) else "other"

    def _fits(self, place: int) -> bool:
        form = self.forms[place]
        fitting = sum(n for tag, n in self.named[place].items() if form is not None and form.standard(tag) is not None)
        return fitting >= TAGS * len(self.rows)

    def _inside(self, place: int) -> int:
        """Words in entities."""
        form = self.forms[place]
        return 0 if form is None else sum(n for tag, n in self.named[place].items() if tag not in form.outside)

    def _counts_up(self, place: int) -> bool:
        """Whether the numbers go up by one, beginning with 0 or 1, in each sentence or in the whole file."""
        fitting, before = 0, (-1, 0)
        for sentence, fields in self.rows:
            value = fields[place]
            if not value.isdecimal():  # 1-2 and 8.1 in CoNLL-U stand before or after a word of their own
                fitting += 1
                continue
            number = int(value)
            fitting += number == before[1] + 1 or (sentence != before[0] and number in (0, 1))
            before = (sentence, number)
        return fitting >= COUNTING * len(self.rows) and any(value != "0" for value in self.counts[place])

    def _is_the_same_in_each_sentence(self, place: int) -> bool:
        values: dict[int, set[str]] = {}
        sizes: Counter[int] = Counter()
        for sentence, fields in self.rows:
            values.setdefault(sentence, set()).add(fields[place])
            sizes[sentence] += 1
        longer = [sentence for sentence, size in sizes.items() if size > 1]
        return bool(longer) and all(len(values[sentence]) == 1 for sentence in longer)

    def _tags(self) -> int | None:
        """The column of tags: the first layer that has about as many words in entities as any other, but phrases and
        types without prefixes only if there is nothing else; else the last column."""
        width = len(self.columns)
        layers = [place for place in range(width) if self.kinds[place] == "tags"]
        full = [place for place in layers if self._inside(place)]
        if not full:
            types = [place for place in range(width) if self._may_be_types(place)]
            if types:
                best = max(types, key=lambda place: (self._outside(place), place))
                self.kinds[best] = "tags"
                return best
            left = [place for place in range(width) if self.kinds[place] == "other"]
            return layers[-1] if layers else left[-1] if len(left) > 1 else None
        by_name = [place for place in full if self._name(place) in TAG_NAMES]
        if len(by_name) == 1:
            return by_name[0]
        full = [place for place in full if not self._are_phrases(place, full)] or full
        most = max(map(self._inside, full))
        return next(place for place in full if self._inside(place) >= OUTER * most)

    def _outside(self, place: int) -> int:
        return len(self.rows) - self._inside(place)

    def _may_be_types(self, place: int) -> bool:
        form = self.forms[place]
        return self.kinds[place] == "other" and form is not None and form.kind == "types" and self._fits(place)

    def _are_phrases(self, place: int, layers: Sequence[int]) -> bool:
        form = self.forms[place]
        tags = (form.standard(tag) if form else None for tag in self.named[place])
        if {tag.partition("-")[2] for tag in tags if tag and tag != "O"} <= CHUNKS:
            return True
        few = PHRASES * len(self.rows)
        return (
            len(self.rows) >= ENOUGH
            and self._outside(place) < few
            and any(self._outside(other) > few for other in layers)
        )

    def _words(self, tags: int | None) -> int:
        left = [place for place, kind in enumerate(self.kinds) if kind == "other" and place != tags]
        by_name = [place for place in left if self._name(place) in WORD_NAMES]
        if by_name:
            return by_name[0]
        if left:  # parts of speech are few, words are many
            many = max(len(self.counts[place]) for place in left) / 2
            return next(place for place in left if len(self.counts[place]) >= many)
        return next((place for place, kind in enumerate(self.kinds) if kind != "number" and place != tags), 0)

    def _name(self, place: int) -> str:
        names = self.start.names
        return names[place].casefold() if place < len(names) else ""

    def _chosen(self, setting: str | None, own: int | None) -> int | None:
        """The column that a setting names by its name or number, if there is one; else `own`."""
        if setting in self.start.names:
            return self.start.names.index(setting)
        if setting and setting.isdecimal() and 1 <= int(setting) <= len(self.columns):
            return int(setting) - 1
        return own


def _renamed(counts: Counter[str], given: Mapping[str, str]) -> Counter[str]:
    named: Counter[str] = Counter()
    for value, count in counts.items():
        named[given.get(value, value)] += count
    return named
