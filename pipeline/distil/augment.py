"""Makes texts for a teacher to answer from the training rows, as Tang et al. 2019 do (arXiv 1903.12136, section 3.2).

Two of their three rules are here. Each word is masked with probability 0.1. Then, with probability 0.25, the text is
reduced to an n-gram of its words, with n from 1 to 5. The third rule, which replaces a word by another one of the same
part of speech, needs a tagger for the language and is left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from transformers import PreTrainedTokenizerBase

from pipeline.data.new_rows import Content
from pipeline.data.text_stats import script
from pipeline.data.tokenization.word_patterns import FIRST_UNSPACED, UNSPACED, cut
from pipeline.distil.drawing import Draw, Unlabelled, number_of
from pipeline.errors import UserError

MASK = "[MASK]"
"""Stands for a masked word; see `written_for`."""
P_MASK, P_NGRAM, LONGEST_NGRAM = 0.1, 0.25, 5
# How many texts are made of a training row at most: n_iter in the paper.
ROUNDS = 20

# Which texts of a pair are changed.
_IN_TURN = ((True, False), (False, True), (True, True))
_BETWEEN_BLANKS = re.compile(r"\S+")
_MASK_AND_BLANKS = re.compile(rf"{re.escape(MASK)}\s*")
_SCRIPTS = frozenset(UNSPACED)


def make(contents: Sequence[Content], held_out: Iterable[Content], limit: int, seed: int) -> Unlabelled:
    """Up to `limit` different texts made of training rows: one of every row in random order, and again, until there are
    enough or each row was used `ROUNDS` times.

    Of a pair, the first text is changed, then the second, then both, in turn.

    Args:
        contents: texts, pairs of texts or lists of words. What equals one of them counts as a duplicate.
        held_out: what the student will be scored on; what equals one of them is left out, too.

    Returns:
        The texts, with `MASK` in place of masked words, and counts: `made` = `empty` (all words are masked) +
        `held_out` + `duplicates` + `drawn`, and `rows`, from how many contents they were made.

    Raises:
        UserError: nothing new could be made.
    """
    draw = Draw(limit, seed, held_out)
    known = {number_of(content, seed) for content in contents}
    counts = {"rows": len(contents), "made": 0, "empty": 0, "duplicates": 0}
    drawn = 0
    for content in _changed_rows(contents, seed):
        if drawn == limit:
            break
        counts["made"] += 1
        if not _has_words(content):
            counts["empty"] += 1
        elif (number := number_of(content, seed)) in known:
            counts["duplicates"] += 1
        else:
            known.add(number)
            drawn += draw.add(content)
    found = draw.finish()
    if not found.contents:
        raise UserError("distil.augment: nothing new can be made of the training rows; set distil.unlabelled instead")
    return Unlabelled(found.contents, {**found.report, **counts})


def written_for(contents: Iterable[Content], tokenizer: PreTrainedTokenizerBase) -> Iterator[Content]:
    """Contents with masked words as `tokenizer` has them: its mask token or, if it has none, its unknown token. Without
    either, as in byte-level BPE, a masked word of a text is left out, and in a list of words it stays `MASK`."""
    token = tokenizer.mask_token or tokenizer.unk_token
    if token == tokenizer.eos_token:  # GPT-2 calls the end of a text unknown
        token = None
    for content in contents:
        if isinstance(content, list):
            yield [(token or MASK) if word == MASK else word for word in content]
        elif isinstance(content, tuple):
            yield tuple(_written(text, token) for text in content)
        else:
            yield _written(content, token)


def _written(text: str, token: str | None) -> str:
    return _MASK_AND_BLANKS.sub("", text).strip() if token is None else text.replace(MASK, token)


def _changed_rows(contents: Sequence[Content], seed: int) -> Iterator[Content]:
    for turn in range(ROUNDS):
        chance = np.random.Generator(np.random.PCG64([seed, turn]))
        for row in chance.permutation(len(contents)).tolist():
            content = contents[row]
            if isinstance(content, list):
                yield changed_words(content, chance)
            elif isinstance(content, str):
                yield changed_text(content, chance)
            else:
                changes = _IN_TURN[turn % len(_IN_TURN)]
                pairs = zip(content, changes, strict=True)
                yield tuple(changed_text(text, chance) if changes else text for text, changes in pairs)


def changed_words(words: Sequence[str], chance: np.random.Generator) -> list[str]:
    """Words with some of them masked, and perhaps an n-gram of these."""
    return [MASK if is_masked else words[at] for at, is_masked in chosen(len(words), chance)]


def changed_text(text: str, chance: np.random.Generator) -> str:
    """The same of the words of a text, with what is between them."""
    places, parts = _places(text), []
    for at, is_masked in chosen(len(places), chance):
        start, stop = places[at]
        parts += [text[places[at - 1][1] if at else 0 : start], MASK if is_masked else text[start:stop]]
    return "".join(parts).strip()


def chosen(count: int, chance: np.random.Generator) -> list[tuple[int, bool]]:
    """Which of `count` words stay, in order, and whether each of them is masked."""
    masked = enumerate((chance.random(count) < P_MASK).tolist())
    if not count or chance.random() >= P_NGRAM:
        return [*masked]
    size = min(int(chance.integers(1, LONGEST_NGRAM + 1)), count)
    first = int(chance.integers(count - size + 1))
    return [*masked][first : first + size]


def _places(text: str) -> list[tuple[int, int]]:
    """Start and end of each word: what is between blanks, and each letter of a script without blanks."""
    if text and max(text) >= FIRST_UNSPACED and any(script(character) in _SCRIPTS for character in set(text)):
        return cut(text, _SCRIPTS)
    return [word.span() for word in _BETWEEN_BLANKS.finditer(text)]


def _has_words(content: Content) -> bool:
    parts = [content] if isinstance(content, str) else content
    return any(part.replace(MASK, "").strip() for part in parts)
