"""Windows over many sentences at once: which words each reads, which it owns, and their tokens in a row.

Shapes: N words of all sentences, P their tokens, R windows, T tokens of all windows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from pipeline.data.tagging.tag_codes import Coded
from pipeline.data.tagging.tags import Span
from pipeline.data.tokenization.word_alignment import labelled, ranges, windows


class Windows(NamedTuple):
    """Windows over sentences, in the order of their words.

    Each attribute is (R,), a number of a word among those of all sentences.

    Attributes:
        start: the first word that a window reads.
        stop: the word after the last that it reads.
        begin: the first word that it owns.
        end: the word after the last that it owns.
        labels_from: the first word that has a label in training; see `word_alignment.labelled`.
        labels_to: the word after the last that has one.
        begins: 1 if it is the first window of its sentence, else 0.
    """

    start: np.ndarray
    stop: np.ndarray
    begin: np.ndarray
    end: np.ndarray
    labels_from: np.ndarray
    labels_to: np.ndarray
    begins: np.ndarray


def cut(first: np.ndarray, tags: Coded, size: int) -> Windows:
    """Windows of at most `size` tokens; a sentence that fits is one window, and one without words has none.

    Args:
        first: (N + 1,) the first token of each word, and P.
        tags: of the words.
    """
    starts, stops = tags.offsets[:-1], tags.offsets[1:]
    tokens = first[stops] - first[starts]
    fits = (tokens <= size) & (stops > starts)
    whole = np.stack([starts, stops, starts, stops, starts, stops, np.ones_like(starts)], axis=1)[fits]
    long = [_windows(first, tags, int(starts[row]), int(stops[row]), size) for row in np.flatnonzero(tokens > size)]
    found = np.concatenate([whole, *long])
    return Windows(*found[np.argsort(found[:, 2], kind="stable")].T)


def _windows(first: np.ndarray, tags: Coded, start: int, stop: int, size: int) -> np.ndarray:
    """Windows over one long sentence, a row for each with the attributes of `Windows`."""
    parts = windows(first[start : stop + 1] - first[start], size)
    low, high = np.searchsorted(tags.starts, (start, stop))
    places = zip((tags.starts[low:high] - start).tolist(), (tags.stops[low:high] - start).tolist(), strict=True)
    entities: Sequence[Span] = [("", begin, end) for begin, end in places]
    rows = [
        [*(start + word for word in (*part, *own)), int(part.begin == 0)]
        for part, own in zip(parts, labelled(parts, entities), strict=True)
    ]
    return np.array(rows, dtype=np.int64)


class Framed:
    """The tokens of windows, each with the special tokens before and behind them.

    Args:
        first: (N + 1,) the first token of each word, and P.
        before: how many special tokens come before those of a window.
        behind: how many come after them.

    Attributes:
        at: for each token of a window that belongs to a word, which of the P tokens it is.
        counts: (R,) how many of them each window has.
        offsets: (R + 1,) window r has the tokens offsets[r] up to offsets[r + 1] of T, special ones included.
    """

    def __init__(self, windows: Windows, first: np.ndarray, before: int, behind: int):
        self.windows, self.before, self.behind = windows, before, behind
        begins = first[windows.start]
        self.counts = first[windows.stop] - begins
        self.at = ranges(begins, self.counts)
        self.offsets = np.concatenate([[0], np.cumsum(self.counts + before + behind)])
        self._places = ranges(self.offsets[:-1] + before, self.counts)

    def fill(self, values: np.ndarray, before: Sequence[int], behind: Sequence[int]) -> pa.ListArray:
        """A list for each window: `values` (of `at`, any number for each token), between those of special tokens."""
        wide = int(np.prod(values.shape[1:]))
        filled = np.empty((int(self.offsets[-1]), wide), dtype=np.int32)
        filled[self._places] = values.reshape(-1, wide)
        for own, places in ((before, self.offsets[:-1]), (behind, self.offsets[1:] - self.behind)):
            for number, value in enumerate(own):
                filled[places + number] = value
        return pa.ListArray.from_arrays(pa.array(self.offsets * wide, pa.int32()), pa.array(filled.ravel()))
