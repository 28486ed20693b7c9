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
    codes, (prefix, kind) = coded.indices.to_numpy(), _parts(coded.dictionary.to_pylist())
    begins = np.concatenate([[0], ends[:-1]])
    prefixes, kinds = prefix[codes], kind[codes]  # (M,)
    # The tag before the first of a sentence is O; behind the last sentence there is nothing.
    before, kind_before = np.roll(prefixes, 1), np.roll(kinds, 1)
    at_begin = begins[begins < len(tags)]
    before[at_begin] = "O"
    goes_on = np.isin(prefixes, list(GOES_ON)) & np.isin(before, list(OPEN)) & (kinds == kind_before)
    first = np.flatnonzero((prefixes != "O") & ~goes_on)
    followed = np.append(goes_on[1:], False)[: len(tags)]
    last = np.flatnonzero((prefixes != "O") & ~followed) + 1
    sentence = np.searchsorted(ends, first, side="right")
    counts = np.bincount(sentence, minlength=len(ends))
    return Spans(counts, kinds[first], first - begins[sentence], last - begins[sentence])


def _parts(tags: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Prefix and type of each tag."""
    parts = np.empty((2, len(tags)), dtype=object)
    for index, tag in enumerate(tags):
        parts[:, index] = split(tag)
    return parts[0].astype("U1"), parts[1]
