"""Lists in the cells of a table, as Python, NumPy and JSON print them, or with separators."""

from __future__ import annotations

import pytest
from annotation_rows import adapted, tagged

from pipeline.errors import UserError


@pytest.mark.parametrize(
    ("tokens", "tags"),
    [
        ("['Ann', 'left']", "['B-PER', 'O']"),
        ('["Ann", "left"]', '["B-PER", "O"]'),
        ("['Ann' 'left']", "['B-PER' 'O']"),
        ("['Ann', 'left']", "B-PER O"),
        ("Ann left", "B-PER O"),
        ("Ann left", "B-PER,O"),
        ("Ann  left ", "['B-PER', 'O']"),
    ],
)
def test_tables_with_lists_as_texts_are_read(tokens, tags):
    assert tagged([{"id": "0", "tokens": tokens, "ner_tags": tags}]) == ["Ann/B-PER left"]


def test_usual_tables_of_sentences_and_tags_are_read():
    assert tagged([{"sentence": "Ann left", "word_labels": "B-PER,O"}, {"sentence": "So", "word_labels": "O"}]) == [
        "Ann/B-PER left",
        "So",
    ]
    kaggle = {"Sentence #": "Sentence: 1", "Sentence": "Ann left", "POS": "['NN', 'VB']", "Tag": "['B-PER', 'O']"}
    assert tagged([kaggle]) == ["Ann/B-PER left"]
    assert tagged([{"text": "So", "labels": "O"}, {"text": "Ann left", "labels": "B-PER O"}]) == [
        "So",
        "Ann/B-PER left",
    ]


def test_ids_of_tags_stay_numbers():
    (row,), _ = adapted([{"tokens": "['Ann', 'left']", "ner_tags": "[1 0]"}])
    assert row["tags"] == [1, 0]


def test_settings_name_the_columns():
    row = {"w": "['Ann', 'left']", "t": "['B-PER', 'O']", "tags": "['O', 'O']"}
    assert tagged([row], token_column="w", tag_column="t") == ["Ann/B-PER left"]


def test_a_sentence_with_too_few_tags_is_refused_with_its_line():
    good = {"text": "Ann left", "labels": "B-PER O"}
    with pytest.raises(UserError, match=r"^file:2: text has 3 words, but labels 2 tags; give each word its tag"):
        adapted([good, {"text": "Ann left .", "labels": "B-PER O"}])
    with pytest.raises(UserError, match=r"^file:3: labels: .* in a list is neither a text nor a number"):
        adapted([good, good, {"text": "Ann left", "labels": "['B-PER, 'O']"}])
