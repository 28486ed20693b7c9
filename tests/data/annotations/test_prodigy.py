"""Prodigy's rows: only accepted ones are read, with its own tokens, labels and choices."""

from __future__ import annotations

import pytest
from annotation_rows import adapted, tagged

from pipeline.errors import UserError


def row(text="Ann left", answer="accept", **more):
    return {"text": text, "_input_hash": 1, "answer": answer, **more}


PERSON = [{"start": 0, "end": 3, "label": "PER", "token_start": 0, "token_end": 0}]


def test_spans_of_accepted_rows_are_read_with_their_tokens():
    tokens = [
        {"text": "Ann", "id": 0, "start": 0, "end": 3, "ws": True},
        {"text": "left", "id": 1, "start": 4, "end": 8},
    ]
    assert tagged([row(spans=PERSON, tokens=tokens), row("So", spans=[])]) == ["Ann/B-PER left", "So"]
    assert tagged([row(spans=PERSON), row("So")]) == ["Ann/B-PER left", "So"]


def test_rejected_and_ignored_rows_are_left_out_and_counted():
    rows = [row(spans=PERSON), row("No", "reject", spans=[]), row("Hm", "ignore", spans=[]), row("Nay", "reject")]
    found, warnings = adapted(rows)
    assert [one["text"] for one in found] == ["Ann left"]
    assert warnings == [
        "file: 2 rejected rows were left out: they say what a text is not (line 2, line 4)",
        "file: 1 ignored rows were left out (line 3)",
    ]


def test_answers_about_a_single_span_are_reported():
    _, warnings = adapted([row(spans=PERSON, _is_binary=True)])
    assert "1 rows are answers about a single span" in warnings[0]


def test_labels_of_accepted_rows_are_read():
    rows = [row("fine", label="POS"), row("bad", "reject", label="POS"), row("dull", label="NEG")]
    found, warnings = adapted(rows, "sentiment")
    assert [(one["text"], one["label"]) for one in found] == [("fine", "POS"), ("dull", "NEG")]
    assert "1 rejected rows" in warnings[0]


def test_rejected_rows_are_the_other_class_if_all_questions_are_about_one_label():
    rows = [row("fine", label="POS"), row("bad", "reject", label="POS"), row("hm", "ignore", label="POS")]
    found, warnings = adapted(rows, "sentiment")
    assert [(one["text"], one["label"]) for one in found] == [("fine", "POS"), ("bad", "not POS")]
    assert warnings == [
        "file: all rows are about one label, so 1 rejected rows have the label 'not POS' (line 2)",
        "file: 1 ignored rows were left out (line 3)",
    ]


OPTIONS = [{"id": "POS", "text": "good"}, {"id": "NEG", "text": "bad"}]


def test_choices_are_labels():
    rows = [row("fine", options=OPTIONS, accept=["POS"]), row("hm", options=OPTIONS, accept=[])]
    assert [one["label"] for one in adapted(rows, "sentiment")[0]] == ["POS", None]
    rows[0]["config"] = {"choice_style": "multiple"}
    assert [one["label"] for one in adapted(rows, "sentiment")[0]] == [["POS"], []]


def test_an_answer_column_of_something_else_is_no_answer_of_prodigy():
    with pytest.raises(AssertionError, match="no module knows"):
        adapted([{"text": "why", "label": "a", "answer": "because"}], "sentiment")


def test_an_unknown_answer_is_refused_with_its_line():
    with pytest.raises(UserError, match=r"^file:2: the answer is 'maybe'; expected accept, reject or ignore"):
        adapted([row(spans=PERSON), row("b", "maybe", spans=[])])
