"""Words to tokens: which tokens each word becomes, and windows over long sentences in which each word has one owner.

Shapes: P tokens of a sentence, W characters of a token.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from transformers import PreTrainedTokenizerBase

from pipeline.data.tags import Span
from pipeline.errors import UserError

# Neighbouring windows share 1/OVERLAP of their tokens: a word near the edge of one is well inside the other (as BERT
# reads long paragraphs for SQuAD, with a stride; Devlin et al. 2019).
OVERLAP = 3


class Words(NamedTuple):
    """Tokens of a sentence.

    Attributes:
        input_ids: (P,) without special tokens.
        first: (words + 1,) the first token of each word, and P at the end: word w has the tokens first[w] up to
            first[w + 1], at least one.
        char_ids: (P, W) if the tokenizer returns them.
    """

    input_ids: np.ndarray
    first: np.ndarray
    char_ids: np.ndarray | None = None


class TokenWindow(NamedTuple):
    """Part of a sentence that a model reads at once, in words: it reads `start` up to `stop`, and owns `begin` up to
    `end`, for which its prediction counts."""

    start: int
    stop: int
    begin: int
    end: int


def surroundings(tokenizer: PreTrainedTokenizerBase) -> tuple[list[int], list[int]]:
    """Special tokens that the tokenizer puts before and after a sentence."""
    encoded = tokenizer([["a"]], is_split_into_words=True)
    ids, words = encoded["input_ids"][0], encoded.word_ids(0)
    inside = [place for place, word in enumerate(words) if word is not None] or [len(ids)]
    return ids[: inside[0]], ids[inside[-1] + 1 :]


def tokenize(sentences: Sequence[Sequence[str]], tokenizer: PreTrainedTokenizerBase, longest: int) -> list[Words]:
    """Tokens of each word; a word that the tokenizer drops, such as a control character, gets the unknown token.

    Args:
        longest: maximum tokens of a word; further ones are cut off, because the first token represents the word.

    Raises:
        UserError: the tokenizer cannot say which word a token belongs to.
    """
    if not tokenizer.is_fast:
        raise UserError("data.tokenizer: only a fast tokenizer can say which word a token belongs to; use another one")
    encoded = tokenizer(
        [list(words) for words in sentences], is_split_into_words=True, add_special_tokens=False, verbose=False
    )
    unknown = tokenizer.unk_token_id if tokenizer.unk_token_id is not None else tokenizer.eos_token_id
    chars = encoded.get("char_ids")
    return [
        _align(
            len(words),
            np.asarray(encoded.word_ids(row), dtype=np.int64),
            np.asarray(encoded["input_ids"][row], dtype=np.int64),
            np.asarray(chars[row], dtype=np.int64) if chars is not None else None,
            unknown,
            longest,
        )
        for row, words in enumerate(sentences)
    ]


def _align(
    words: int, word_of: np.ndarray, ids: np.ndarray, chars: np.ndarray | None, unknown: int, longest: int
) -> Words:
    """`word_of` (P,) is the word of each token in `ids` (P,) and, if given, of `chars` (P, W); see `tokenize`."""
    # Words without a token get the unknown one: appended, then sorted into place.
    missing = np.flatnonzero(np.bincount(word_of, minlength=words) == 0)
    word_of = np.concatenate([word_of, missing])
    ids = np.concatenate([ids, np.full(len(missing), unknown)])
    order = np.argsort(word_of, kind="stable")  # stable: tokens of a word stay in their order
    word_of = word_of[order]
    # In a sorted array, searchsorted on itself is where the run of equal values begins: a token's place in its word.
    rank = np.arange(len(order)) - np.searchsorted(word_of, word_of)
    order, word_of = order[rank < longest], word_of[rank < longest]
    first = np.searchsorted(word_of, np.arange(words + 1))
    if chars is not None:
        width = chars.shape[1] if chars.ndim == 2 else 1
        chars = np.concatenate([chars.reshape(-1, width), np.zeros((len(missing), width), dtype=np.int64)])[order]
    return Words(ids[order], first, chars)


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
