"""Rows of annotation tools as inputs of a model, which need no annotations: tasks, words in rows, lists as texts."""

from __future__ import annotations

import json

import pytest

from pipeline.config.data import Data
from pipeline.data import new_rows, sources
from pipeline.data.rows import MISSING
from pipeline.tasks.ner import Ner
from pipeline.tasks.sentiment import Sentiment

TASKS = [{"id": 7, "data": {"text": "Ann left"}, "annotations": []}, {"id": 8, "data": {"text": "So"}}]


def read(tmp_path, name, content, task):
    """Contents with their ids, and what is reported."""
    file = tmp_path / name
    file.write_text(content)
    said = []
    found = list(new_rows.read(sources.locate(Data(str(file)), task.name), task, report=said.append))
    return [(row.content, None if row.id is MISSING else row.id) for row in found], said


@pytest.mark.parametrize("task", [Ner, Sentiment])
def test_every_task_of_label_studio_is_a_text(task, tmp_path):
    found, said = read(tmp_path, "tasks.json", json.dumps(TASKS), task)
    assert found == [("Ann left", 7), ("So", 8)]
    assert said == ["text = data.text (of: id, data, annotations), id = id"]


@pytest.mark.parametrize(
    "content",
    [
        "sentence_id,word,POS\na,Ann,N\na,left,V\nb,So,R\n",
        "Sentence #,Word,Tag\na,Ann,O\n,left,O\nb,So,O\n",
    ],
)
def test_words_in_rows_are_sentences_with_or_without_tags(content, tmp_path):
    found, _ = read(tmp_path, "words.csv", content, Ner)
    assert [words for words, _ in found] == [["Ann", "left"], ["So"]]


def test_lists_as_texts_are_words(tmp_path):
    content = "id,tokens\n1,\"['Ann', 'left']\"\n2,\"['So' 'so']\"\n"
    assert read(tmp_path, "lists.csv", content, Ner)[0] == [(["Ann", "left"], "1"), (["So", "so"], "2")]


def test_texts_of_annotated_rows_stay_texts(tmp_path):
    content = json.dumps({"id": 1, "text": "Ann left", "label": [[0, 3, "PER"]]}) + "\n"
    assert read(tmp_path, "all.jsonl", content, Ner)[0] == [("Ann left", 1)]
