"""Offsets are read as code points, and otherwise only where the spans' own texts or the borders of words prove it."""

from __future__ import annotations

import pytest
from annotation_rows import adapted, tagged

from pipeline.errors import UserError

EMOJI = "😀😀 Ann left Rome"


def rows(text, *spans):
    return [
        {"text": text, "entities": [dict(zip(("start", "end", "label", "text"), span, strict=False)) for span in spans]}
    ]


def test_code_points_are_the_usual_reading():
    assert tagged(rows(EMOJI, (3, 6, "PER", "Ann"), (12, 16, "LOC", "Rome"))) == ["😀😀 Ann/B-PER left Rome/B-LOC"]
    assert tagged(rows(EMOJI, (3, 6, "PER"))) == ["😀😀 Ann/B-PER left Rome"]


def test_offsets_in_utf_16_units_are_recognised_by_the_texts_of_the_spans():
    (row,), warnings = adapted(rows(EMOJI, (5, 8, "PER", "Ann"), (14, 18, "LOC")))
    assert row["tags"] == ["O", "B-PER", "O", "B-LOC"]
    assert warnings == ["file: the offsets of spans in 1 rows were read as UTF-16 units (line 1)"]


def test_offsets_in_utf_16_units_are_recognised_by_the_borders_of_words():
    (row,), warnings = adapted(rows(EMOJI, (5, 8, "PER"), (14, 18, "LOC")))
    assert row["tags"] == ["O", "B-PER", "O", "B-LOC"]
    assert "UTF-16" in warnings[0]


def test_ends_that_are_the_last_character_are_recognised_by_the_texts_of_the_spans():
    (row,), warnings = adapted(rows("Ann left Rome!", (0, 2, "PER", "Ann"), (13, 13, "X", "!")))
    assert row["tags"] == ["B-PER", "O", "O", "B-X"]
    assert "the end being the last one" in warnings[0]


def test_ends_that_are_the_last_character_are_recognised_if_all_of_them_are():
    found, warnings = adapted(
        [
            {"text": "Ann left Rome 5", "label": [[0, 2, "PER"], [9, 12, "LOC"]]},
            {"text": "I see", "label": [[0, 0, "PER"]]},
        ]
    )
    assert [row["tags"] for row in found] == [["B-PER", "O", "B-LOC", "O"], ["B-PER", "O"]]
    assert "the end being the last one" in warnings[0]


def test_bytes_and_converted_line_ends_are_recognised():
    (row,), warnings = adapted(rows("é Ann", (3, 6, "PER", "Ann")))
    assert row["tags"] == ["O", "B-PER"]
    assert "bytes of UTF-8" in warnings[0]
    (row,), warnings = adapted(rows("Hi\r\nthere\r\nAnn", (9, 12, "PER", "Ann")))
    assert row["tags"] == ["O", "O", "B-PER"]
    assert "each line end being one" in warnings[0]


def test_a_span_may_quote_its_text_in_other_letters():
    assert tagged(rows("Élan\nVital rises", (0, 10, "ORG", "elan vital"))) == ["Élan/B-ORG Vital/I-ORG rises"]
    assert tagged(rows("Élan\nVital rises", (0, 10, "ORG", "Élan\\nVital"))) == ["Élan/B-ORG Vital/I-ORG rises"]


def test_offsets_that_contradict_the_text_of_their_span_are_refused():
    with pytest.raises(UserError) as error:
        adapted(rows("Ann left Rome", (0, 3, "PER", "Ann"), (4, 8, "LOC", "Rome")))
    assert str(error.value) == (
        "file:1: the span 4 to 8 (LOC) covers 'left', but its text is 'Rome'; correct the offsets, or remove the span"
    )


def test_a_span_outside_the_text_is_refused_next_to_one_that_is_right():
    with pytest.raises(UserError, match="outside the text"):
        adapted(rows("Ann left Rome", (0, 3, "PER", "Ann"), (9, 99, "LOC")))
