"""Text that a tagger is to read, cut into words as its training data was, in scripts without blanks as well."""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Callable, Iterator

from transformers import PreTrainedTokenizerBase

from pipeline.data.text_stats import script
from pipeline.data.tokenization.tokenizers import cutting, whole_words
from pipeline.data.tokenization.word_patterns import FIRST_UNSPACED, UNSPACED, cut

Cut = list[tuple[int, int]]
"""Start and end, in characters, of each word."""


@functools.lru_cache(maxsize=1)
def cutter(tokenizer: PreTrainedTokenizerBase) -> Callable[[str], Cut]:
    """A function from a text to the places of its words.

    Where the training data had longer words in a script without blanks, a run of letters is cut into words of the
    vocabulary by longest match from left to right (the baseline of Sproat & Emerson 2003). Letters between two such
    words are one word, which is unknown to the model.
    """
    spelling = cutting(tokenizer)
    known = whole_words(tokenizer)
    words = frozenset(filter(_is_long, known))
    longest = max(map(len, words), default=0)

    def places(text: str) -> Cut:
        found = cut(text, *spelling)
        if not words or not text or max(text) < FIRST_UNSPACED:
            return found
        return [part for start, end in found for part in _segments(text, start, end, known, longest)]

    return places


def _is_long(word: str) -> bool:
    """Whether `word` has several letters and some of a script without blanks."""
    return len(word) > 1 and _is_unspaced(word[0])


def _is_unspaced(character: str) -> bool:
    return character >= FIRST_UNSPACED and script(character) in UNSPACED


def _segments(text: str, start: int, end: int, known: frozenset[str], longest: int) -> Iterator[tuple[int, int]]:
    """The words in a run of letters; all of it if it is in the vocabulary or in a script with blanks."""
    if text[start:end] in known or not any(map(_is_unspaced, text[start:end])):
        yield start, end
        return
    begin = place = start  # the letters from `begin` to `place` are in no word yet
    while place < end:
        stop = _longest_match(text, place, end, known, longest)
        if stop is None:
            place += 1
            if place < end and _is_unspaced(text[place]) != _is_unspaced(text[place - 1]) and not _is_mark(text[place]):
                yield begin, place  # from one script to another
                begin = place
            continue
        if begin < place:
            yield begin, place
        yield place, stop
        begin = place = stop
    if begin < end:
        yield begin, end


def _longest_match(text: str, place: int, end: int, known: frozenset[str], longest: int) -> int | None:
    """Where the longest word of the vocabulary that begins at `place` ends, before a letter and not before its mark."""
    if not _is_unspaced(text[place]):
        return None
    for stop in range(min(end, place + longest), place, -1):
        if text[place:stop] in known and not (stop < end and _is_mark(text[stop])):
            return stop
    return None


def _is_mark(character: str) -> bool:
    return unicodedata.category(character).startswith("M")
