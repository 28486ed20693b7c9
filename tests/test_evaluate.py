"""`finetune evaluate` on data that has no labels, or not for every row."""

from __future__ import annotations

import json

import pytest
from test_predict import names_model, reviews_model

from pipeline import inference
from pipeline.cli import main
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


def test_flags_say_how_a_file_is_read(names_model, reviews_model, tmp_path, capfd):
    rows = [{"text": "Ann Lee saw Rome", "label": [[0, 3, "PER"], [0, 7, "PER"], [12, 16, "LOC"]]}]
    (tmp_path / "spans.jsonl").write_text(json.dumps(rows[0]))
    spans = ["evaluate", names_model, "--data", str(tmp_path / "spans.jsonl")]
    assert main.exit_code(lambda: main._dispatch(spans)) == 2
    assert "overlap" in capfd.readouterr().err
    assert main.exit_code(lambda: main._dispatch([*spans, "--overlaps", "longest"])) == 0
    assert json.loads(capfd.readouterr().out)["f1"] == 1.0
    (tmp_path / "table.dat").write_bytes("a warm film|good\ndull caf\xe9|bad\nflat|unknown\n".encode("latin-1"))
    flags = ["--format", "csv", "--separator", "|", "--header", "False", "--encoding", "latin-1"]
    columns = ["--text-column", "1", "--label-column", "2", "--missing-labels", "unknown"]
    table = ["evaluate", reviews_model, "--data", str(tmp_path / "table.dat"), *flags, *columns]
    assert main.exit_code(lambda: main._dispatch(table)) == 0
    out = json.loads(capfd.readouterr().out)
    assert sum(figures["support"] for figures in out["per_class"].values()) == 2
