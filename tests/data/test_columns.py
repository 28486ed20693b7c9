"""Columns: inferred if unambiguous, asked for otherwise; values become strings without surprises."""

from __future__ import annotations

import pytest

from pipeline.data.columns import LabelNames, as_label, as_text, assign
from pipeline.errors import UserError
from pipeline.tasks.sentiment import Sentiment

NONE = {"text": None, "label": None}


@pytest.mark.parametrize(
    ("found", "chosen", "expected"),
    [
        (["text", "label"], {}, ("text", "label")),
        (["id", "Review", "Sentiment"], {}, ("Review", "Sentiment")),
        (["utterance", "label"], {}, ("utterance", "label")),
        (["text", "mood"], {}, ("text", "mood")),
        (["text", "review", "label"], {"text": "review"}, ("review", "label")),
        (["a", "b"], {"text": "b"}, ("b", "a")),
    ],
)
def test_an_unambiguous_column_is_inferred(found, chosen, expected):
    columns = assign(Sentiment.columns, found, {**NONE, **chosen}, "f.csv")
    assert (columns["text"], columns["label"]) == expected


@pytest.mark.parametrize(
    ("found", "chosen", "message"),
    [
        (["a", "b"], {}, "f.csv: no column looks like the text; set data.text_column to one of: a, b"),
        (["text", "review", "label"], {}, "f.csv: which column holds the text, text or review? Set data.text_column"),
        (["text", "label", "stars"], {}, "f.csv: which column holds the label, label or stars? Set data.label_column"),
        (["text", "a", "b"], {}, "f.csv: no column looks like the label; set data.label_column"),
        (["text"], {}, "f.csv: it has texts only, no labels"),
        (["text", "label"], {"label": "text"}, "data.label_column: 'text' is used for text and for label"),
        ([f"c{n}" for n in range(999)], {}, "f.csv: no column looks like the text; set data.text_column to one of: c0"),
        (["text", "label"], {"text": "txet"}, "data.text_column: f.csv has no column 'txet'; did you mean text?"),
    ],
)
def test_an_ambiguous_column_is_asked_for(found, chosen, message):
    with pytest.raises(UserError) as refusal:
        assign(Sentiment.columns, found, {**NONE, **chosen}, "f.csv")
    assert str(refusal.value).startswith(message)
    assert len(str(refusal.value)) < 300


@pytest.mark.parametrize(
    ("value", "text"), [(None, ""), (float("nan"), ""), (3, "3"), (2.5, "2.5"), ("\u200fא", "\u200fא")]
)
def test_texts_stay_as_they_are(value, text):
    assert as_text(value, "f:1") == text


@pytest.mark.parametrize("value", [["a"], {"a": 1}, b"a", True, "\ud800"])
def test_a_value_that_is_not_text_is_refused_with_its_line(value):
    with pytest.raises(UserError, match=r"f:1: the text"):
        as_text(value, "f:1")


@pytest.mark.parametrize(
    ("value", "names", "label"),
    [
        (1, None, "1"),
        (1.0, None, "1"),
        ("1.0", None, "1"),
        ("1.5", None, "1.5"),
        (" good ", None, "good"),
        (True, None, "True"),
        (1, ["neg", "pos"], "pos"),
        ("0", ["neg", "pos"], "neg"),
        ("pos", ["neg", "pos"], "pos"),
        (5, ["neg", "pos"], "5"),
    ],
)
def test_labels_are_names_of_classes(value, names, label):
    assert as_label(value, "f:1", LabelNames(names)) == label


@pytest.mark.parametrize("value", [None, "", "  ", float("nan"), ["a"]])
def test_a_missing_label_is_refused_with_its_line(value):
    with pytest.raises(UserError, match="f:1: the label is"):
        as_label(value, "f:1")
