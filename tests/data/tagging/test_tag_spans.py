"""Entities of many sentences at once: the same as those of each sentence."""

from __future__ import annotations

import random

import numpy as np
import pytest

from pipeline.data.tagging import tag_spans, tags

PREFIXES = ("O", "B-X", "I-X", "B-Y", "I-Y", "E-X", "S-Y", "L-X", "U-Y", "M-X", "W-X")


def flat(sentences: list[list[str]]) -> tuple[tag_spans.Tags, np.ndarray]:
    words = np.array([tag for sentence in sentences for tag in sentence], dtype=object)
    return tag_spans.Tags.of(words), np.cumsum([len(sentence) for sentence in sentences])


@pytest.mark.parametrize("longest", [1, 3, 9])
def test_entities_are_those_of_each_sentence_in_any_scheme_and_order(longest):
    generator = random.Random(longest)
    for _ in range(50):
        sentences = [generator.choices(PREFIXES, k=generator.randrange(longest + 1)) for _ in range(20)]
        words, ends = flat(sentences)
        found = tag_spans.read(words, ends)
        assert [
            [(entity["type"], entity["start"], entity["end"]) for entity in row] for row in found.arrow().to_pylist()
        ] == [tags.spans(sentence) for sentence in sentences]
        assert words.lists(ends).to_pylist() == sentences
        assert words.strings().tolist() == [tag for sentence in sentences for tag in sentence]


def test_sentences_without_words_have_no_entities():
    assert tag_spans.read(*flat([[], []])).arrow().to_pylist() == [[], []]
