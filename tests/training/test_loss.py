"""Weighted classes and smoothed labels follow the formula, with the same gradient however an update is split."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from sklearn.utils.class_weight import compute_class_weight
from test_step import one_update
from torch import nn

from pipeline import inference, run
from pipeline.config.data import Data
from pipeline.config.models import Recurrent
from pipeline.config.recipe import Recipe
from pipeline.config.training import Optim, Train
from pipeline.errors import UserError
from pipeline.training.loss import Objective, build_objective
from pipeline.training.optim import build_scheduler
from pipeline.training.step import TrainState, update, update_batches

NAMES = ["O", "B-PER", "I-PER"]


def objective(weights=None, smoothing=0.0, labels=()) -> Objective:
    settings = Train(class_weights=weights, label_smoothing=smoothing)
    return build_objective(settings, NAMES, lambda: iter(labels))


def by_hand(logits: np.ndarray, labels: np.ndarray, weights: np.ndarray, smoothing: float) -> float:
    """The formula of the docstring, label by label, in float64."""
    total = weight = 0.0
    for row, label in zip(logits.astype(np.float64), labels, strict=True):
        if label == -100:
            continue
        nll = -(row - np.log(np.exp(row).sum()))
        total += (1 - smoothing) * weights[label] * nll[label] + smoothing / len(row) * (weights * nll).sum()
        weight += weights[label]
    return total / weight


@pytest.mark.parametrize("weights", [None, {"O": 0.5, "PER": 3.0}])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_follows_its_formula(weights, smoothing):
    generator = torch.Generator().manual_seed(0)
    logits, labels = torch.randn(4, 5, 3, generator=generator), torch.randint(0, 3, (4, 5), generator=generator)
    labels[1], labels[2, 3:] = -100, -100
    given = np.array([0.5, 3.0, 3.0]) if weights else np.ones(3)
    expected = by_hand(logits.numpy().reshape(-1, 3), labels.numpy().ravel(), given, smoothing)
    outputs = SimpleNamespace(logits=logits, loss=nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten()))
    assert float(objective(weights, smoothing).loss(outputs, {"labels": labels})) == pytest.approx(expected, rel=1e-6)


def test_balanced_weights_are_those_of_scikit_learn():
    labels = np.array([0] * 50 + [1] * 7 + [2] * 3)
    parts = [torch.from_numpy(part) for part in np.split(labels, [20, 33])]
    padded = [torch.cat([part, torch.full((4,), -100)]) for part in parts]
    expected = compute_class_weight("balanced", classes=np.arange(3), y=labels)
    facts = objective("balanced", labels=padded).metadata()
    assert facts["class_weights"] == pytest.approx(dict(zip(NAMES, expected, strict=True)))


def test_a_class_without_labels_keeps_weight_one():
    assert objective("balanced", labels=[torch.tensor([0, 0, 1])]).metadata()["class_weights"]["I-PER"] == 1.0


@pytest.mark.parametrize("batch_size", [1, 3, 8])
def test_weighted_gradients_are_those_of_one_large_batch(batch_size):
    weighted = objective({"O": 0.1, "B-PER": 4.0}, 0.2)
    (loss, result), (large_loss, large) = one_update(batch_size, weighted), one_update(13, weighted)
    assert loss == pytest.approx(large_loss, rel=1e-6)
    torch.testing.assert_close(result, large, rtol=0, atol=1e-6)


def test_a_weight_for_an_unknown_class_is_refused_with_a_suggestion():
    with pytest.raises(UserError, match=r"^train.class_weights: the data has no label 'B-PRE'; did you mean B-PER\?$"):
        objective({"B-PRE": 2.0})


def test_weights_that_are_all_zero_are_refused():
    with pytest.raises(UserError, match="all of them are 0"):
        objective({"O": 0.0, "PER": 0.0})


def test_balanced_weights_raise_the_scores_of_a_rare_class(tmp_path):
    """A model that can only learn the class frequencies predicts the rare class as often as the other."""
    texts = [f"word{number % 7} word{number % 3} {number}" for number in range(200)]
    rows = [{"text": text, "label": "usual" if number % 10 else "rare"} for number, text in enumerate(texts)]
    (tmp_path / "data.jsonl").write_text("\n".join(map(json.dumps, rows)))
    scores = {}
    for weights in (None, "balanced"):
        recipe = Recipe(
            name="x",
            task="sentiment",
            data=Data(str(tmp_path / "data.jsonl")),
            model=Recurrent(hidden_size=4, embedding_size=4),
            optim=Optim(learning_rate=0.05),
            train=Train(epochs=5, batch_size=20, output_dir=str(tmp_path / str(weights)), class_weights=weights),
        )
        metrics = run.train(recipe)
        (answer,) = inference.predict(str(tmp_path / str(weights)), ["word1 word2"])
        scores[weights] = answer["scores"]["rare"]
    assert metrics["train"]["class_weights"] == pytest.approx({"rare": 5.0, "usual": 5 / 9})
    assert scores[None] < 0.3 < scores["balanced"]


def multi_label(weights=None, smoothing=0.0, labels=()) -> Objective:
    settings = Train(class_weights=weights, label_smoothing=smoothing)
    return build_objective(settings, ["a", "b", "c"], lambda: iter(labels), "multi_label_classification")


def several(rows: int = 13) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits and labels (B, C)."""
    generator = torch.Generator().manual_seed(3)
    return torch.randn(rows, 3, generator=generator), (torch.rand(rows, 3, generator=generator) < 0.4).float()


@pytest.mark.parametrize("weights", [None, {"a": 0.5, "c": 3.0}])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_loss_of_several_labels_follows_its_formula(weights, smoothing):
    logits, labels = several()
    given = np.array([0.5, 1.0, 3.0]) if weights else np.ones(3)
    probability = 1 / (1 + np.exp(-logits.double().numpy()))
    target = np.where(labels.numpy() > 0, 1 - smoothing / 2, smoothing / 2)
    expected = -(given * target * np.log(probability) + (1 - target) * np.log(1 - probability)).mean()
    found = multi_label(weights, smoothing).loss(SimpleNamespace(logits=logits.bfloat16().float()), {"labels": labels})
    assert float(found) == pytest.approx(expected, rel=1e-2)
    found = multi_label(weights, smoothing).loss(SimpleNamespace(logits=logits), {"labels": labels})
    assert float(found) == pytest.approx(expected, rel=1e-6)


def test_balanced_weights_of_several_labels_are_the_ratio_of_rows_without_to_rows_with():
    labels = torch.tensor([[1, 0, 1]] * 3 + [[0, 0, 1]] * 9).float()
    weights = multi_label("balanced", labels=labels.split([5, 7])).metadata()["class_weights"]
    assert weights == pytest.approx({"a": 3.0, "b": 1.0, "c": 1.0})  # of what no row or every row has: 1


@pytest.mark.parametrize("scale", [1e-3, 1.0, 250.0])
def test_the_gradient_of_numbers_is_in_units_of_their_spread_and_the_loss_in_their_own(scale):
    settings, labels = Train(), torch.tensor([1.0, 2.0, 6.0]) * scale
    objective = build_objective(settings, ["score"], lambda: iter(()), "regression", scale)
    logits = (torch.tensor([[1.5], [1.0], [2.0]]) * scale).requires_grad_()
    loss = objective.loss(SimpleNamespace(logits=logits), {"labels": labels})
    assert float(loss) == pytest.approx(float((logits[:, 0] - labels).double().square().mean()), rel=1e-5)
    loss.backward()
    expected = 2 * (logits[:, 0] - labels).detach() / 3 / scale**2
    torch.testing.assert_close(logits.grad[:, 0], expected, rtol=1e-5, atol=0.0)


class Scorer(nn.Module):
    def __init__(self, outputs: int):
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(4, outputs)

    def forward(self, inputs, labels):
        return SimpleNamespace(logits=self.linear(inputs))


@pytest.mark.parametrize("kind", ["multi_label_classification", "regression"])
@pytest.mark.parametrize("batch_size", [1, 3, 8])
def test_gradients_of_several_labels_and_of_numbers_are_those_of_one_large_batch(kind, batch_size):
    inputs = torch.randn(13, 4, generator=torch.Generator().manual_seed(5))
    _, labels = several()
    if kind == "regression":
        labels = inputs.sum(dim=1) * 7
        objective = build_objective(Train(), ["score"], lambda: iter(()), kind, 7.0)
    else:
        objective = multi_label({"a": 4.0}, 0.1)
    found = []
    for size in (batch_size, 13):
        model = Scorer(1 if kind == "regression" else 3)
        optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
        state = TrainState(
            model, optimizer, build_scheduler(optimizer, Optim(warmup_ratio=0.0), 10), objective=objective
        )

        def batch_of(rows):
            batch = {"inputs": inputs[torch.from_numpy(rows)], "labels": labels[torch.from_numpy(rows)]}
            return batch, objective.weight(batch, len(rows))

        def collate(batches):
            return [*map(batch_of, batches)]

        (batch,) = update_batches([np.arange(13)], size, collate, Accelerator(cpu=True))
        loss, norm, _ = update(Accelerator(cpu=True), state, batch, None, autocast=False)
        found.append(torch.cat([loss[None], norm[None], *(p.detach().flatten() for p in model.parameters())]))
    torch.testing.assert_close(*found, rtol=1e-5, atol=1e-6)
