"""The entities in the tags of many sentences at once, as `tags.spans` reads those of one.

Shapes: S sentences, M words of all of them, E entities.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa

from pipeline.data.tagging.tags import GOES_ON, OPEN, split


class Spans(NamedTuple):
    """Entities, sentence by sentence and in their order.

    Attributes:
        counts: (S,) entities of each sentence.
        kind: (E,) type.
        start, end: (E,) first word, and the word after the last, counted from the beginning of the sentence.
    """

    counts: np.ndarray
    kind: np.ndarray
    start: np.ndarray
    end: np.ndarray

    def arrow(self) -> pa.ListArray:
        """A list of `type`, `start` and `end` for each sentence."""
        numbers = (pa.array(values, pa.int32()) for values in (self.start, self.end))
        entities = pa.StructArray.from_arrays([pa.array(self.kind, pa.string()), *numbers], ["type", "start", "end"])
        return pa.ListArray.from_arrays(_offsets(np.cumsum(self.counts)), entities)


def lists_of(words: np.ndarray, ends: np.ndarray) -> pa.ListArray:
    """(M,) strings as a list for each sentence, which ends before the word with that number."""
    return pa.ListArray.from_arrays(_offsets(ends), pa.array(words, pa.string()))


def _offsets(ends: np.ndarray) -> pa.Array:
    return pa.array(np.concatenate([[0], ends]), pa.int32())


def read(tags: np.ndarray, ends: np.ndarray) -> Spans:
    """The entities of sentences.

    Args:
        tags: (M,) in any scheme, as Python strings.
        ends: (S,) number of the word after the last of each sentence.
    """
    coded = pa.array(tags, pa.string()).dictionary_encode()
    codes, names = coded.indices.to_numpy(), list(map(split, coded.dictionary.to_pylist()))
    kinds = {kind: number for number, kind in enumerate(dict.fromkeys(kind for _, kind in names))}
    flags = [(kinds[kind], prefix != "O", prefix in GOES_ON, prefix in OPEN) for prefix, kind in names]
    known = np.array(flags, dtype=np.int64).reshape(-1, 4)
    kind, is_inside, may_go_on, is_open = known.T[:, codes]  # (M,) each
    begins = np.concatenate([[0], ends[:-1]])
    goes_on = np.zeros(len(tags), dtype=bool)
    goes_on[1:] = may_go_on[1:].astype(bool) & is_open[:-1].astype(bool) & (kind[1:] == kind[:-1])
    goes_on[begins[begins < len(tags)]] = False  # the tag before the first of a sentence counts as O
    first = np.flatnonzero(is_inside.astype(bool) & ~goes_on)
    followed = np.append(goes_on[1:], False)[: len(tags)]
    last = np.flatnonzero(is_inside.astype(bool) & ~followed) + 1
    sentence = np.searchsorted(ends, first, side="right")
    counts = np.bincount(sentence, minlength=len(ends))
    types = np.array([*kinds], dtype=object)[kind[first]]
    return Spans(counts, types, first - begins[sentence], last - begins[sentence])
