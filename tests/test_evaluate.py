"""`finetune evaluate` on data that has no labels, or not for every row."""

from __future__ import annotations

import json

import pytest
from test_predict import names_model, reviews_model

from pipeline import inference
from pipeline.config.data import Data
from pipeline.errors import UserError

__all__ = ["names_model", "reviews_model"]


@pytest.mark.parametrize(
    "rows",
    [
        [{"text": "warm"}, {"text": "flat"}],
        [{"id": 1, "text": "warm"}, {"id": 2, "text": "flat"}],
        [{"text": "warm", "label": None}, {"text": "flat", "label": ""}],
        [{"text": "warm", "label": -1}, {"text": "flat", "label": -1}],
    ],
)
def test_data_without_labels_says_so(reviews_model, tmp_path, rows):
    file = tmp_path / "test.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(UserError, match=r"test\.jsonl: it has no labels.*, so there is nothing to score;.* predict"):
        inference.evaluate(reviews_model, Data(str(file)))


def test_sentences_without_tags_say_so(names_model, tmp_path):
    (tmp_path / "test.jsonl").write_text('{"tokens": ["Ann", "saw"]}\n')
    with pytest.raises(UserError, match=r"test\.jsonl: it has no labels.*, so there is nothing to score"):
        inference.evaluate(names_model, Data(str(tmp_path / "test.jsonl")))


def test_the_columns_that_the_model_was_trained_on_come_first(reviews_model, tmp_path):
    file = tmp_path / "test.csv"
    file.write_text("review_body,text,label\na warm film,dull and flat,good\ndull and flat,a warm film,bad\n")
    assert inference.evaluate(reviews_model, Data(str(file)))["accuracy"] == 1.0
    assert inference.evaluate(reviews_model, Data(str(file), text_column="text"))["accuracy"] == 0.0


def test_rows_without_a_label_are_left_out_and_counted(reviews_model, tmp_path):
    file = tmp_path / "test.csv"
    file.write_text("text,label\na warm film,good\ndull and flat,bad\na warm film,\nflat,N/A\nwarm,unknown\n")
    with pytest.raises(UserError, match=r"test\.csv:6: the model does not know the label 'unknown'"):
        inference.evaluate(reviews_model, Data(str(file)))
    scores = inference.evaluate(reviews_model, Data(str(file), missing_labels=("unknown",)))
    assert {name: figures["support"] for name, figures in scores["per_class"].items()} == {"bad": 1, "good": 1}


def test_the_count_of_rows_without_a_label_is_told(reviews_model, tmp_path, capfd):
    file = tmp_path / "test.csv"
    file.write_text("text,label\na warm film,good\ndull and flat,bad\na warm film,\n")
    inference.evaluate(reviews_model, Data(str(file)))
    assert "data: 1 rows of train have no label and were left out" in capfd.readouterr().err
