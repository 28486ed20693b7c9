"""Many sentences at once give what `tags` gives for each of them."""

from __future__ import annotations

import random
from collections import Counter

import pyarrow as pa
import pytest

from pipeline.data.tagging import tags
from pipeline.data.tagging.tag_codes import Coder, count_types

LISTS = pa.list_(pa.string())
SCHEMES = ["IOB1", "IOB2", "BIOES", "BILOU", "BMES", "BMEWO"]


def random_sentences(generator, prefixes):
    """Sequences of tags, valid or not; some are empty."""
    return [
        [
            "O" if (prefix := generator.choice(prefixes)) == "O" else f"{prefix}-{generator.choice(['X', 'geo-loc'])}"
            for _ in range(generator.randint(0, 8))
        ]
        for _ in range(generator.randint(0, 12))
    ]


def slices(generator, sentences):
    """The sentences as a column, which may be a part of a longer one."""
    more = generator.randint(0, 2)
    return pa.array([["B-Z", "O"]] * more + sentences + [["I-Z"]] * more, LISTS).slice(more, len(sentences))


@pytest.fixture(params=["BIO", "BIESO", "BILUO", "BMESO", "BMEWO"])
def columns(request):
    """Pairs of a column and the same sentences as lists."""
    generator = random.Random(0)
    found = []
    for _ in range(150):
        sentences = random_sentences(generator, request.param)
        found.append((slices(generator, sentences), sentences))
    return found


def test_entities_are_the_same(columns):
    coder = Coder()
    for column, sentences in columns:
        coded = coder.read(column)
        expected, start = [], 0
        for sentence in sentences:
            expected += [(kind, start + first, start + stop) for kind, first, stop in tags.spans(sentence)]
            start += len(sentence)
        kinds = [coder.kinds[number] for number in coded.kinds[coded.starts]]
        assert list(zip(kinds, coded.starts.tolist(), coded.stops.tolist(), strict=True)) == expected


@pytest.mark.parametrize("scheme", ["iob2", "bioes"])
def test_tags_are_converted_to_the_same(columns, scheme):
    coder = Coder()
    for column, sentences in columns:
        written = coder.write(coder.read(column).written(scheme), LISTS)
        assert written.type == LISTS
        assert written.to_pylist() == [tags.convert(sentence, scheme) for sentence in sentences]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_same_tags_are_invalid(columns, scheme):
    for column, sentences in columns:
        words, ends = Coder().read(column).broken(scheme)
        expected_words, expected_ends, start = [], [], 0
        for sentence in sentences:
            for place, tag, _ in tags.breaks(sentence, scheme):
                (expected_ends if tag == "the end" else expected_words).append(start + place)
            start += len(sentence)
        assert (words.tolist(), ends.tolist()) == (expected_words, expected_ends)


def test_types_are_counted_over_columns(columns):
    expected = Counter(kind for _, sentences in columns for tag in sentences for kind, _, _ in tags.spans(tag))
    assert count_types(column for column, _ in columns) == expected
    assert count_types([]) == Counter()


def test_tags_are_read_as_others():
    coder = Coder({"1": "B-X", "0": "O"})
    assert coder.write(coder.read(pa.array([["1", "0"], ["1"]])), LISTS).to_pylist() == [["B-X", "O"], ["B-X"]]
