"""Any number of labels per text: batches, thresholds, scores, rows and predictions."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
import torch
from conftest import NEGATIVE, POSITIVE, finetune_here
from datasets import Dataset, Features, List, Value
from sklearn.metrics import f1_score
from transformers.modeling_outputs import SequenceClassifierOutput

from pipeline import inference, run
from pipeline.config.data import Data
from pipeline.config.models import Recurrent
from pipeline.config.recipe import Recipe
from pipeline.config.training import Optim, Train
from pipeline.data.gathering import Table
from pipeline.errors import UserError
from pipeline.tasks.multi_label import MultiLabel
from pipeline.tasks.sentiment import Sentiment

LABELS = ["odd", "funny", "sad"]


class Padded:
    pad_token_id = 0


def splits(*train: list[str], **others: list[list[str]]) -> dict[str, Dataset]:
    features = Features({"label": List(Value("string"))})
    rows = {"train": list(train), **others}
    return {split: Dataset.from_dict({"label": labels}, features) for split, labels in rows.items()}


def test_labels_become_zeros_and_ones_in_the_order_of_their_ids():
    targets = MultiLabel().targets([["sad", "odd"], [], ["funny"]], LABELS)
    rows = pa.table({"length": [1, 1, 1], "input_ids": [[1], [2], [3]], "label": targets})
    batch, weight = MultiLabel().collate(Table(rows).take([np.array([1, 2])])[0], Padded())
    assert batch["labels"].tolist() == [[0, 0, 0], [0, 1, 0]]
    assert (batch["labels"].dtype, weight) == (torch.float32, 2)
    (first,) = Table(rows).take([np.array([0])])
    assert MultiLabel().collate(first, Padded())[0]["labels"].tolist() == [[1, 0, 1]]


def test_labels_are_ordered_as_in_the_source_or_by_number_or_alphabet():
    assert MultiLabel().labels(None, splits(["b"], ["a", "b"], [])) == ["a", "b"]
    assert MultiLabel().labels(None, splits(["10"], ["9", "10"], [], test=[["2"]])) == ["2", "9", "10"]
    assert MultiLabel().labels(["z", "b", "a"], splits(["b"], ["a"])) == ["z", "b", "a"]


def test_a_single_label_that_some_rows_have_is_enough():
    assert MultiLabel().labels(None, splits(["spam"], [])) == ["spam"]


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        ([[], []], "no row of train has a label"),
        ([["a", "b"], ["b", "a"]], "every row of train has the same labels"),
        ([[f"id {number}"] for number in range(30)], "30 different labels in 30 rows, such as 'id 0'"),
    ],
)
def test_labels_from_which_nothing_can_be_learnt_are_refused(rows, why):
    with pytest.raises(UserError, match=f"^data.label_column: {why}"):
        MultiLabel().labels(None, splits(*rows))


def test_the_outcome_is_the_mean_nll_and_the_probability_of_each_label():
    logits, labels = torch.tensor([[0.0, 2.0], [-1.0, 3.0]]), torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    found = MultiLabel().outcome(SequenceClassifierOutput(logits=logits.bfloat16()), {"labels": labels})
    probabilities = 1 / (1 + np.exp(-logits.double().numpy()))
    nll = -np.log(np.where(labels.bool().numpy(), probabilities, 1 - probabilities)).mean(axis=1)
    np.testing.assert_allclose(found["probability"].numpy(), probabilities, atol=1e-6)
    np.testing.assert_allclose(found["nll"].numpy(), nll, atol=1e-6)
    assert found["label"].tolist() == labels.bool().tolist()


def an_outcome(rows: int = 80) -> dict[str, np.ndarray]:
    """Probabilities that tell a label from its absence at 0.1 for "odd", at 0.6 for "funny", and badly for "sad"."""
    generator = np.random.default_rng(2)
    truth = generator.random((rows, 3)) < [0.3, 0.4, 0.2]
    low, high = np.array([0.0, 0.4, 0.2]), np.array([0.12, 0.63, 0.3])
    probability = np.where(truth, high, low) + generator.random((rows, 3)) * [0.08, 0.2, 0.3]
    return {"nll": np.full(rows, 0.5, np.float32), "probability": probability.astype(np.float32), "label": truth}


@pytest.mark.parametrize("how", [None, "global", "per_label", 0.4])
def test_thresholds_are_fitted_as_the_setting_says(how):
    outcome = an_outcome()
    task = MultiLabel().fitted(outcome, LABELS, Train(threshold=how))
    scores = task.score(outcome, LABELS)
    assert list(scores["thresholds"]) == LABELS
    thresholds = np.array(list(scores["thresholds"].values()))
    guess = outcome["probability"].astype(np.float64) >= thresholds
    for average in ("micro", "macro"):
        assert scores[f"{average}_f1"] == pytest.approx(f1_score(outcome["label"], guess, average=average))
    if how == "per_label":
        assert len(set(thresholds)) == 3
        one = MultiLabel().fitted(outcome, LABELS, Train()).score(outcome, LABELS)
        assert scores["macro_f1"] > one["macro_f1"]
    else:
        assert len(set(thresholds)) == 1
    if how == 0.4:
        assert thresholds[0] == 0.4


def test_scores_name_what_may_be_monitored():
    from pipeline.metrics.scores import flatten

    scores = MultiLabel().score(an_outcome(), LABELS)
    found = {name for name in flatten(scores) if not name.startswith("thresholds.")}
    assert found == set(MultiLabel().monitors(LABELS))
    assert scores["thresholds"] == dict.fromkeys(LABELS, 0.5)


def test_other_rows_are_decided_by_the_thresholds_of_validation():
    task = MultiLabel().fitted(an_outcome(), LABELS, Train())
    other = an_outcome(20)
    other["label"] = ~other["label"]
    assert task.score(other, LABELS)["thresholds"] == task.score(an_outcome(), LABELS)["thresholds"]


def test_rows_name_labels_and_predictions():
    outcome = {
        "nll": np.array([0.1, 0.2], np.float32),
        "probability": np.array([[0.9, 0.6, 0.1], [0.2, 0.1, 0.0]], np.float32),
        "label": np.array([[True, False, False], [False, False, True]]),
        "tokens": np.array([3, 4]),
    }
    rows = list(MultiLabel().rows(outcome, LABELS))
    assert rows[0] == {
        "id": 0,
        "gold": ["odd"],
        "prediction": ["odd", "funny"],
        "scores": pytest.approx([0.9, 0.6, 0.1]),
        "nll": pytest.approx(0.1),
        "tokens": 3,
    }
    assert (rows[1]["gold"], rows[1]["prediction"]) == (["sad"], [])
    assert json.loads(json.dumps(rows)) == rows


def test_a_model_that_finds_no_label_causes_concern():
    outcome = an_outcome()
    assert MultiLabel(thresholds=[1.0] * 3).concern(MultiLabel(thresholds=[1.0] * 3).score(outcome, LABELS)) == (
        f"the model finds none of the {outcome['label'].sum()} labels"
    )
    assert MultiLabel().concern(MultiLabel().score(outcome, LABELS)) is None


def test_answers_list_the_likeliest_label_first_and_all_probabilities():
    task = MultiLabel(thresholds=[0.2, 0.2, 0.9])
    first, second = task.answers(torch.tensor([[0.0, 2.0, 2.0], [-5.0, -5.0, -5.0]]), LABELS)
    assert first["labels"] == ["funny", "odd"]
    assert first["scores"]["sad"] == pytest.approx(1 / (1 + np.exp(-2.0)))
    assert second["labels"] == []


@pytest.mark.parametrize("thresholds", [[0.5], "half", [0.1, 0.2, None], [0.1, 0.2, np.nan], [0.1, 0.2, 1.5]])
def test_thresholds_that_do_not_fit_the_labels_are_refused(thresholds):
    config = SimpleNamespace(problem_type="multi_label_classification", num_labels=3, thresholds=thresholds)
    wanted = r"^model: thresholds in config\.json must be 3 numbers from 0 to 1, one for each label$"
    with pytest.raises(UserError, match=wanted):
        Sentiment().restored(config)


def test_a_model_of_others_decides_at_one_half():
    config = SimpleNamespace(problem_type="multi_label_classification", num_labels=3)
    task = Sentiment().restored(config)
    assert isinstance(task, MultiLabel)
    assert task.score(an_outcome(), LABELS)["thresholds"] == dict.fromkeys(LABELS, 0.5)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run on texts that are funny if they are positive, and odd if their number is; some have no label."""
    folder = tmp_path_factory.mktemp("labels")
    rows = [
        {"text": f"{text} {'odd' * (number % 2)}", "label": ["funny"] * (text in POSITIVE) + ["odd"] * (number % 2)}
        for number in range(40)
        for text in POSITIVE + NEGATIVE
    ]
    for number, row in enumerate(rows):
        row["text"] += f" {number}"
    (folder / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    recipe = Recipe(
        name="labels",
        task="sentiment",
        data=Data(str(folder / "data.jsonl")),
        model=Recurrent(hidden_size=8, embedding_size=8, dropout=0.0, embedding_dropout=0.0),
        optim=Optim(learning_rate=0.05),
        train=Train(output_dir=str(folder / "run"), epochs=6, batch_size=16, threshold="per_label"),
    )
    return folder, run.train(recipe)


def test_a_run_learns_labels_that_do_not_exclude_one_another(finished):
    folder, metrics = finished
    assert metrics["data"]["problem_type"] == "multi_label_classification"
    assert metrics["data"]["labels"]["train"]["odd"] > 100
    assert metrics["test"]["micro_f1"] > 0.9
    assert metrics["train"]["monitor"] == "micro_f1"
    assert metrics["test"]["thresholds"] == metrics["validation"]["thresholds"]
    first, second = inference.predict(str(folder / "run"), ["a moving , funny film odd 3", "an empty bore 3"])
    assert (sorted(first["labels"]), second["labels"]) == (["funny", "odd"], [])


def test_the_thresholds_are_saved_and_used_on_new_data(finished, capfd):
    folder, metrics = finished
    config = json.loads((folder / "run/model/config.json").read_text())
    assert config["thresholds"] == list(metrics["validation"]["thresholds"].values())
    assert config["problem_type"] == "multi_label_classification"
    scores = inference.evaluate(str(folder / "run"), Data(str(folder / "data.jsonl")))
    assert scores["thresholds"] == metrics["validation"]["thresholds"]
    done = finetune_here(capfd, "evaluate", folder / "run", "--data", folder / "data.jsonl")
    assert json.loads(done.stdout)["micro_f1"] == pytest.approx(scores["micro_f1"])


def test_a_threshold_is_refused_where_each_text_has_one_label(reviews, tmp_path):
    recipe = Recipe(
        "one",
        "sentiment",
        Data(str(reviews)),
        Recurrent(hidden_size=4, embedding_size=4),
        train=Train(output_dir=str(tmp_path / "run"), threshold=0.3),
    )
    with pytest.raises(UserError, match=r"^train\.threshold: each text has exactly one label.*; remove this setting$"):
        run.train(recipe)
    assert not (tmp_path / "run").exists()
    with pytest.raises(UserError, match=r"^train\.threshold: the task ner does not use it"):
        Recipe("x", "ner", Data("x"), Recurrent(), train=Train(threshold=0.3))
