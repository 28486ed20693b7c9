"""Draws texts without labels: each once, none that a model is scored on, and a random choice if there are too many."""

from __future__ import annotations

import hashlib
import heapq
from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.data.new_rows import Content
from pipeline.data.text_stats import normalised


@dataclass(frozen=True)
class Unlabelled:
    """Texts, pairs of texts or lists of words, in the order in which they were read, and how many there were.

    Attributes:
        contents: what is drawn.
        report: counts, JSON-serializable: `drawn`, and what was left out; see `unlabelled.LEFT_OUT`.
    """

    contents: list[Content]
    report: dict[str, Any]


def number_of(content: Content, seed: int) -> int:
    """A random number of 64 bits, the same for equal contents; see `text_stats.normalised` for what is equal.

    Among 10 million contents, two different ones have the same number with a probability of 3 in a million.
    """
    texts = content if isinstance(content, tuple) else (content if isinstance(content, str) else " ".join(content),)
    form = "\n".join(normalised(text) or text for text in texts)
    digest = hashlib.blake2b(form.encode(), digest_size=8, key=seed.to_bytes(8, "little")).digest()
    return int.from_bytes(digest, "little")


class Draw:
    """Draws up to `limit` different contents at random, in one pass.

    Those whose `number_of` is smallest are drawn (bottom-k sampling, Cohen & Kaplan 2007). So the choice depends on
    the contents and the seed alone, and not on their order or on how often one is repeated.

    Memory grows with `limit`, and by 8 bytes for each content that is added.
    """

    def __init__(self, limit: int, seed: int, held_out: Iterable[Content], trained: Iterable[Content] = ()):
        """`held_out` and `trained`: contents that are never drawn, counted by these names."""
        self._limit, self._seed = limit, seed
        # What is in both counts as held out.
        named = {"trained": trained, "held_out": held_out}
        self._forbidden = {number_of(content, seed): name for name, own in named.items() for content in own}
        self._left_out = dict.fromkeys(named, 0)
        self._numbers = array("Q")  # of all other contents
        self._greatest: list[int] = []  # a heap of the negative numbers of those drawn so far
        self._drawn: dict[int, tuple[int, Content]] = {}  # with their place in the order

    def add(self, content: Content) -> bool:
        """Whether `content` is new and, so far, drawn."""
        number = number_of(content, self._seed)
        if name := self._forbidden.get(number):
            self._left_out[name] += 1
            return False
        self._numbers.append(number)
        if number in self._drawn:
            return False
        if len(self._greatest) < self._limit:
            heapq.heappush(self._greatest, -number)
        elif number > -self._greatest[0]:
            return False
        else:
            del self._drawn[-heapq.heapreplace(self._greatest, -number)]
        self._drawn[number] = len(self._numbers), content
        return True

    def finish(self) -> Unlabelled:
        """What is drawn, in the order in which it was added."""
        different = len(np.unique(np.frombuffer(self._numbers, np.uint64))) if self._numbers else 0
        report = {
            **self._left_out,
            "duplicates": len(self._numbers) - different,
            "over_limit": different - len(self._drawn),
            "drawn": len(self._drawn),
        }
        in_order = sorted(self._drawn.values(), key=lambda drawn: drawn[0])
        return Unlabelled([content for _, content in in_order], report)
