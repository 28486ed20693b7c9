"""Text that a tagger is to read, cut into words as its training data was, in scripts without blanks as well."""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Callable, Iterator

from tokenizers import models
from transformers import PreTrainedTokenizerBase

from pipeline.data.text_stats import script
from pipeline.data.tokenization.tokenizers import ONE_BY_ONE, WITHOUT_BLANKS
from pipeline.data.tokenization.word_patterns import FIRST_UNSPACED, SAMPLES, UNSPACED, Spelling, cut

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
    words = frozenset(filter(is_long, known))
    longest = max(map(len, words), default=0)

    def places(text: str) -> Cut:
        found = cut(text, *spelling)
        if not words or not text or max(text) < FIRST_UNSPACED:
            return found
        return [part for start, end in found for part in _segments(text, start, end, known, longest)]

    return places


def cutting(tokenizer: PreTrainedTokenizerBase) -> Spelling:
    """How running text is cut into words for `tokenizer` before it is tagged: as the data that it was trained on.

    A letter of a script without blanks is a word of its own if the tokenizer itself makes it one: those trained here
    do if the training data did, and BERT's do for Chinese.
    """
    if not tokenizer.is_fast:
        return Spelling()
    samples = list(SAMPLES.items())
    encoded = tokenizer([sample for _, sample in samples], add_special_tokens=False, verbose=False)
    scripts = frozenset(name for row, (name, _) in enumerate(samples) if len(set(encoded.word_ids(row))) > 1)
    return Spelling(scripts, bool(tokenizer.init_kwargs.get(ONE_BY_ONE)))


def whole_words(tokenizer: PreTrainedTokenizerBase) -> frozenset[str]:
    """The words in a vocabulary of words, and what may be words in one of WordPiece, if it was trained here on words of
    a script without blanks. Byte-level BPE splits such words at their marks."""
    if not tokenizer.is_fast:
        return frozenset()
    vocabulary, model = tokenizer.get_vocab(), tokenizer.backend_tokenizer.model
    if isinstance(model, models.WordLevel):  # which a language model spells in bytes, with a blank before each
        decoder = tokenizer.backend_tokenizer.decoder
        return frozenset(decoder.decode([word]).strip() if decoder else word for word in vocabulary)
    if not (isinstance(model, models.WordPiece) and tokenizer.init_kwargs.get(WITHOUT_BLANKS)):
        return frozenset()
    return frozenset(word for word in vocabulary if len(word) > 1 and not word.startswith("##"))


def is_long(word: str) -> bool:
    """Whether `word` has several letters and some of a script without blanks."""
    return len(word) > 1 and _is_unspaced(word[0])


def has_unspaced(word: str) -> bool:
    """Whether `word` has a letter of a script without blanks."""
    return any(map(_is_unspaced, word))


def _is_unspaced(character: str) -> bool:
    return character >= FIRST_UNSPACED and script(character) in UNSPACED


def _segments(text: str, start: int, end: int, known: frozenset[str], longest: int) -> Iterator[tuple[int, int]]:
    """The words in a run of letters; all of it if it is in the vocabulary or in a script with blanks."""
    if text[start:end] in known or not has_unspaced(text[start:end]):
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
