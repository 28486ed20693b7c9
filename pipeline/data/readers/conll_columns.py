"""Chooses the columns of a CoNLL file from its first lines."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from pipeline.config.data import Data
from pipeline.config.looks_like_conll import SENTENCE_END
from pipeline.config.tag_forms import OUTSIDE, PREFIXED, form_of
from pipeline.data.readers import separators
from pipeline.data.readers.conll_layout import (
    BRACKETS,
    DOCUMENT,
    KEY_AND_VALUE,
    PAIR,
    Layout,
    with_prefixes,
    with_tabs,
)

NAMES = re.compile(r"#\s*global\.columns\s*[=:]\s*(.+)")
WORD_NAMES = {"form", "word", "words", "token", "tokens", "text", "surface"}
TAG_NAMES = {"tag", "tags", "ner", "ner_tag", "ner_tags", "ne", "label", "labels", "entity", "iob", "bio"}
CHUNKS = {"NP", "VP", "PP", "ADVP", "ADJP", "SBAR", "PRT", "CONJP", "INTJ", "LST", "UCP", "NC", "VC", "PC"}
UNUSED = {"", "_", "-", "-X-", "*"}
SHOWN = {"id": "other"}
# Separators that are tried, after tabs and blanks.
SEPARATORS = ",;|"
# Shares of the rows: of a column that counts words, and of tags that have the form of most.
COUNTING, TAGS = 0.9, 0.9
# Of several layers of tags, the first is chosen that has at least this share of the most words in entities.
OUTER = 0.8
# Share of O below which tags are those of phrases, if other tags have a larger one, and the rows that it takes to know.
PHRASES, ENOUGH = 0.4, 200
# More different values than this are not tags if most occur once.
FEW = 50
# Among this many words, some occur twice.
UNIQUE = 100
# en:Oslo in WikiAnn; and how many different words it takes to know.
PREFIX, ENOUGH_WORDS = re.compile(r"[a-z]{2,3}(-[a-z]+)?:(?=.)"), 20
# A letter and its number in a word.
NUMBERED = re.compile(r"\D\d")

Row = tuple[int, list[str]]
"""Sentence and columns."""


def choose(head: bytes, data: Data) -> Layout | None:
    """The layout of a file that begins with these lines; None if there is no word among them."""
    lines = head.decode().split("\n")
    separator = _separator(lines, data)
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


def _separator(lines: Sequence[str], data: Data) -> str | None:
    if chosen := separators.chosen(data):
        return None if chosen == " " else chosen
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
            nothing), id (of a sentence or word), tags, or other.
    """

    rows: Sequence[Row]
    start: Layout
    data: Data
    kinds: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.columns = list(zip(*(fields for _, fields in self.rows), strict=True))
        self.bracketed = [place for place, column in enumerate(self.columns) if _are_brackets(column)]
        for place in self.bracketed:
            self.columns[place] = tuple(with_prefixes(self.columns[place]))
        self.counts = [Counter(column) for column in self.columns]
        given = self.data.names_of_labels
        self.named = [_renamed(counts, given) for counts in self.counts]
        self.forms = [form_of(counts) for counts in self.named]
        self.kinds = [self._kind(place) for place in range(len(self.columns))]

    def layout(self) -> Layout:
        own, key = self._tags()
        tags = self._chosen(self.data.tag_column, own)
        words = self._chosen(self.data.token_column, self._words(tags)) or 0
        layout = replace(
            self.start,
            words=words,
            tags=tags,
            number=next((place for place, kind in enumerate(self.kinds) if kind == "number" and place != words), None),
            kinds=tuple("word" if place == words else SHOWN.get(kind, kind) for place, kind in enumerate(self.kinds)),
            prefix=_common_prefix(self.counts[words]),
            is_numbered=_are_numbered(self.counts[words]),
            brackets=tags in self.bracketed,
            ends_sentences=next((place for place, own in enumerate(self.counts) if _ends_sentences(own)), None),
        )
        if tags is None:
            return layout
        form = self.forms[tags] if tags != own or key is None else form_of(self._by_key(tags)[key])
        inside = form is not None and (key is not None or self._inside(tags) > 0)
        known = frozenset(self.counts[tags])
        return replace(layout, form=form, known=known, tag_key=key if tags == own else None, has_entities=inside)

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
        if form is not None and form.kind != "types" and (form.kind == "prefix" or form.outside) and self._fits(place):
            return "tags"
        return "id" if self._is_id(place) else "other"

    def _fits(self, place: int) -> bool:
        form = self.forms[place]
        if len(self.counts[place]) > max(FEW, len(self.rows) / 2):  # ids such as S-123
            return False
        fitting = sum(n for tag, n in self.named[place].items() if form is not None and form.standard(tag) is not None)
        return fitting >= TAGS * len(self.rows)

    def _inside(self, place: int) -> int:
        """Words in entities."""
        form = self.forms[place]
        return 0 if form is None else sum(n for tag, n in self.named[place].items() if tag not in form.outside)

    def _counts_up(self, place: int) -> bool:
        """Whether the numbers go up by one, beginning with 0 or 1, in each sentence or in the whole file."""
        # In CoNLL-U, 1-2 and 8.1 stand before or after a word that has a number of its own.
        numbers = [(sentence, int(fields[place])) for sentence, fields in self.rows if fields[place].isdecimal()]
        fitting, before = 0, (-1, 0)
        for sentence, number in numbers:
            fitting += number == before[1] + 1 or (sentence != before[0] and number in (0, 1))
            before = (sentence, number)
        is_counted = fitting >= COUNTING * len(numbers) and any(number for _, number in numbers)
        return is_counted and len(numbers) > len(self.rows) / 2

    def _is_id(self, place: int) -> bool:
        """Whether each sentence has one value, or each word of many its own."""
        values: dict[int, set[str]] = {}
        sizes: Counter[int] = Counter()
        for sentence, fields in self.rows:
            values.setdefault(sentence, set()).add(fields[place])
            sizes[sentence] += 1
        longer = [sentence for sentence, size in sizes.items() if size > 1]
        if longer and all(len(values[sentence]) == 1 for sentence in longer):
            return True
        return len(self.counts[place]) == len(self.rows) >= UNIQUE

    def _tags(self) -> tuple[int | None, str | None]:
        """The column of tags, and the key before each tag, if any.

        The first layer that has about as many words in entities as any other; but letters, phrases, pairs of keys and
        values, and types without prefixes only if there is nothing else; and the last column if there are none.
        """
        layers = [place for place, kind in enumerate(self.kinds) if kind == "tags"]
        full = [place for place in layers if self._inside(place)]
        full = [place for place in full if not self._is_of(place, "letters")] or full
        if full:
            return self._layer(full), None
        if pairs := self._pairs():
            return pairs
        types = [place for place in range(len(self.columns)) if self._may_be_types(place)]
        if types:
            best = max(types, key=lambda place: (self._outside(place), place))
            self.kinds[best] = "tags"
            return best, None
        left = [place for place, kind in enumerate(self.kinds) if kind in ("other", "id")]
        return layers[-1] if layers else left[-1] if len(left) > 1 else None, None

    def _layer(self, layers: Sequence[int]) -> int:
        """Which of several columns of tags with entities counts."""
        by_name = [place for place in layers if self._name(place) in TAG_NAMES]
        if len(by_name) == 1:
            return by_name[0]
        layers = [place for place in layers if not self._are_phrases(place, layers)] or layers
        most = max(map(self._inside, layers))
        return next(place for place in layers if self._inside(place) >= OUTER * most)

    def _pairs(self) -> tuple[int, str] | None:
        """The column and the key of tags with entities, in a column of pairs of keys and values."""
        found = {
            (place, key): counts.total() - counts["O"]
            for place in range(len(self.columns))
            for key, counts in self._by_key(place).items()
        }
        best = max(found, key=found.__getitem__, default=None)
        return best if best is not None and found[best] else None

    def _by_key(self, place: int) -> dict[str, Counter[str]]:
        """Key -> how often it has each tag, in a column of pairs."""
        counts: dict[str, Counter[str]] = {}
        for value, number in self.counts[place].items():
            for key, tag in PAIR.findall(value):
                counts.setdefault(key, Counter())[tag] += number
        return counts

    def _is_of(self, place: int, kind: str) -> bool:
        form = self.forms[place]
        return form is not None and form.kind == kind

    def _outside(self, place: int) -> int:
        return len(self.rows) - self._inside(place)

    def _may_be_types(self, place: int) -> bool:
        """Whether a column has types and O, and fewer different values than the words. A language may have a word O."""
        if self.kinds[place] not in ("other", "id") or not self._is_of(place, "types") or not self._fits(place):
            return False
        sizes = [len(counts) for counts in self.counts]
        return any(size >= sizes[place] for size in sizes[:place]) or any(size > sizes[place] for size in sizes)

    def _are_phrases(self, place: int, layers: Sequence[int]) -> bool:
        form = self.forms[place]
        tags = (form.standard(tag) if form else None for tag in self.named[place])
        if {tag.partition("-")[2] for tag in tags if tag and tag != "O"} <= CHUNKS:
            return True
        if not self._outside(place) and any(map(self._outside, layers)):
            return True  # clauses (LST20)
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


def _common_prefix(words: Mapping[str, int]) -> str:
    """The letters and the colon before every word, if all have the same ones before another letter, else nothing."""
    match = PREFIX.match(next(iter(words)))
    prefix = match[0] if match else ""
    return prefix if len(words) >= ENOUGH_WORDS and all(word.startswith(prefix) for word in words) else ""


def _are_numbered(words: Mapping[str, int]) -> bool:
    """Whether every word is a letter and its number in a word, as in Weibo NER."""
    return len(words) >= ENOUGH_WORDS and all(map(NUMBERED.fullmatch, words))


def _ends_sentences(values: Mapping[str, int]) -> bool:
    return any(SENTENCE_END in value for value in values)


def _are_brackets(values: Sequence[str]) -> bool:
    """Whether values are brackets around names; those around the arguments of a verb are not."""
    found = set(values)
    kinds = {match[1] for value in found if (match := BRACKETS.fullmatch(value))}
    is_whole = "*" in found and any(kinds) and all(map(BRACKETS.fullmatch, found))
    return is_whole and not any(kind and (kind == "V" or kind.startswith("ARG")) for kind in kinds)
