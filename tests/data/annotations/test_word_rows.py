"""Tables with a word in each row: where a sentence ends, and which columns are words and tags."""

from __future__ import annotations

import pytest
from annotation_rows import adapted, sentence

from pipeline.data.readers.common import WORD_LINES
from pipeline.errors import UserError

NAMES = ("Sentence #", "Word", "POS", "Tag")
WORDS = (("Ann", "NN", "B-PER"), ("left", "VB", "O"), ("So", "RB", "O"))
TAGGED = ["Ann/B-PER left", "So"]


def table(*sentences, names=NAMES):
    return [dict(zip(names, (mark, *word), strict=True)) for mark, word in zip(sentences, WORDS, strict=True)]


@pytest.mark.parametrize(
    "rows",
    [
        table("Sentence: 1", "", "Sentence: 2"),
        table("Sentence: 1", None, "Sentence: 2"),
        table("Sentence: 1", float("nan"), "Sentence: 2"),
        table("Sentence: 1", "Sentence: 1", "Sentence: 2"),
        table(1.0, 1.0, 2.0, names=("sentence_idx", "word", "pos", "tag")),
        table(0, 0, 1, names=("sentence_id", "words", "x", "labels")),
        table("Ann left", "Ann left", "So", names=("sentence", "token", "x", "ner")),
    ],
)
def test_rows_of_a_sentence_become_one(rows):
    found, _ = adapted(rows)
    assert [sentence(row) for row in found] == TAGGED


def test_lines_of_words_are_kept():
    found, warnings = adapted(table("1", "", "2"), lines=[2, 3, 4])
    assert [row[WORD_LINES] for row in found] == [[2, 3], [4]]
    assert warnings == []


def test_numbers_that_begin_again_in_each_document_are_different_sentences():
    rows = [
        {"doc_id": "a", "sent_id": 0, "word": "Ann", "tag": "B-PER"},
        {"doc_id": "b", "sent_id": 0, "word": "So", "tag": "O"},
    ]
    assert len(adapted(rows)[0]) == 2


def test_without_a_column_sentences_end_at_blank_lines_or_rows_without_a_word():
    rows = [{"word": "Ann", "tag": "B-PER"}, {"word": "left", "tag": "O"}, {"word": "So", "tag": "O"}]
    found, warnings = adapted(rows, lines=[2, 3, 5])
    assert [sentence(row) for row in found] == TAGGED
    assert warnings == []
    rows.insert(2, {"word": "", "tag": ""})
    assert [sentence(row) for row in adapted(rows)[0]] == TAGGED


def test_a_table_in_which_nothing_ends_a_sentence_is_refused():
    rows = [{"word": f"w{number}", "tag": "O"} for number in range(10_001)]
    with pytest.raises(UserError, match="nothing says where a sentence ends; add a column sentence_id"):
        adapted(rows)
    with pytest.raises(UserError, match="nothing says where a sentence ends"):
        adapted(rows[:100])


def test_rows_with_a_tag_but_no_word_are_counted():
    rows = table("1", "1", "2")
    rows[1]["Word"] = None
    found, warnings = adapted(rows)
    assert [sentence(row) for row in found] == ["Ann/B-PER", "So"]
    assert warnings[0] == "file: 1 rows without a word were left out (line 2)"


def test_the_first_row_may_lack_a_column():
    rows = [{"word": "So", "sent_id": 0}, {"word": "Ann", "sent_id": 1, "tag": "B-PER"}]
    assert [row["tags"] for row in adapted(rows)[0]] == [[""], ["B-PER"]]


def test_settings_name_the_columns():
    rows = [{"s_id": 0, "sent_id": 1, "w": "Ann", "gold": "B-PER", "tag": "O"}]
    found, _ = adapted(rows, token_column="w", tag_column="gold")
    assert [sentence(row) for row in found] == ["Ann/B-PER"]


def test_texts_with_labels_are_not_words_with_tags():
    with pytest.raises(AssertionError, match="no module knows"):
        adapted([{"text": "a whole text", "label": "0"}, {"text": "another one", "label": "1"}])
