"""Pairs of texts: how they are encoded, collated, learnt, evaluated and predicted."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
from conftest import NEGATIVE, POSITIVE
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

from pipeline import inference, run
from pipeline.config.data import Data
from pipeline.config.models import Recurrent, Scratch
from pipeline.config.recipe import Recipe
from pipeline.config.training import Optim, Train
from pipeline.data.gathering import Table
from pipeline.data.tokenization import tokenizers
from pipeline.data.tokenization.text_pairs import for_pairs
from pipeline.errors import UserError
from pipeline.tasks.multi_label import MultiLabel
from pipeline.tasks.regression import Regression
from pipeline.tasks.sentiment import Sentiment

ROWS = {
    "text": ["a film", "", ""],
    "text_pair": ["boring", "boring", ""],
    "label": ["x", "y", "x"],
}


def a_tokenizer(how):
    return for_pairs(tokenizers.train("word", ["a film", "boring"] * 2, Data("x")), how)


def test_rows_of_pairs_say_which_text_a_token_belongs_to():
    columns = Sentiment().encode(ROWS, a_tokenizer("apart"), 8, ["x", "y"])
    assert [len(ids) for ids in columns["input_ids"]] == [3, 1, 0]
    # A row without tokens gets one later, which belongs to the first text.
    assert columns["token_type_ids"].to_pylist() == [[0, 0, 1], [1], [0]]
    assert columns["truncated"] == [False] * 3


def test_types_are_left_out_for_models_that_do_not_read_them_and_for_single_texts():
    assert "token_type_ids" not in Sentiment().encode(ROWS, a_tokenizer("joined"), 8, ["x", "y"])
    single = {name: values for name, values in ROWS.items() if name != "text_pair"}
    assert "token_type_ids" not in Sentiment().encode(single, a_tokenizer("apart"), 8, ["x", "y"])


def test_types_are_padded_like_tokens():
    rows = pa.table({"length": [2, 3], "input_ids": [[5, 6], [7, 8, 9]], "label": [0, 1],
                     "token_type_ids": pa.array([[0, 1], [0, 0, 1]], pa.list_(pa.int32()))})  # fmt: skip
    tokenizer = SimpleNamespace(pad_token_id=3, pad_token_type_id=0)
    batch, _ = Sentiment().collate(*Table(rows).take([np.arange(2)]), tokenizer)
    assert batch["token_type_ids"].tolist() == [[0, 1, 0], [0, 0, 1]]
    assert batch["input_ids"].tolist() == [[5, 6, 3], [7, 8, 9]]


def test_what_was_a_pair_is_still_one_after_saving():
    config = SimpleNamespace(problem_type=None, num_labels=2)
    Sentiment(reads_pairs=True).configure(config)
    assert config.pairs is True
    assert Sentiment().restored(config).reads_pairs is True
    Sentiment(reads_pairs=False).configure(config)  # the same checkpoint, trained on single texts
    assert config.pairs is False
    assert Sentiment().restored(SimpleNamespace(problem_type=None, num_labels=2)).reads_pairs is None


MODELS = {
    "recurrent": Recurrent(hidden_size=8, embedding_size=8, dropout=0.0, embedding_dropout=0.0, pooling="max"),
    "bert": Scratch("bert", hidden_size=16, layers=1),
    "gpt2": Scratch("gpt2", hidden_size=16, layers=1),
}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Pairs of reviews, which agree if both are positive or both negative; and a run of each kind of model."""
    folder = tmp_path_factory.mktemp("pairs")
    texts = POSITIVE + NEGATIVE
    rows = [
        {"id": f"{one}-{two}-{number}", "question1": f"{texts[one]} {number}", "question2": texts[two],
         "label": "same" if (one < 4) == (two < 4) else "other"}
        for number in range(6) for one in range(8) for two in range(8)
    ]  # fmt: skip
    (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "single.csv").write_text("text,label\n" + "a warm film,same\nboring,other\n" * 3)
    return folder


@pytest.fixture(scope="module", params=MODELS)
def finished(request, place):
    recipe = Recipe(
        name="pairs",
        task="sentiment",
        data=Data(str(place / "pairs.jsonl"), max_length=32),
        model=MODELS[request.param],
        optim=Optim(learning_rate=0.02 if request.param == "recurrent" else 0.005),
        train=Train(output_dir=str(place / request.param), epochs=8, max_steps=120, batch_size=16),
    )
    return place / request.param, run.train(recipe)


def test_a_run_on_pairs_learns_how_the_texts_relate(finished):
    """A model that read one text only, or both as one bag of words, would be right half of the time."""
    folder, metrics = finished
    assert metrics["data"]["columns"].startswith("text = question1, text_pair = question2, label = label (of: id,")
    assert metrics["data"]["pairs"] is True
    if folder.name == "recurrent":
        assert metrics["test"]["accuracy"] > 0.9
    assert json.loads((folder / "model/config.json").read_text())["pairs"] is True


def test_predictions_of_pairs_are_those_of_transformers(finished):
    folder, _ = finished
    pairs = [("a warm film", "a joy from start to end"), ("boring", "warm and gripping , and so on"), ("", "boring")]
    answers = list(inference.predict(str(folder), pairs))
    assert [(answer["text"], answer["text_pair"]) for answer in answers] == pairs
    options = {"trust_remote_code": True}
    model = AutoModelForSequenceClassification.from_pretrained(folder / "model", **options)
    tokenizer = AutoTokenizer.from_pretrained(folder / "model", **options)
    classify = pipeline("text-classification", model=model, tokenizer=tokenizer)
    for (text, text_pair), answer in zip(pairs, answers, strict=True):
        found = classify({"text": text, "text_pair": text_pair}, top_k=None)
        assert {one["label"]: one["score"] for one in found} == pytest.approx(answer["scores"], abs=1e-5)


def test_a_pair_without_words_is_answered_and_a_batch_of_one_like_others(finished):
    folder, _ = finished
    pairs = [("boring", ""), ("", ""), ("a warm and gripping film", "boring")]
    together = list(inference.predict(str(folder), pairs))
    for pair, answer in zip(pairs, together, strict=True):
        (alone,) = inference.predict(str(folder), [pair])
        assert alone["scores"] == pytest.approx(answer["scores"], abs=1e-5)


def test_pairs_are_scored_alike_in_batches_of_any_size(finished, place):
    folder, _ = finished
    data = Data(str(place / "pairs.jsonl"), limit=40)
    scores = [inference.evaluate(str(folder), data, batch_size=size) for size in (1, 40)]
    assert scores[0]["loss"] == pytest.approx(scores[1]["loss"], abs=1e-6)
    assert scores[0]["accuracy"] == scores[1]["accuracy"]


def test_a_model_of_pairs_refuses_single_texts(finished, place):
    folder, _ = finished
    with pytest.raises(UserError, match="this model reads pairs of texts, and the input has single ones"):
        list(inference.predict(str(folder), ["a warm film"]))
    with pytest.raises(UserError, match=r"the model reads pairs of texts, and there is one text .*text_pair_column"):
        inference.evaluate(str(folder), Data(str(place / "single.csv")))


def test_a_model_of_single_texts_leaves_the_second_text_alone(place, tmp_path):
    train = Train(output_dir=str(tmp_path / "run"), max_steps=1)
    single = place / "single-rows.jsonl"
    rows = [{"text": f"{text} {number}", "label": number % 2} for number in range(10) for text in POSITIVE]
    single.write_text("".join(json.dumps(row) + "\n" for row in rows))
    metrics = run.train(Recipe("one", "sentiment", Data(str(single)), MODELS["recurrent"], train=train))
    assert metrics["data"]["pairs"] is False
    assert json.loads((tmp_path / "run/model/config.json").read_text())["pairs"] is False
    with pytest.raises(UserError, match="this model reads single texts, and the input has pairs"):
        list(inference.predict(str(tmp_path / "run"), [("a warm film", "boring")]))
    both = {"text_column": "question1", "text_pair_column": "question2"}
    with pytest.raises(UserError, match=r"^data\.text_pair_column: the model reads single texts; remove this setting"):
        inference.evaluate(str(tmp_path / "run"), Data(str(place / "pairs.jsonl"), **both))


def windows(logits: list[list[float]]) -> dict[str, np.ndarray]:
    """The outcome of three rows: two windows of one text, and another text."""
    values = np.array(logits, dtype=np.float32)
    return {"begins": np.array([True, False, True]), "length": np.array([3, 2, 4]), "logits": values}


def test_several_labels_of_a_text_in_windows_are_decided_by_the_mean_of_their_logits():
    label = np.array([[True, False], [True, False], [False, True]])
    outcome = {**windows([[4.0, -1.0], [0.0, 2.0], [1.0, 1.0]]), "label": label, "nll": np.zeros(3)}
    joined = MultiLabel().joined(outcome)
    expected = 1 / (1 + np.exp(-np.array([[2.0, 0.5], [1.0, 1.0]])))
    np.testing.assert_allclose(joined["probability"], expected, rtol=1e-6)
    assert joined["label"].tolist() == [[True, False], [False, True]]
    nll = -np.log(np.where(joined["label"], expected, 1 - expected)).mean(axis=1)
    np.testing.assert_allclose(joined["nll"], nll, rtol=1e-6)
    assert joined["tokens"].tolist() == [5, 4]


def test_the_number_of_a_text_in_windows_is_the_mean_of_theirs():
    outcome = {**windows([[4.0], [1.0], [3.0]]), "label": np.array([2.0, 2.0, 5.0], dtype=np.float32)}
    joined = Regression().joined(outcome)
    assert joined["prediction"].tolist() == [2.5, 3.0]
    assert joined["label"].tolist() == [2.0, 5.0]


def test_pairs_are_not_split_into_windows(place, tmp_path):
    train = Train(output_dir=str(tmp_path / "run"), max_steps=1)
    recipe = Recipe(
        "x", "sentiment", Data(str(place / "pairs.jsonl"), long_texts="windows"), MODELS["bert"], train=train
    )
    with pytest.raises(UserError, match=r"^data\.long_texts: windows is for single texts"):
        run.train(recipe)
