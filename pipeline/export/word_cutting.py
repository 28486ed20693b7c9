"""Cuts running text into words as the training data of a tagger was cut, and long sentences into windows.

It travels with taggers, and runner.py loads it.
"""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from tokenizers import Regex, pre_tokenizers


class Cutter:
    """Cuts texts into words; `words` is what export.json says about them."""

    def __init__(self, words: Mapping[str, Any]):
        self.scripts, self.unspaced, self.known = words["scripts"], words["unspaced"], frozenset(words["known"])
        patterns = [pattern for pattern in (words["pattern"], words["pattern_of_scripts"]) if pattern]
        self.cutters = [pre_tokenizers.Split(Regex(pattern), "removed", invert=True) for pattern in patterns]
        self.longest = max((len(word) for word in self.known if self._is_unspaced(word[0])), default=0)

    def cut(self, text: str) -> list[tuple[int, int]]:
        """Start and end of each word of a text, cut as the training data was."""
        by_letter = bool(self.scripts) and any(script(letter) in self.scripts for letter in set(text))
        found = [place for _, place in self.cutters[by_letter].pre_tokenize_str(text)]
        return [part for place in found for part in self._segments(text, *place)] if self.known else found

    def _segments(self, text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
        """The words in a run of letters of a script without blanks, by longest match from left to right (Sproat &
        Emerson 2003). Letters between two known words are one word, or one for each script."""
        begin = place = start  # the letters from `begin` to `place` are in no word yet
        if text[start:end] in self.known or not any(map(self._is_unspaced, text[start:end])):
            place = end
        while place < end:
            stop = self._longest_match(text, place, end)
            changes = self._is_unspaced(text[place]) != self._is_unspaced(text[place - 1]) and not _is_mark(text[place])
            if begin < place and (stop or changes):
                yield begin, place
                begin = place
            if stop:
                yield place, stop
                begin = stop
            place = stop or place + 1
        if begin < end:
            yield begin, end

    def _longest_match(self, text: str, place: int, end: int) -> int | None:
        """Where the longest known word ends that begins at `place`; a letter keeps its marks."""
        stops = range(min(end, place + self.longest), place, -1) if self._is_unspaced(text[place]) else ()
        known = (stop for stop in stops if text[place:stop] in self.known)
        return next((stop for stop in known if stop == end or not _is_mark(text[stop])), None)

    def _is_unspaced(self, letter: str) -> bool:
        return script(letter) in self.unspaced


@functools.cache
def script(letter: str) -> str:
    """The script of a letter, from its Unicode name: HEBREW LETTER ALEF."""
    name = unicodedata.name(letter, "unknown").removeprefix("HALFWIDTH ").removeprefix("FULLWIDTH ").split()[0]
    return "Han" if name == "CJK" else name.split("-")[0].capitalize()


def _is_mark(letter: str) -> bool:
    return unicodedata.category(letter).startswith("M")


def windows(first: np.ndarray, size: int, overlap: int) -> Iterator[tuple[int, int, int, int]]:
    """Windows of at most `size` tokens over a sentence: the words that each reads, from `start` to `stop`, and those
    that it tags, from `begin` to `end`. A word is tagged where it has the most tokens around it.

    Args:
        first: (words + 1,) the first token of each word, and the number of tokens.
        overlap: neighbouring windows share one token in this many.
    """
    words, start, stop, read = len(first) - 1, 0, 0, list[tuple[int, int]]()
    while stop < words:
        if read:
            shared = int(np.searchsorted(first, first[stop] - size // overlap, side="right")) - 1
            start = max(shared, int(np.searchsorted(first, first[stop + 1] - size)), start + 1)
        stop = int(np.searchsorted(first, first[start] + size, side="right")) - 1
        read.append((start, stop))
    context = np.full((len(read), words), -1.0)
    for own, (start, stop) in zip(context, read, strict=True):
        before = first[start:stop] - first[start] if start else np.inf  # nothing more can be read on this side
        after = first[stop] - first[start + 1 : stop + 1] if stop < words else np.inf
        own[start:stop] = np.minimum(before, after)
    borders = np.searchsorted(context.argmax(axis=0), range(len(read) + 1)).tolist()
    for (start, stop), begin, end in zip(read, borders, borders[1:], strict=False):
        if begin < end:
            yield start, stop, begin, end
