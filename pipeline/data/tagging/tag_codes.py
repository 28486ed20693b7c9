"""Tags of many sentences at once, as arrays of numbers: what `tags` does sentence by sentence.

Shapes: S sentences, N words of all of them, one after another.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.data.rows import Places, whole
from pipeline.data.tagging import tags

# Prefixes by their numbers.
LETTERS = "OBIES"
OUTSIDE, BEGIN, INSIDE, END, SINGLE = range(len(LETTERS))


@dataclass(frozen=True)
class Coded:
    """Tags of sentences.

    Attributes:
        prefixes: (N,) of `LETTERS`.
        kinds: (N,) number of each word's type; that of O is 0.
        offsets: (S + 1,) sentence s has the words offsets[s] up to offsets[s + 1].
    """

    prefixes: np.ndarray
    kinds: np.ndarray
    offsets: np.ndarray

    @functools.cached_property
    def first(self) -> np.ndarray:
        """(N,) whether a word begins a sentence."""
        first = np.zeros(len(self.prefixes), dtype=bool)
        first[self.offsets[:-1][np.diff(self.offsets) > 0]] = True
        return first

    @functools.cached_property
    def before(self) -> np.ndarray:
        """(N,) the prefix of the word before, in the same sentence; O at its beginning."""
        before = np.empty_like(self.prefixes)
        before[1:] = self.prefixes[:-1]
        before[self.first] = OUTSIDE
        return before

    @functools.cached_property
    def is_joined(self) -> np.ndarray:
        """(N,) whether an entity of the word's type is open before it."""
        same = np.zeros(len(self.kinds), dtype=bool)
        same[1:] = self.kinds[1:] == self.kinds[:-1]
        return same & _is_open(self.before)

    @functools.cached_property
    def goes_on(self) -> np.ndarray:
        """(N,) whether a word is in the same entity as the word before; see `tags.spans`."""
        return _continues(self.prefixes) & self.is_joined

    @functools.cached_property
    def starts(self) -> np.ndarray:
        """(entities,) the first word of each entity."""
        return np.flatnonzero((self.prefixes != OUTSIDE) & ~self.goes_on)

    @property
    def stops(self) -> np.ndarray:
        """(entities,) the word after the last of each entity."""
        ends = np.append(np.flatnonzero(~self.goes_on), len(self.goes_on))
        return ends[np.searchsorted(ends, self.starts, side="right")]

    def written(self, scheme: str) -> Coded:
        """The same entities in `scheme`, iob2 or bioes; see `tags.write`."""
        prefixes = write_prefixes(self.prefixes != OUTSIDE, self.goes_on, scheme)
        return Coded(prefixes, self.kinds, self.offsets)

    def broken(self, scheme: str) -> tuple[np.ndarray, np.ndarray]:
        """Words whose tag is invalid in `scheme` after the one before, and last words whose entity does not end;
        see `tags.breaks`."""
        none = np.zeros(0, dtype=np.int64)
        if scheme in tags.BREAKS:
            prefix = BEGIN if scheme == "IOB1" else INSIDE
            return np.flatnonzero((self.prefixes == prefix) & ~self.is_joined), none
        if scheme == "IO":
            return none, none
        invalid = np.where(_is_open(self.before), ~self.goes_on, _continues(self.prefixes))
        last = self.offsets[1:][np.diff(self.offsets) > 0] - 1
        return np.flatnonzero(invalid), last[_is_open(self.prefixes[last])]


def write_prefixes(is_inside: np.ndarray, goes_on: np.ndarray, scheme: str) -> np.ndarray:
    """(N,) the prefix of each word, or token.

    Args:
        is_inside: (N,) whether it is in an entity.
        goes_on: (N,) whether it is in the same entity as the one before.
        scheme: iob2 or bioes.
    """
    prefixes = np.where(goes_on, np.int8(INSIDE), np.int8(BEGIN))
    if scheme == "bioes":
        is_last = ~np.append(goes_on[1:], False)
        prefixes = np.where(is_last, np.where(goes_on, np.int8(END), np.int8(SINGLE)), prefixes)
    return np.where(is_inside, prefixes, np.int8(OUTSIDE))


def _is_open(prefixes: np.ndarray) -> np.ndarray:
    return (prefixes == BEGIN) | (prefixes == INSIDE)


def _continues(prefixes: np.ndarray) -> np.ndarray:
    return (prefixes == INSIDE) | (prefixes == END)


@dataclass
class Coder:
    """Reads and writes tags as numbers, the same in all batches.

    Attributes:
        standard: tag -> the tag to read in its place.
        kinds: type of each number; the first is that of O.
    """

    standard: Mapping[str, str] = field(default_factory=dict)
    kinds: list[str] = field(default_factory=lambda: [""])

    def read(self, column: pa.Array | pa.ChunkedArray) -> Coded:
        """A column of lists of tags in any scheme."""
        column = whole(column)
        coded = column.flatten().dictionary_encode()
        pairs = [self._numbers(tag) for tag in coded.dictionary.to_pylist()]
        prefixes = np.array([prefix for prefix, _ in pairs], dtype=np.int8)
        kinds = np.array([kind for _, kind in pairs], dtype=np.int32)
        codes = coded.indices.to_numpy()
        lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy()
        offsets = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
        if not pairs:
            return Coded(np.zeros(0, dtype=np.int8), np.zeros(0, dtype=np.int32), offsets)
        return Coded(prefixes[codes], kinds[codes], offsets)

    def _numbers(self, tag: str) -> tuple[int, int]:
        prefix, kind = tags.split(self.standard.get(tag, tag))
        if kind not in self.kinds:
            self.kinds.append(kind)
        return LETTERS.index(prefix), self.kinds.index(kind)

    def write(self, coded: Coded, kind: pa.DataType) -> pa.Array:
        """A column of lists of strings of an Arrow type."""
        names = ["O" if letter == "O" else f"{letter}-{own}" for own in self.kinds for letter in LETTERS]
        numbers = coded.kinds * len(LETTERS) + coded.prefixes
        values = pa.array(names, kind.value_type).take(pa.array(numbers))
        return pa.ListArray.from_arrays(pa.array(coded.offsets, pa.int32()), values)


def place_of(table: pa.Table, places: Places, word: int) -> str:
    """Where a word is, for messages: its own line if it has one, else its row and its number in the row.

    Args:
        table: rows with the columns tags, line and lines.
        word: its number among all words of the table.
    """
    lengths = pc.fill_null(pc.list_value_length(table["tags"]), 0).to_numpy()
    stops = np.cumsum(lengths)
    row = int(np.searchsorted(stops, word, side="right"))
    at = word - int(stops[row] - lengths[row])
    lines = table["lines"][row].as_py()
    return places.at(lines[at]) if lines else f"{places.at(table['line'][row].as_py())}: tag {at + 1}"


def count_types(columns: Iterable[pa.Array | pa.ChunkedArray]) -> Counter[str]:
    """How many entities of each type there are in columns of lists of tags."""
    coder = Coder()
    found = np.zeros(0, dtype=np.int64)
    for column in columns:
        coded = coder.read(column)
        own = np.bincount(coded.kinds[coded.starts], minlength=len(coder.kinds))
        own[: len(found)] += found
        found = own
    return Counter({kind: int(count) for kind, count in zip(coder.kinds, found, strict=False) if count})
