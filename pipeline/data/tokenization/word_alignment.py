"""Words to tokens: which tokens each word becomes, and windows over long sentences in which each word has one owner.

Shapes: P tokens of all words, W characters of a token.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from transformers import PreTrainedTokenizerBase

from pipeline.data.tagging.tags import Span
from pipeline.errors import UserError

# Neighbouring windows share 1/OVERLAP of their tokens: a word near the edge of one is well inside the other (as BERT
# reads long paragraphs for SQuAD, with a stride; Devlin et al. 2019).
OVERLAP = 3
# Distinct words are tokenized as sentences of this length: each call of a tokenizer costs more than a word.
WORDS_AT_ONCE = 256


class Words(NamedTuple):
    """Tokens of words.

    Attributes:
        input_ids: (P,) without special tokens.
        first: (words + 1,) the first token of each word, and P at the end: word w has the tokens first[w] up to
            first[w + 1], at least one.
        is_read: (words,) whether the tokenizer has a token for the word; if not, its token is the unknown one.
        char_ids: (P, W) if the tokenizer returns them.
    """

    input_ids: np.ndarray
    first: np.ndarray
    is_read: np.ndarray
    char_ids: np.ndarray | None = None


class TokenWindow(NamedTuple):
    """Part of a sentence that a model reads at once, in words: it reads `start` up to `stop`, and owns `begin` up to
    `end`, for which its prediction counts."""

    start: int
    stop: int
    begin: int
    end: int


def surroundings(tokenizer: PreTrainedTokenizerBase) -> tuple[list[int], list[int]]:
    """Special tokens that the tokenizer puts before and after a sentence. Padding, which the model skips, is none."""
    encoded = tokenizer([["a"]], is_split_into_words=True)
    ids, words = encoded["input_ids"][0], encoded.word_ids(0)
    inside = [place for place, word in enumerate(words) if word is not None] or [len(ids)]
    behind = ids[inside[-1] + 1 :]
    return ids[: inside[0]], [] if behind == [tokenizer.pad_token_id] != [tokenizer.eos_token_id] else behind


def tokenize(words: pa.Array, tokenizer: PreTrainedTokenizerBase, longest: int) -> Words:
    """Tokens of each word; a word that the tokenizer drops, such as a control character, gets the unknown token.

    No token depends on other words, so each distinct word is tokenized once.

    Args:
        words: strings, of any number of sentences.
        longest: maximum tokens of a word; further ones are cut off, because the first token represents the word.

    Raises:
        UserError: the tokenizer cannot say which word a token belongs to.
    """
    if not tokenizer.is_fast:
        raise UserError("data.tokenizer: only a fast tokenizer can say which word a token belongs to; use another one")
    coded = words.dictionary_encode()
    distinct = _tokens(coded.dictionary.to_pylist(), tokenizer, longest)
    codes = coded.indices.to_numpy()
    counts = np.diff(distinct.first)[codes]
    at = ranges(distinct.first[:-1][codes], counts)
    first = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
    chars = None if distinct.char_ids is None else distinct.char_ids[at]
    return Words(distinct.input_ids[at], first, distinct.is_read[codes], chars)


def _tokens(words: list[str], tokenizer: PreTrainedTokenizerBase, longest: int) -> Words:
    """Tokens of each of some words, which are tokenized as sentences of `WORDS_AT_ONCE`; see `tokenize`."""
    if not words:
        return Words(np.zeros(0, dtype=np.int32), np.zeros(1, dtype=np.int64), np.zeros(0, dtype=bool))
    sentences = [words[start : start + WORDS_AT_ONCE] for start in range(0, len(words), WORDS_AT_ONCE)]
    encoded = tokenizer(sentences, is_split_into_words=True, add_special_tokens=False, verbose=False)
    word_of = np.concatenate(
        [np.array(encoded.word_ids(row), dtype=np.int64) + row * WORDS_AT_ONCE for row in range(len(sentences))]
    )
    lengths = np.bincount(word_of, minlength=len(words))
    unknown = tokenizer.unk_token_id if tokenizer.unk_token_id is not None else tokenizer.eos_token_id
    ids = np.array([*itertools.chain.from_iterable(encoded["input_ids"]), unknown], dtype=np.int32)
    starts = np.where(lengths, np.cumsum(lengths) - lengths, len(ids) - 1)
    counts = np.clip(lengths, 1, longest)
    at, first = ranges(starts, counts), np.concatenate([[0], np.cumsum(counts)])
    if (rows := encoded.get("char_ids")) is None:
        return Words(ids[at], first, lengths > 0)
    spelled = [*itertools.chain.from_iterable(rows)]
    chars = np.zeros((len(ids), len(spelled[0]) if spelled else 1), dtype=np.int32)
    chars[:-1] = spelled or chars[:-1]
    return Words(ids[at], first, lengths > 0, chars[at])


def ranges(starts: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """The numbers starts[i], starts[i] + 1, ... of each i, counts[i] of them, one after another."""
    ends = np.cumsum(counts)
    return np.arange(ends[-1] if len(ends) else 0) + np.repeat(starts - (ends - counts), counts)


def windows(first: np.ndarray, size: int) -> list[TokenWindow]:
    """Windows of at most `size` tokens over a sentence; each word is owned by the one that gives it the most context.

    The context of a word is the smaller of the numbers of tokens before and after it in the window. A side on which
    the sentence itself begins or ends counts as unlimited, as there is nothing more to read.

    Args:
        first: (words + 1,) as in `Words`; no word has more than `size` tokens.
    """
    words = len(first) - 1
    if words == 0:
        return []
    if first[-1] <= size:
        return [TokenWindow(0, words, 0, words)]
    read = _cut(first, size)
    owner, most = np.zeros(words, dtype=np.int64), np.full(words, -1.0)
    for number, (start, stop) in enumerate(read):
        before = first[start:stop] - first[start] if start else np.inf  # (stop - start,) tokens before each word
        after = first[stop] - first[start + 1 : stop + 1] if stop < words else np.inf
        context = np.minimum(before, after)
        better = context > most[start:stop]  # on a tie the earlier window keeps the word
        most[start:stop] = np.where(better, context, most[start:stop])
        owner[start:stop] = np.where(better, number, owner[start:stop])
    # Owners never decrease from one word to the next: along an overlap, the context in the earlier window shrinks while
    # that in the later one grows. So the words of window n are between the first owner >= n and the first >= n + 1.
    borders = np.searchsorted(owner, np.arange(len(read) + 1))
    owned = zip(read, borders[:-1].tolist(), borders[1:].tolist(), strict=True)
    return [TokenWindow(start, stop, begin, end) for (start, stop), begin, end in owned if begin < end]


def _cut(first: np.ndarray, size: int) -> list[tuple[int, int]]:
    """First word of each window and the word after its last."""
    words, start, cuts = len(first) - 1, 0, []
    while True:
        # The last `stop` with first[stop] <= first[start] + size: the words up to it fit.
        stop = int(np.searchsorted(first, first[start] + size, side="right")) - 1
        cuts.append((start, stop))
        if stop >= words:
            return cuts
        # The next window goes back by a share of its size, but not so far that the word at `stop`, which no window has
        # read yet, would not fit into it. Each window begins later than the one before, so the loop ends.
        shared = int(np.searchsorted(first, first[stop] - size // OVERLAP, side="right")) - 1
        needed = int(np.searchsorted(first, first[stop + 1] - size))
        start = max(shared, needed, start + 1)


def labelled(parts: Sequence[TokenWindow], entities: Sequence[Span]) -> list[tuple[int, int]]:
    """Words of each window that have a label in training: those that it owns, except that no entity is cut in two.

    An entity across a border goes to the window that reads all of it, the left one if both do. If neither does, its
    words have no label: half an entity would teach the model that entities begin in their middle.
    """
    begins, ends = [part.begin for part in parts], [part.end for part in parts]
    # Each place within an entity at which a cut would split it -> the entity.
    inner = {place: (start, end) for _, start, end in entities for place in range(start + 1, end)}
    for left, right in zip(range(len(parts)), range(1, len(parts)), strict=False):
        if (cut := inner.get(parts[left].end)) is None:
            continue
        start, end = cut
        if end <= parts[left].stop and start >= parts[left].start:
            ends[left] = begins[right] = end
        elif start >= parts[right].start and end <= parts[right].stop:
            ends[left] = begins[right] = start
        else:
            ends[left], begins[right] = start, end
    return [(begin, max(begin, end)) for begin, end in zip(begins, ends, strict=True)]
