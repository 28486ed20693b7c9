"""Columns are chosen once: by a setting, by their names, or by values that fit; never an id, a date or an author."""

from __future__ import annotations

import pytest

from pipeline.config.data import Data
from pipeline.data.column_choice import choose
from pipeline.data.rows import batches, peek
from pipeline.errors import UserError
from pipeline.tasks.ner import Ner
from pipeline.tasks.sentiment import Sentiment

TEXTS = [f"a film with {word} acting, number {number}" for number in range(5) for word in ("good", "bad")]
CLASSES = ["1", "0"] * 5
COLUMNS = {
    "text": TEXTS,
    "label": CLASSES,
    "id": [str(number) for number in range(10)],
    "date": [f"2019-01-{day:02} 10:00" for day in range(1, 11)],
    "user": ["jo", "al", "jo", "al"] * 2 + ["bo"] * 2,
    "constant": ["NO_QUERY"] * 10,
    "moods": ["glad", "sad"] * 5,
    "numbers": [f"{number}.5" for number in range(10)],
}


def chosen(table: dict[str, str | list], roles=Sentiment.columns, pairs=(), **settings):
    """The choice for a table whose columns are named and hold those of `COLUMNS`, or values of their own."""
    values = {name: COLUMNS.get(kind, kind) if isinstance(kind, str) else kind for name, kind in table.items()}
    rows = [
        (line, dict(zip(values, row, strict=True))) for line, row in enumerate(zip(*values.values(), strict=True), 2)
    ]
    return choose(roles, peek(batches(rows), 100), Data(source="f.csv", **settings), "f.csv", pairs)


@pytest.mark.parametrize(
    ("table", "settings", "text", "label"),
    [
        ({"text": "text", "label": "label"}, {}, "text", "label"),
        ({"id": "id", "Review": "text", "Sentiment": "label"}, {}, "Review", "Sentiment"),
        ({"id": "id", "text": "text", "labels": "label"}, {}, "text", "labels"),
        ({"utterance": "text", "label": "label"}, {}, "utterance", "label"),
        ({"text": "text", "mood": "label"}, {}, "text", "mood"),
        ({"text": "text", "review": "text", "label": "label"}, {"text_column": "review"}, "review", "label"),
        ({"a": "label", "b": "text"}, {}, "b", "a"),
        ({"Class Index": "label", "Description": "text"}, {}, "Description", "Class Index"),
        ({"text": "text", "intent_name": "moods", "user_id": "user"}, {}, "text", "intent_name"),
        ({"text": "text", "label": "label", "label_name": "moods"}, {}, "text", "label"),
        ({"airline": "moods", "airline_sentiment": "label", "text": "text"}, {}, "text", "airline_sentiment"),
        ({"summary": "text", "reviewText": "text", "overall": "label"}, {}, "reviewText", "overall"),
        ({"v1": "label", "v2": "text", "v3": "constant"}, {}, "v2", "v1"),
        ({"1": "label", "2": "id", "3": "date", "4": "constant", "6": "text"}, {}, "6", "1"),
        ({"text": "text", "mood": "label", "date": "date", "user": "user", "id": "id"}, {}, "text", "mood"),
    ],
)  # fmt: skip
def test_a_column_is_the_one_that_is_named_or_that_alone_fits(table, settings, text, label):
    columns = chosen(table, **settings).columns
    assert (columns["text"], columns["label"]) == (text, label)


@pytest.mark.parametrize(
    ("table", "settings", "message"),
    [
        ({"1": "label", "2": "user", "3": "text"}, {}, "f.csv: which column holds the label, 1 or 2?"),
        ({"text": "text", "user": "user"}, {}, "f.csv: no column looks like the label; set data.label_column to"),
        ({"text": "text", "index": "id"}, {}, "f.csv: no column looks like the label"),
        ({"text": "text", "when": "date"}, {}, "f.csv: no column looks like the label"),
        ({"text": "text", "always": "constant"}, {}, "f.csv: no column looks like the label"),
        ({"text": "text", "mood": "moods", "kind": "moods"}, {}, "f.csv: which column holds the label, mood or kind?"),
        ({"id": "id", "date": "date", "label": "label"}, {}, "f.csv: no column looks like the text"),
        ({"a": "text", "b": "text", "label": "label"}, {}, "f.csv: which column holds the text, a or b?"),
        ({"text": "text", "review": "text", "label": "label"}, {}, "which column holds the text, text or review?"),
        ({"text": "text", "label": "label", "stars": "label"}, {}, "which column holds the label, label or stars?"),
        ({"text": "text"}, {}, "f.csv: it has texts only, no labels"),
        ({"text": "text", "label": "label"}, {"label_column": "text"}, "'text' is used for text and for label"),
        ({"text": "text", "label": "label"}, {"text_column": "txet"}, "f.csv has no column 'txet'; did you mean text?"),
        ({f"c{n}": "id" for n in range(999)}, {}, "no column looks like the text; set data.text_column to one of: c0"),
    ],
)  # fmt: skip
def test_an_ambiguous_column_is_asked_for(table, settings, message):
    with pytest.raises(UserError) as refusal:
        chosen(table, **settings)
    assert message in str(refusal.value)
    assert len(str(refusal.value)) < 300


def test_the_choice_reads_as_a_line():
    choice = chosen({"idx": "id", "sentence": "text", "label": "label"})
    assert str(choice) == "text = sentence, label = label (of: idx, sentence, label)"


def test_columns_of_zeros_and_ones_are_a_label_each():
    choice = chosen({"id": "id", "comment_text": "text", "toxic": "label", "threat": ["0"] * 9 + ["1"]})
    assert (choice.columns, choice.label_columns) == ({"text": "comment_text"}, ("toxic", "threat"))
    assert choice.problem_type == "multi_label_classification"


@pytest.mark.parametrize(
    ("labels", "problem_type"),
    [
        (["a", "b"] * 5, "single_label_classification"),
        ([1, 0] * 5, "single_label_classification"),
        ([4.0, 5.0] * 5, "single_label_classification"),
        ([["a"], ["b"]] * 5, "single_label_classification"),
        ([["a"], ["b", "a"]] * 5, "multi_label_classification"),
        ([["a"], []] * 5, "multi_label_classification"),
        (["['a']", "['b', 'a']"] * 5, "multi_label_classification"),
        ([0.5, 1] * 5, "regression"),
        (["0.5", ""] * 5, "regression"),
        (["0.5", "good"] * 5, "single_label_classification"),
    ],
)
def test_the_values_of_labels_say_what_is_learned(labels, problem_type):
    choice = chosen({"text": "text", "label": labels})
    assert choice.problem_type == problem_type
    assert bool(choice.reasons) == (problem_type != "single_label_classification")


def test_a_setting_says_what_is_learned():
    choice = chosen({"text": "text", "label": [0.5, 1.0] * 5}, problem_type="single_label_classification")
    assert (choice.problem_type, choice.reasons) == ("single_label_classification", ())


def test_usual_names_of_a_pair_are_two_texts():
    roles = {**Sentiment.columns, "text_pair": ()}
    pairs = (("premise", "hypothesis"),)
    choice = chosen({"premise": "text", "hypothesis": "text", "label": "label"}, roles, pairs)
    assert choice.columns == {"text": "premise", "text_pair": "hypothesis", "label": "label"}
    assert "text_pair" not in chosen({"text": "text", "hypothesis": "text", "label": "label"}, roles, pairs).columns
    settings = {"text_column": "a", "text_pair_column": "b"}
    choice = chosen({"a": "text", "b": "text", "label": "label"}, roles, pairs, **settings)
    assert choice.columns == {"text": "a", "text_pair": "b", "label": "label"}


def test_words_and_tags_are_chosen_by_name():
    lists = [["a", "b"]] * 10
    choice = chosen({"tokens": lists, "tags": lists, "1": lists, "2": lists}, Ner.columns)
    assert choice.columns == {"tokens": "tokens", "tags": "tags"}
    with pytest.raises(UserError, match=r"it holds words and tags, not texts; .* or train on it with the task ner"):
        chosen({"tokens": lists, "tags": lists})
