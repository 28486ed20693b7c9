"""Spans of characters become tags of words: trimmed, widened, refused with their place, or the longest kept."""

from __future__ import annotations

import random

import pytest

from pipeline.data.annotations.notes import Notes
from pipeline.data.annotations.spans import SCRIPTS, Span, Tagger
from pipeline.data.tagging.tags import spans as entities
from pipeline.data.tokenization.word_patterns import cut
from pipeline.errors import UserError


def tag(text, *spans, longest=False, words=None):
    """word/tag of the tagged words of `text`, and the warnings."""
    notes = Notes("f")
    tokens, tags = Tagger(notes, longest).tag("f:1", text, [Span(*span) for span in spans], words)
    return [f"{word}/{tag}" for word, tag in zip(tokens, tags, strict=True) if tag != "O"], list(notes.lines())


def test_words_of_spans_get_tags_and_neighbouring_entities_stay_apart():
    found, warnings = tag("Ann Lee, Bob left Rome.", (0, 7, "PER"), (9, 12, "PER"), (18, 22, "LOC"))
    assert found == ["Ann/B-PER", "Lee/I-PER", "Bob/B-PER", "Rome/B-LOC"]
    assert warnings == []
    assert tag("Ann Lee Bob", (0, 7, "PER"), (8, 11, "PER"))[0] == ["Ann/B-PER", "Lee/I-PER", "Bob/B-PER"]


def test_blanks_at_the_edges_do_not_belong_to_a_span():
    assert tag("went to  Rome \nand", (7, 15, "LOC")) == (["Rome/B-LOC"], [])


def test_identical_spans_count_once():
    assert tag("in Rome", (3, 7, "LOC"), (2, 7, "LOC")) == (["Rome/B-LOC"], [])


def test_a_span_inside_a_word_is_widened_and_reported_with_its_place():
    found, warnings = tag("the Parisian cafe", (4, 9, "LOC"))
    assert found == ["Parisian/B-LOC"]
    assert warnings == [
        "f: 1 spans begin or end inside a word and were widened to the whole word (line 1 'Paris' to 'Parisian')"
    ]


def test_letters_of_a_script_without_blanks_are_words():
    assert tag("我在北京工作", (2, 4, "LOC")) == (["北/B-LOC", "京/I-LOC"], [])
    assert tag("ไปกรุงเทพ", (2, 9, "LOC"))[1] == []


@pytest.mark.parametrize(
    ("span", "message"),
    [
        ((3, 4, "LOC"), "the span 3 to 4 (LOC) covers only blanks"),
        ((4, 4, "LOC"), "covers nothing, for its end is not after its start"),
        ((4, 99, "LOC"), "the span 4 to 99 (LOC) is outside the text, which has 8 characters"),
        ((-1, 2, "LOC"), "is outside the text"),
        ((5, 2, "LOC"), "is outside the text"),
        ((7, 8, "LOC"), "has no word in it"),
    ],
)
def test_a_span_that_holds_nothing_is_refused_with_its_line(span, message):
    with pytest.raises(UserError, match=r"^f:1: ") as error:
        tag("the Rom\u200e", span)
    assert message in str(error.value)


def test_overlapping_spans_are_refused_with_both():
    with pytest.raises(UserError) as error:
        tag("the Bank of Rome", (4, 16, "ORG"), (12, 16, "LOC"))
    assert str(error.value) == (
        "f:1: the spans 'Bank of Rome' (ORG, 4 to 16) and 'Rome' (LOC, 12 to 16) overlap, but a word has one tag;"
        " remove one, or set data.overlaps to longest"
    )
    with pytest.raises(UserError, match="overlap"):
        tag("Rome", (0, 4, "ORG"), (0, 4, "LOC"))


def test_of_overlapping_spans_the_longest_is_kept_if_wanted_and_of_equal_ones_the_first():
    found, warnings = tag("the Bank of Rome", (12, 16, "LOC"), (4, 16, "ORG"), longest=True)
    assert found == ["Bank/B-ORG", "of/I-ORG", "Rome/I-ORG"]
    assert "1 spans were left out" in warnings[0]
    assert "line 1 'Rome' (LOC, 12 to 16)" in warnings[0]
    assert tag("Rome", (0, 4, "ORG"), (0, 4, "LOC"), longest=True)[0] == ["Rome/B-ORG"]
    assert tag("Rome", (0, 4, "LOC"), (0, 4, "ORG"), longest=True)[0] == ["Rome/B-LOC"]


def test_two_spans_in_one_word_are_refused_or_the_longest_is_kept():
    with pytest.raises(UserError, match=r"'10' \(NUM, 0 to 2\) and 'km' \(UNIT, 2 to 4\) are in the same word"):
        tag("10km away", (0, 2, "NUM"), (2, 4, "UNIT"))
    assert tag("10mph away", (0, 2, "NUM"), (2, 5, "UNIT"), longest=True)[0] == ["10mph/B-NUM"]


def test_own_words_are_kept():
    assert tag("10km away", (0, 2, "NUM"), (2, 4, "UNIT"), words=[(0, 2), (2, 4), (5, 9)])[0] == [
        "10/B-NUM",
        "km/B-UNIT",
    ]


def test_random_spans_of_whole_words_come_back():
    draw = random.Random(0)
    for _ in range(300):
        text = " ".join(draw.choices(["Ann", "北京", "U.S.", "don't", "a,b", "👍🏽", "Müller-Lüd", "e\u0301t"], k=12))
        places = cut(text, SCRIPTS)
        borders = sorted(draw.sample(range(len(places) + 1), 6))
        wanted = [(draw.choice("XYZ"), *pair) for pair in zip(borders[::2], borders[1::2], strict=True)]
        spans = [Span(places[first][0], places[last - 1][1], kind) for kind, first, last in wanted]
        draw.shuffle(spans)
        notes = Notes("f")
        tokens, tags = Tagger(notes).tag("f:1", text, spans)
        assert entities(tags) == wanted
        assert tokens == [text[start:end] for start, end in places]
        assert list(notes.lines()) == []
