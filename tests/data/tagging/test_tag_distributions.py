"""A tagger's distributions in other tags are those of all its sequences, read and written one by one."""

from __future__ import annotations

import itertools

import numpy as np
import pyarrow as pa
import pytest

from pipeline.data.tagging import tags as schemes
from pipeline.data.tagging.tag_codes import Coder
from pipeline.data.tagging.tag_distributions import PieceMap, independent, tag_map
from pipeline.errors import UserError
from pipeline.tasks.ner_encoding import targets_of

KINDS = ("X", "Y")
IOB2 = ("O", *(f"{letter}-{kind}" for kind in KINDS for letter in "BI"))
BIOES = ("O", *(f"{letter}-{kind}" for kind in KINDS for letter in "BEIS"))
TYPES_ONLY = ("O", "X", "Y")
WORDS = 4


def random(*shape):
    values = np.random.default_rng(5).random(shape) ** 3
    return values / values.sum(axis=-1, keepdims=True)


def read_and_written(own, other, probability):
    """(W, C): the sum over all sequences of tags of `own`, each read as spans and written in the scheme of `other`."""
    found, scheme = np.zeros((WORDS, len(other))), schemes.scheme_of(other)
    for path in itertools.product(range(len(own)), repeat=WORDS):
        standard = [own[tag] if own[tag] == "O" or "-" in own[tag] else f"I-{own[tag]}" for tag in path]
        for place, tag in enumerate(schemes.convert(standard, scheme)):
            found[place, other.index(tag)] += probability(path)
    return found


@pytest.mark.parametrize(
    ("own", "other"), [(IOB2, BIOES), (BIOES, IOB2), (TYPES_ONLY, BIOES), (TYPES_ONLY, IOB2), (IOB2, IOB2[::-1])]
)
def test_independent_tags_are_read_exactly(own, other):
    words = random(WORDS, len(own))
    expected = read_and_written(own, other, lambda path: np.prod(words[range(WORDS), path]))
    np.testing.assert_allclose(tag_map(own, other).read(words, independent(words)), expected, atol=1e-12)


@pytest.mark.parametrize(("own", "other"), [(IOB2, BIOES), (BIOES, IOB2), (BIOES, BIOES)])
def test_the_tags_of_a_markov_chain_are_read_exactly(own, other):
    first, moves = random(len(own)), random(WORDS - 1, len(own), len(own))
    words = [first]
    for move in moves:
        words.append(words[-1] @ move)
    steps = np.array([word[:, None] * move for word, move in zip(words, moves, strict=False)])

    def probability(path):
        return first[path[0]] * np.prod([moves[at][pair] for at, pair in enumerate(itertools.pairwise(path))])

    expected = read_and_written(own, other, probability)
    np.testing.assert_allclose(tag_map(own, other).read(np.array(words), steps), expected, atol=1e-12)


def test_equal_tags_are_only_reordered():
    chosen = tag_map(IOB2, IOB2[::-1])
    assert chosen.is_reordering
    np.testing.assert_array_equal(chosen.reorder(np.eye(5)), np.eye(5)[::-1])
    assert not tag_map(IOB2, BIOES).is_reordering


def test_one_word_has_no_neighbours():
    certain = np.array([[0.0, 0.0, 1.0, 0.0, 0.0]])  # I-X
    found = tag_map(IOB2, BIOES).read(certain, independent(certain))
    assert BIOES[int(found.argmax())] == "S-X"
    assert tag_map(IOB2, BIOES).read(certain[:0], np.zeros((0, 5, 5))).shape == (0, 9)


@pytest.mark.parametrize(
    ("own", "other", "message"),
    [
        (IOB2[:3], IOB2, "it does not find Y, which the data has; it finds X"),
        (IOB2, IOB2[:3], "it finds Y, which the data does not have"),
        (IOB2[1:], BIOES, "it has no label for words outside of entities, O"),
    ],
)
def test_a_teacher_of_other_types_is_refused_with_the_types(own, other, message):
    with pytest.raises(UserError, match=message):
        tag_map(own, other)


@pytest.mark.parametrize("labels", [IOB2, BIOES], ids=["iob2", "bioes"])
def test_a_certain_word_is_written_over_its_tokens_as_labels_are(labels):
    entities = [("X", 0, 1), ("Y", 2, 5), ("X", 5, 6), ("Y", 6, 8)]
    written, coder = schemes.write(entities, 9, schemes.scheme_of(labels)), Coder()
    for pieces in itertools.islice(itertools.product((1, 2, 4), repeat=9), 0, None, 97):
        first = np.concatenate([[0], np.cumsum(pieces)])
        coded = coder.read(pa.array([written]))
        expected = np.eye(len(labels))[targets_of(coded, first, coder.kinds, labels)]
        words = np.eye(len(labels))[[labels.index(tag) for tag in written]]
        np.testing.assert_array_equal(PieceMap(labels).spread(words, np.array(pieces)), expected)
