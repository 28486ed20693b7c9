"""What a tagger believes about the words of a sentence, as distributions over the tags of another model.

Both may write the same entities in other tags. A sequence of the tagger's tags is read as conlleval reads it (see
`tags.spans`) and written in the other scheme, where a tag depends on the tags of the words before and behind it. The
probability of a tag is therefore a sum over three neighbouring tags of the tagger, which is exact if its tags are
independent, as those of a softmax, or form a Markov chain, as those of a CRF.

Shapes: W words of a sentence, T tags of the tagger, C tags of the other model.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np

from pipeline.data.tagging.model_labels import ModelLabels, read
from pipeline.data.tagging.tags import GOES_ON, OPEN
from pipeline.errors import UserError, listing


class TagMap:
    """Distributions over the tags of a tagger -> those over the tags of another model.

    Attributes:
        size: number of tags of the tagger.
        is_reordering: whether both have the same tags, so that nothing needs to be read.
    """

    def __init__(self, own: ModelLabels, other: ModelLabels):
        self._own, self._other, self.size = own.tags, other.tags, len(own.tags)
        self.is_reordering = sorted(own.tags) == sorted(other.tags)
        # (T, T): whether the tag of the column is in the same entity as that of the row, which stands before it.
        self._goes_on = np.array(
            [[b in OPEN and a in GOES_ON and before == kind for a, kind in own.tags] for b, before in own.tags]
        )

    def reorder(self, tags: np.ndarray) -> np.ndarray:
        """(..., C) from (..., T), if both have the same tags."""
        return tags[..., [self._own.index(tag) for tag in self._other]]

    def read(self, tags: np.ndarray, steps: np.ndarray) -> np.ndarray:
        """(W, C) probabilities of the other model's tags.

        Args:
            tags: (W, T) probabilities of the tagger's tags.
            steps: (W - 1, T, T) probability of each tag of a word, row, and each of the next word, column.
        """
        joined = steps * self._goes_on
        inside, onward = np.zeros_like(tags), np.zeros_like(tags)
        inside[1:] = joined.sum(axis=1)  # p(tag, in the entity of the word before)
        # p(the next word is in the same entity | tag), which does not depend on the word before: a Markov chain.
        np.divide(joined.sum(axis=2), tags[:-1], out=onward[:-1], where=tags[:-1] > 0)
        begins = np.maximum(tags - inside, 0.0)
        in_bioes = {
            "B": begins * onward,
            "S": begins * (1 - onward),
            "I": inside * onward,
            "E": inside * (1 - onward),
            "O": tags,
        }
        by_letter = (
            in_bioes if any(letter in "ES" for letter, _ in self._other) else {**in_bioes, "B": begins, "I": inside}
        )
        found = np.zeros((len(tags), len(self._other)))
        for index, (letter, kind) in enumerate(self._other):
            own = [at for at, (own, its) in enumerate(self._own) if its == kind and (own == "O") == (letter == "O")]
            found[:, index] = by_letter[letter][:, own].sum(axis=1)
        return found


@functools.lru_cache(maxsize=16)
def tag_map(own: tuple[str, ...], other: tuple[str, ...]) -> TagMap:
    """The map from the labels of a tagger to those of another model, both by id.

    Raises:
        UserError: one of them knows a type of entity that the other does not, or has no O.
    """
    known, wanted = read(own), read(other)
    missing = wanted.types - known.types
    if missing:
        raise UserError(
            f"distil.teacher: it does not find {listing(sorted(missing))}, which the data has; it finds"
            f" {listing(sorted(known.types))}. Train it on data with the same types"
        )
    if more := known.types - wanted.types:
        raise UserError(
            f"distil.teacher: it finds {listing(sorted(more))}, which the data does not have; rename types"
            " with data.label_names, or train it on data with the same types"
        )
    if ("O", "") not in known.tags:
        raise UserError("distil.teacher: it has no label for words outside of entities, O; use another teacher")
    return TagMap(known, wanted)


def independent(tags: np.ndarray) -> np.ndarray:
    """(W - 1, T, T) from (W, T): the probabilities of neighbouring tags that are independent of each other."""
    return tags[:-1, :, None] * tags[1:, None, :]


class PieceMap:
    """The distribution over the tags of a word -> those of its tokens, on which an entity's tags are written as if each
    were a word: all but the first token continue it, and in BIOES only the last of an entity's last word ends it.

    Args:
        labels: of the model, by id.
    """

    def __init__(self, labels: Sequence[str]):
        tags = read(labels).tags
        bioes = any(letter in "ES" for letter, _ in tags)
        self._first = _written(tags, {"S": "B", "E": "I"})
        self._middle = _written(tags, {"S": "I", "B": "I", "E": "I"})
        self._last = _written(tags, {"S": "E", "B": "I"} if bioes else {"B": "I"})

    def spread(self, words: np.ndarray, pieces: np.ndarray) -> np.ndarray:
        """(P, C) for all tokens, from (W, C) for the words and (W,) their numbers of tokens, at least 1."""
        found, first = np.repeat(words, pieces, axis=0), np.cumsum(pieces) - pieces
        many = pieces > 1
        is_first, is_last = np.zeros((2, len(found)), dtype=bool)
        is_first[first[many]], is_last[(first + pieces - 1)[many]] = True, True
        is_middle = np.repeat(many, pieces) & ~is_first & ~is_last
        for places, matrix in ((is_first, self._first), (is_middle, self._middle), (is_last, self._last)):
            found[places] = found[places] @ matrix
        return found


def _written(tags: Sequence[tuple[str, str]], letters: dict[str, str]) -> np.ndarray:
    """(C, C) that moves the probability of each tag, row, to the tag of the same type with another letter, column."""
    matrix = np.zeros((len(tags), len(tags)))
    for index, (letter, kind) in enumerate(tags):
        new = (letters.get(letter, letter), kind)
        matrix[index, tags.index(new) if new in tags else index] = 1.0
    return matrix
