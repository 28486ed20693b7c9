"""The entities in the tags of many sentences at once, as `tags.spans` reads those of one.

Shapes: S sentences, M words of all of them, E entities.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from pipeline.data.tagging.tags import GOES_ON, OPEN, split


class Tags(NamedTuple):
    """Tags in any scheme as numbers, which take a fraction of the time and the memory of strings.

    Attributes:
        codes: (M,) place of each word's tag in `names`.
        names: they may hold a tag twice.
    """

    codes: np.ndarray
    names: Sequence[str]

    @classmethod
    def of(cls, tags: np.ndarray) -> Tags:
        """(M,) Python strings as numbers."""
        coded = pa.array(tags, pa.string()).dictionary_encode()
        return cls(coded.indices.to_numpy(), coded.dictionary.to_pylist())

    def strings(self) -> np.ndarray:
        """(M,) Python strings."""
        return np.array([*self.names], dtype=object)[self.codes]

    def lists(self, ends: np.ndarray) -> pa.ListArray:
        """A list of tags for each sentence, which ends before the word with that number."""
        return pa.ListArray.from_arrays(_offsets(ends), _named(self.names, self.codes))


class Spans(NamedTuple):
    """Entities, sentence by sentence and in their order.

    Attributes:
        counts: (S,) entities of each sentence.
        kind: (E,) place of its type in `kinds`.
        start, end: (E,) first word, and the word after the last, counted from the beginning of the sentence.
        kinds: types.
    """

    counts: np.ndarray
    kind: np.ndarray
    start: np.ndarray
    end: np.ndarray
    kinds: Sequence[str]

    def arrow(self) -> pa.ListArray:
        """A list of `type`, `start` and `end` for each sentence."""
        numbers = (pa.array(values, pa.int32()) for values in (self.start, self.end))
        entities = pa.StructArray.from_arrays([_named(self.kinds, self.kind), *numbers], ["type", "start", "end"])
        return pa.ListArray.from_arrays(_offsets(np.cumsum(self.counts)), entities)


def _named(names: Sequence[str], codes: np.ndarray) -> pa.Array:
    return pa.array(names, pa.string()).take(pa.array(codes))


def _offsets(ends: np.ndarray) -> pa.Array:
    return pa.array(np.concatenate([[0], ends]), pa.int32())


def read(tags: Tags, ends: np.ndarray) -> Spans:
    """The entities of sentences.

    Args:
        tags: of their M words.
        ends: (S,) number of the word after the last of each sentence.
    """
    codes, names = tags.codes, list(map(split, tags.names))
    kinds = {kind: number for number, kind in enumerate(dict.fromkeys(kind for _, kind in names))}
    kind = np.array([kinds[kind] for _, kind in names], dtype=np.int32)[codes]  # (M,), as all of the following
    is_inside = np.array([prefix != "O" for prefix, _ in names], dtype=bool)[codes]
    may_go_on = np.array([prefix in GOES_ON for prefix, _ in names], dtype=bool)[codes]
    is_open = np.array([prefix in OPEN for prefix, _ in names], dtype=bool)[codes]
    begins = np.concatenate([[0], ends[:-1]])
    goes_on = np.zeros(len(codes), dtype=bool)
    goes_on[1:] = may_go_on[1:] & is_open[:-1] & (kind[1:] == kind[:-1])
    goes_on[begins[begins < len(codes)]] = False  # the tag before the first of a sentence counts as O
    first = np.flatnonzero(is_inside & ~goes_on)
    followed = np.append(goes_on[1:], False)[: len(codes)]
    last = np.flatnonzero(is_inside & ~followed) + 1
    counts = np.diff(np.searchsorted(first, ends), prepend=0)
    begin = np.repeat(begins, counts)
    return Spans(counts, kind[first], first - begin, last - begin, [*kinds])
