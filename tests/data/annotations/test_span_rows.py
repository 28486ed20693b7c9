"""Rows of a text and a column of spans, in the shapes of doccano, spaCy, Label Studio, the Hub and our own."""

from __future__ import annotations

import json

import pytest
from annotation_rows import adapted, tagged

from pipeline.errors import UserError

TEXT = "Ann Lee left Rome ."
TAGGED = "Ann/B-PER Lee/I-PER left Rome/B-LOC ."
PAIRS = [[0, 7, "PER"], [13, 17, "LOC"]]


def objects(start="start", end="end", label="label", **more):
    return [{start: first, end: last, label: kind, **more} for first, last, kind in PAIRS]


@pytest.mark.parametrize(
    "row",
    [
        {"id": 1, "text": TEXT, "label": PAIRS, "Comments": []},
        {"id": 1, "text": TEXT, "labels": PAIRS, "meta": {}},
        {"id": 1, "text": TEXT, "entities": PAIRS},
        {
            "id": 1,
            "text": TEXT,
            "entities": objects("start_offset", "end_offset", id=3),
            "relations": [{"id": 1, "from_id": 3, "to_id": 4, "type": "in"}],
            "Comments": [],
        },
        {"id": 1, "data": TEXT, "label": PAIRS},
        {"column_data": TEXT, "column_label": PAIRS},
        {"text": TEXT, "entities": objects(label="type", score=0.5)},
        {"text": TEXT, "spans": objects()},
        {"text": TEXT, "entities": {"start": [0, 13], "end": [7, 17], "label": ["PER", "LOC"]}},
        {"text": TEXT, "ents": objects(), "title": None},
        {"text": TEXT, "intent": "go", "entities": objects(label="entity", value="x")},
        {
            "content": TEXT,
            "annotation": [
                {"label": [k], "points": [{"start": s, "end": e - 1, "text": TEXT[s:e]}]} for s, e, k in PAIRS
            ],
        },
        {"text": TEXT, "label": {"PER": {"Ann Lee": [[0, 6]]}, "LOC": {"Rome": [[13, 16]]}}},
        {
            "text": TEXT,
            "entities": [
                {"start_idx": 0, "end_idx": 7, "type": "PER", "entity": "Ann Lee"},
                {"start_idx": 13, "end_idx": 17, "type": "LOC", "entity": "Rome"},
            ],
        },
        {
            "text": TEXT,
            "entities": [{"offset": 0, "length": 7, "category": "PER"}, {"offset": 13, "length": 4, "category": "LOC"}],
        },
        {
            "Text": TEXT,
            "Entities": [
                {"BeginOffset": 0, "EndOffset": 7, "Type": "PER"},
                {"BeginOffset": 13, "EndOffset": 17, "Type": "LOC"},
            ],
        },
        {
            "sentence": TEXT,
            "label": json.dumps([{"start": s, "end": e, "text": TEXT[s:e], "labels": [k]} for s, e, k in PAIRS]),
        },
        {"text": TEXT, "entities": str([tuple(pair) for pair in PAIRS])},
    ],
)
def test_every_shape_of_spans_is_read(row):
    (found,), _ = adapted([row])
    assert (
        " ".join(w if t == "O" else f"{w}/{t}" for w, t in zip(found["tokens"], found["tags"], strict=True)) == TAGGED
    )
    assert found["text"] == TEXT


def test_a_row_keeps_its_id_and_its_split_and_loses_the_spans():
    (row,), warnings = adapted([{"id": 7, "split": "dev", "text": TEXT, "label": PAIRS, "relations": []}])
    assert row.keys() == {"id", "split", "text", "tokens", "tags"}
    assert (row["id"], row["split"], warnings) == (7, "dev", [])


def test_rows_without_spans_have_no_entities():
    rows = [{"text": TEXT, "label": PAIRS}, {"text": "It rains", "label": []}, {"text": "So", "label": None}]
    assert tagged(rows) == [TAGGED, "It rains", "So"]
    assert tagged([{"text": "It rains", "entities": []}]) == ["It rains"]


def test_settings_name_the_columns():
    row = {"text": "no", "body": TEXT, "gold": PAIRS, "silver": [[0, 3, "X"]]}
    with pytest.raises(UserError, match="several columns hold spans; set it to one of: gold, silver"):
        adapted([row])
    assert tagged([row], token_column="body", tag_column="gold") == [TAGGED]


def test_types_that_are_numbers_can_be_named_and_are_reported_otherwise():
    """doccano's older export with the ids of labels."""
    row = {"text": "Ann left", "annotations": [{"label": 4, "start_offset": 0, "end_offset": 3, "user": 1}]}
    found, (note,) = adapted([row])
    assert found[0]["tags"] == ["B-4", "O"]
    assert "1 texts have types that are numbers, such as 4; to name them, set data.label_names" in note
    assert tagged([row], label_names=("4=PER",)) == ["Ann/B-PER left"]


def test_a_malformed_row_is_refused_with_its_line():
    good = {"text": TEXT, "label": PAIRS}
    with pytest.raises(UserError, match=r"^file:3: expected a list of spans, .* found \"PER\""):
        adapted([good, good, {"text": TEXT, "label": "PER"}])
    with pytest.raises(UserError, match=r"^file:3: the text is 5; expected a string"):
        adapted([good, good, {"text": 5, "label": []}])
    with pytest.raises(UserError, match=r"^file:2: the row has no field 'text'"):
        adapted([good, {"label": []}])


def test_words_with_tags_are_joined_to_entities():
    pieces = [("B-PER", 0, 3), ("I-PER", 4, 7), ("I-LOC", 13, 17)]
    entities = [{"entity": kind, "start": start, "end": end, "index": 1} for kind, start, end in pieces]
    assert tagged([{"text": TEXT, "entities": entities}]) == [TAGGED]


def test_offsets_may_be_texts():
    assert tagged([{"text": "Ann left", "entities": [{"start": "0", "end": "3", "label": "PER"}]}]) == [
        "Ann/B-PER left"
    ]


@pytest.mark.parametrize("entities", [[{"text": "Ann", "label": "PER"}], {"PER": ["Ann"]}, [["Ann", "PER"]]])
def test_entities_without_offsets_are_refused(entities):
    with pytest.raises(UserError, match=r"^file: the entities in 'entities' do not say where they are, such as .*Ann"):
        adapted([{"text": "Ann left", "entities": entities}])


def test_a_format_that_the_rows_do_not_have_is_refused():
    with pytest.raises(UserError, match="file: no rows of doccano; expected rows such as"):
        adapted([{"text": "a", "label": "b"}], format="doccano")


def words(*places, text="10km "):
    return [{"id": id_, "start": start, "end": end, "text": text[start:end]} for id_, (start, end) in enumerate(places)]


UNIT = {"text": "10km ", "ents": [{"start": 2, "end": 4, "label": "UNIT"}]}


def test_words_of_tools_that_have_some_are_kept():
    assert tagged([{**UNIT, "tokens": words((0, 2), (2, 4), (4, 5))}]) == ["10 km/B-UNIT"]


def test_words_with_wrong_offsets_are_found_by_their_texts():
    tokens = words((0, 2), (2, 4))
    tokens[1] |= {"start": 0, "end": 1}
    (row,), warnings = adapted([{**UNIT, "tokens": tokens}])
    assert row["tokens"] == ["10", "km"]
    assert "1 rows have tokens whose offsets are not in order; their places were found" in warnings[0]


def test_words_that_are_not_in_the_text_are_not_used():
    tokens = [{"start": 0, "end": 99, "text": "miles"}]
    (row,), warnings = adapted([{**UNIT, "tokens": tokens}])
    assert row["tokens"] == ["10km"]
    assert "1 rows have tokens that do not fit their text" in warnings[0]
