"""Tag schemes: the same entities in each, whichever the data uses; invalid tags are found."""

from __future__ import annotations

import random

import pytest

from pipeline.data.tagging.tags import TAG, breaks, convert, scheme_in_data, scheme_of, spans, types, write

TYPES = ["PER", "geo-loc", "X"]


def random_entities(generator: random.Random) -> tuple[list[tuple[str, int, int]], int]:
    """Entities, often neighbours, often of one word, in a sentence of up to 12 words."""
    found, place, length = [], 0, generator.randint(1, 12)
    while place < length:
        size = min(generator.choice([1, 1, 2, 3]), length - place)
        if generator.random() < 0.6:
            found.append((generator.choice(TYPES), place, place + size))
        place += size
    return found, length


def letters(entities, length, scheme):
    """The tags of a scheme by its definition, implemented independently here."""
    tags = ["O"] * length
    for number, (kind, start, end) in enumerate(entities):
        neighbour = number and entities[number - 1][0] == kind and entities[number - 1][2] == start
        for place in range(start, end):
            first, last, single = place == start, place == end - 1, end - start == 1
            prefix = {
                "IOB1": "B" if first and neighbour else "I",
                "IOB2": "B" if first else "I",
                "BIOES": "S" if single else "B" if first else "E" if last else "I",
                "BILOU": "U" if single else "B" if first else "L" if last else "I",
                "BMES": "S" if single else "B" if first else "E" if last else "M",
                "BMEWO": "W" if single else "B" if first else "E" if last else "M",
            }[scheme]
            tags[place] = f"{prefix}-{kind}"
    return tags


SCHEMES = ["IOB1", "IOB2", "BIOES", "BILOU", "BMES", "BMEWO"]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_entities_are_the_same_in_every_scheme(scheme):
    generator = random.Random(0)
    for _ in range(500):
        entities, length = random_entities(generator)
        tags = letters(entities, length, scheme)
        assert spans(tags) == entities
        assert convert(tags, "iob2") == write(entities, length, "iob2") == letters(entities, length, "IOB2")
        assert convert(tags, "bioes") == letters(entities, length, "BIOES")
        assert spans(convert(convert(tags, "bioes"), "iob2")) == entities
        assert list(breaks(tags, scheme)) == []


@pytest.mark.parametrize(
    ("letters", "invalid", "scheme"),
    [
        ("OBI", {"IOB1": 2, "IOB2": 1}, "IOB2"),
        ("OBI", {"IOB1": 0, "IOB2": 1}, "IOB1"),
        ("OBI", {"IOB1": 1, "IOB2": 1}, "IOB2"),
        ("OBIES", {"IOB1": 0, "IOB2": 0}, "BIOES"),
        ("OBILU", {}, "BILOU"),
        ("OBMES", {}, "BMES"),
        ("OBMEW", {}, "BMEWO"),
    ],
)
def test_the_scheme_of_data_follows_from_its_prefixes_and_invalid_tags(letters, invalid, scheme):
    assert scheme_in_data(letters, invalid) == scheme


def test_any_sequence_is_read_as_conlleval_reads_it():
    """Valid or not. In conlleval an entity begins at a B, and at an I after O or another type. With E and S, see
    tests/metrics/test_seqeval.py."""
    generator = random.Random(2)
    for _ in range(1000):
        tags = [generator.choice(["O", "B-X", "I-X", "B-Y", "I-Y"]) for _ in range(generator.randint(1, 8))]
        pairs = list(zip(["O", *tags], tags, strict=False))
        starts = [tag[0] == "B" or (tag[0] == "I" and tag[1:] != before[1:]) for before, tag in pairs]
        ends = [tag == "O" or start for tag, start in zip([*tags, "O"], [*starts, True], strict=True)]
        assert spans(tags) == [
            (tags[place][2:], place, place + 1 + ends[place + 1 :].index(True))
            for place, start in enumerate(starts)
            if start
        ]


@pytest.mark.parametrize(
    ("tags", "scheme", "places"),
    [
        (["O", "I-X"], "IOB2", [(1, "I-X", "O")]),
        (["B-X", "I-Y", "I-Y"], "IOB2", [(1, "I-Y", "B-X")]),
        (["I-X", "B-X", "B-Y"], "IOB1", [(2, "B-Y", "B-X")]),
        (["B-X", "O", "E-X"], "BIOES", [(1, "O", "B-X"), (2, "E-X", "O")]),
        (["B-X", "I-X"], "BIOES", [(1, "the end", "I-X")]),
        (["S-X", "S-X", "B-X", "E-X"], "BIOES", []),
    ],
)
def test_invalid_tags_are_found(tags, scheme, places):
    assert list(breaks(tags, scheme)) == places


def test_tags_are_distinguished_from_other_words():
    for tag in ("O", "B-PER", "I-geo-loc", "S-1"):
        assert TAG.fullmatch(tag)
    for word in ("o", "PER", "B", "B-", "B_PER", "X-PER", "0", ""):
        assert not TAG.fullmatch(word)
    assert types(["O", "B-geo-loc", "I-X"]) == {"geo-loc", "X"}
    assert (scheme_of(["O", "B-X"]), scheme_of(["O", "B-X", "U-X"])) == ("iob2", "bioes")
