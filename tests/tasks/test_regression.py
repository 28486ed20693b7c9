"""A number per text: batches, scores, rows and predictions, learnt on any scale."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest
import torch
from conftest import NEGATIVE, POSITIVE
from datasets import Dataset
from transformers.modeling_outputs import SequenceClassifierOutput

from pipeline import inference, run
from pipeline.config.data import Data
from pipeline.config.models import Recurrent, Scratch
from pipeline.config.recipe import Recipe
from pipeline.config.training import Optim, Train
from pipeline.data.gathering import Table
from pipeline.errors import UserError
from pipeline.tasks.regression import Regression
from pipeline.tasks.sentiment import Sentiment

STEADY = Recurrent(hidden_size=8, embedding_size=8, dropout=0.0, embedding_dropout=0.0)


class Padded:
    pad_token_id = 0


def numbers(*values: float) -> dict[str, Dataset]:
    return {"train": Dataset.from_dict({"label": list(values)})}


def test_numbers_stay_as_they_are():
    targets = Regression().targets([0.1, -3.0, 1e6], ["score"])
    assert targets.type == pa.float64()
    rows = pa.table({"length": [1, 1, 1], "input_ids": [[1], [2], [3]], "label": targets})
    batch, weight = Regression().collate(*Table(rows).take([np.arange(3)]), Padded())
    assert batch["labels"].tolist() == pytest.approx([0.1, -3.0, 1e6])
    assert (batch["labels"].dtype, weight) == (torch.float32, 3)


def test_numbers_that_are_all_equal_are_refused():
    assert Regression().labels(None, numbers(1.5, 2.0)) == ["score"]
    with pytest.raises(UserError, match=r"every row of train has the number 2\.5"):
        Regression().labels(None, numbers(2.5, 2.5))


def an_outcome() -> dict[str, np.ndarray]:
    logits = torch.tensor([[1.0], [2.5], [4.0]], dtype=torch.bfloat16)
    found = Regression().outcome(SequenceClassifierOutput(logits=logits), {"labels": torch.tensor([1.0, 3.0, 3.5])})
    return {name: value.numpy() for name, value in found.items()}


def test_scores_and_rows_are_those_of_the_outcome():
    scores = Regression().score(an_outcome(), ["score"])
    assert scores["loss"] == scores["mse"] == pytest.approx((0 + 0.25 + 0.25) / 3)
    assert scores["pearson"] == pytest.approx(np.corrcoef([1, 2.5, 4], [1, 3, 3.5])[0, 1])
    assert scores["spearman"] == pytest.approx(1.0)
    assert set(scores) == set(Regression().monitors(["score"]))
    rows = list(Regression().rows(an_outcome(), ["score"]))
    assert rows[1] == {"id": 1, "gold": 3.0, "prediction": 2.5, "squared_error": 0.25}
    assert json.loads(json.dumps(rows)) == rows


def test_a_model_that_gives_all_texts_the_same_number_causes_concern():
    outcome = {"label": np.array([1.0, 2.0]), "prediction": np.array([1.5, 1.5])}
    assert Regression().concern(Regression().score(outcome, ["score"])) == "every text gets the same number"
    assert Regression().concern(Regression().score(an_outcome(), ["score"])) is None


@pytest.mark.parametrize("name", ["class_weights", "label_smoothing", "threshold"])
def test_settings_of_classes_are_refused_with_a_reason(name):
    value = {"class_weights": "balanced", "label_smoothing": 0.1, "threshold": 0.5}[name]
    with pytest.raises(UserError, match=rf"^train\.{name}: the labels are numbers, so .*; remove this setting$"):
        Regression().check(Train(**{name: value}))
    Regression().check(Train())


def test_a_model_with_one_output_and_no_problem_type_is_one_of_numbers_as_in_transformers():
    class Config:
        problem_type, num_labels = None, 1

    assert isinstance(Sentiment().restored(Config), Regression)
    Config.num_labels = 2
    assert isinstance(Sentiment().restored(Config), Sentiment)


def trained(tmp_path, name: str, scale: float, offset: float, model=STEADY, **train):
    """A run on numbers from the first words of texts, in other units: metrics and predictions."""
    texts = [f"{text} {number}" for number in range(30) for text in POSITIVE + NEGATIVE]
    base = [len(text.split()[1]) + (2.5 if text.rsplit(maxsplit=1)[0] in POSITIVE else 0.0) for text in texts]
    rows = [{"text": text, "label": scale * value + offset} for text, value in zip(texts, base, strict=True)]
    (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    recipe = Recipe(
        name="numbers",
        task="sentiment",
        data=Data(str(tmp_path / f"{name}.jsonl"), problem_type="regression"),
        model=model,
        optim=Optim(learning_rate=0.01, max_grad_norm=None),
        train=Train(output_dir=str(tmp_path / name), batch_size=16, **{"epochs": 4, **train}),
    )
    metrics = run.train(recipe)
    answers = list(inference.predict(str(tmp_path / name), [texts[0], texts[5]]))
    return metrics, np.array([answer["score"] for answer in answers])


@pytest.mark.parametrize("scale", [1e-4, 1000.0])
def test_the_unit_of_the_numbers_changes_nothing(scale, tmp_path):
    """The same model is learnt, and gives its answers in the units of the data."""
    offset = 50 * scale
    metrics, answers = trained(tmp_path, "plain", 1.0, 0.0)
    other, scaled = trained(tmp_path, "scaled", scale, offset)
    np.testing.assert_allclose((scaled - offset) / scale, answers, rtol=2e-3)
    assert other["test"]["mse"] / scale**2 == pytest.approx(metrics["test"]["mse"], rel=5e-3)
    assert metrics["test"]["pearson"] > 0.9
    assert metrics["train"]["monitor"] == "mse"


def test_a_transformer_learns_large_numbers(tmp_path):
    model = Scratch("bert", hidden_size=16, layers=1, dropout=0.0)
    metrics, _ = trained(tmp_path, "large", 1000.0, 5e4, model)
    assert metrics["test"]["pearson"] > 0.7
    assert metrics["test"]["mse"] < 0.9 * 1000**2 * 2.85  # of the variance of the numbers


def test_a_far_mean_is_reported_where_the_output_layer_has_no_bias(tmp_path):
    metrics, _ = trained(tmp_path, "far", 1.0, 2000.0, Scratch("gpt2", hidden_size=16, layers=1), max_steps=1)
    assert "an output layer without a bias learns slowly; subtract it" in metrics["train"]["numbers"]


def test_texts_without_a_number_have_labels_that_are_no_numbers():
    """As texts that a teacher answers have."""
    (rows,) = Table(pa.table({"label": Regression().no_targets(2, [])})).take([np.arange(2)])
    assert Regression().stacked(rows["label"]).isnan().tolist() == [True, True]
