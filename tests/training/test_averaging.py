"""Averages of the weights: what they are of, when they begin, and that the run scores, keeps and resumes them."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from stopping import stopped_after
from torch import nn

from pipeline.config.data import Data
from pipeline.config.loading import check_names
from pipeline.config.models import Recurrent
from pipeline.config.recipe import Recipe
from pipeline.config.training import Optim, Train
from pipeline.errors import Interrupted, UserError
from pipeline.run import train
from pipeline.training.averaging import WeightAverage
from pipeline.training.checkpointing import checkpoint, serialization

KINDS = {
    "ema": Optim(learning_rate=0.05, average="ema", average_decay=0.8, schedule="reduce-on-plateau"),
    "swa": Optim(learning_rate=0.05, average="swa", average_start=0.5),
    "nt-asgd": Optim(learning_rate=0.3, average="nt-asgd", average_interval=1),
}
# Frequent enough for a score that is worse than one before.
EVALUATIONS = {"nt-asgd": {"eval_every": 2}}


def walk(average: WeightAverage, parameter: nn.Parameter, shares: list[float]) -> list[np.ndarray]:
    """Change the parameter as an optimiser would, and return its values after each update."""
    values = []
    for share in shares:
        with torch.no_grad():
            parameter.add_(torch.randn_like(parameter))
        values.append(parameter.detach().double().numpy().copy())
        average.add(share)
    return values


def averaged(average: WeightAverage, parameter: nn.Parameter) -> np.ndarray:
    with average.applied():
        return parameter.detach().double().numpy().copy()


def test_ema_forgets_the_first_weights_soon_and_then_by_its_decay():
    model = nn.Linear(3, 2)
    average = WeightAverage.of(model, Optim(average="ema", average_decay=0.8))
    values = walk(average, model.weight, [0.0] * 60)
    expected = values[0]
    for number, value in enumerate(values[1:], start=1):
        decay = min(0.8, (1 + number) / (10 + number))
        expected = decay * expected + (1 - decay) * value
    np.testing.assert_allclose(averaged(average, model.weight), expected, rtol=1e-5, atol=1e-6)


def test_swa_is_the_mean_of_all_weights_from_its_start_on():
    model = nn.Linear(3, 2)
    average = WeightAverage.of(model, Optim(average="swa", average_start=0.5))
    values = walk(average, model.weight, [step / 40 for step in range(1, 41)])
    assert average.count == 21
    np.testing.assert_allclose(averaged(average, model.weight), np.mean(values[19:], axis=0), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("scores", "begins"),
    [
        ([1, 2, 3, 4, 5], None),
        ([1, 5, 4, 3, 2, 1], 4),  # worse than the best of all but the last two: 5 is that from the fifth on
        ([5, 4, 3, 2], 3),
        ([5, 5, 5, 5, 4], 4),
        ([1, float("nan"), 2, 3], None),
        ([float("nan"), 3, 2, 1, 0], 4),
    ],
)
def test_nt_asgd_begins_when_a_score_is_worse_than_the_best_of_all_but_the_last_ones(scores, begins):
    """Merity et al. 2017, algorithm 1, with n = 2; lower perplexities are higher scores."""
    average = WeightAverage.of(nn.Linear(2, 2), Optim(average="nt-asgd", average_interval=2))
    found = [index for index, score in enumerate(scores) if average.observe(score)]
    logs: list[float] = []
    expected = []
    for index, score in enumerate(scores):
        if not expected and len(logs) > 2 and score < max(logs[: len(logs) - 2]):
            expected.append(index)
        logs.append(-math.inf if math.isnan(score) else score)  # no score is a better one
    assert found == expected == ([] if begins is None else [begins])
    assert average.add(1.0) == (begins is not None)


def test_the_model_has_its_own_weights_again_after_an_error():
    model = nn.Linear(3, 2)
    average = WeightAverage.of(model, Optim(average="ema"))
    walk(average, model.weight, [0.0] * 3)
    before = model.weight.detach().clone()
    with contextlib.suppress(Interrupted), average.applied():
        assert not torch.equal(model.weight, before)
        raise Interrupted
    assert torch.equal(model.weight, before)


def test_frozen_parameters_are_not_averaged_and_nothing_is_unless_asked_for():
    model = nn.Linear(3, 2)
    model.bias.requires_grad_(False)
    average = WeightAverage.of(model, Optim(average="ema"))
    average.add(0.0)
    assert list(average.state_dict()["weights"]) == ["weight"]
    assert not WeightAverage.of(model, Optim()).is_kept


def a_recipe(reviews, folder, optim, **changes) -> Recipe:
    settings = {"epochs": 5, "batch_size": 16, "log_every": 1, "patience": None, "keep_checkpoints": 1000}
    return Recipe(
        name="x",
        task="sentiment",
        data=Data(str(reviews)),
        model=Recurrent(hidden_size=8, embedding_size=8),
        optim=optim,
        train=Train(output_dir=str(folder), **{**settings, **changes}),
    )


def history(folder, kind: str) -> list[dict]:
    records = map(json.loads, (folder / "history.jsonl").read_text().splitlines())
    return [record for record in records if record["kind"] == kind]


@pytest.mark.parametrize("kind", ["swa", "nt-asgd"])
def test_the_average_of_the_best_checkpoint_is_the_model_and_changes_no_update(kind, reviews, tmp_path):
    every = EVALUATIONS.get(kind, {})
    metrics = train(a_recipe(reviews, tmp_path / "run", KINDS[kind], **every))
    plain = dataclasses.replace(KINDS[kind], average=None, **DEFAULTS)
    train(a_recipe(reviews, tmp_path / "plain", plain, **every))
    run, steps = tmp_path / "run", metrics["train"]["updates"]
    own, other = (
        load_file(checkpoint.folder_of(tmp_path / name, steps) / checkpoint.WEIGHTS) for name in ("run", "plain")
    )
    assert all(torch.equal(own[name], other[name]) for name in own)
    scored = min(history(run, "validation"), key=lambda record: (-record["accuracy"], record["step"]))
    best = checkpoint.folder_of(run, scored["step"])
    state = serialization.read(best / checkpoint.AVERAGE)
    (record,) = history(run, "average")
    assert state["count"] == max(scored["step"] - record["begins"] + 1, 0)
    expected = load_file(best / checkpoint.WEIGHTS) | state["weights"]
    saved = load_file(run / "model/model.safetensors")
    assert all(torch.equal(saved[name], expected[name]) for name in saved)
    assert metrics["validation"]["loss"] == pytest.approx(scored["loss"])


DEFAULTS = {name: getattr(Optim, name) for name in ("average_decay", "average_start", "average_interval")}


@pytest.mark.parametrize("kind", ["ema", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("swa", "nt-asgd"))])
def test_a_run_that_is_stopped_goes_on_with_its_average_and_its_learning_rate(kind, reviews, tmp_path):
    every = EVALUATIONS.get(kind, {})
    train(a_recipe(reviews, tmp_path / "whole", KINDS[kind], **every))
    recipe = a_recipe(reviews, tmp_path / "stopped", KINDS[kind], **every)
    for step in (21, 38):
        with stopped_after(step):
            train(recipe)
    train(recipe)
    for name in (checkpoint.WEIGHTS, checkpoint.AVERAGE):
        files = [checkpoint.newest(tmp_path / run) / name for run in ("whole", "stopped")]
        whole, stopped = (load_file(file) for file in files)
        assert whole
        assert all(torch.equal(whole[tensor], stopped[tensor]) for tensor in whole)
    folders = [checkpoint.newest(tmp_path / run) for run in ("whole", "stopped")]
    whole, stopped = (serialization.read(folder / checkpoint.OPTIMIZER)["scheduler"] for folder in folders)
    assert whole == stopped
    assert whole.get("reductions", 0) > 0 or kind != "ema"
    whole, stopped = (load_file(tmp_path / run / "model/model.safetensors") for run in ("whole", "stopped"))
    assert all(torch.equal(whole[name], stopped[name]) for name in whole)


def test_early_stopping_counts_anew_when_the_average_begins(reviews, tmp_path):
    """The score never changes, so the first evaluation is the best one. The average begins with update 10."""
    optim = Optim(learning_rate=1e-9, average="swa", average_start=0.5)
    metrics = train(a_recipe(reviews, tmp_path / "run", optim, max_steps=20, eval_every=2, patience=5, epochs=100))
    assert metrics["train"]["updates"] == 10 + 4 * 2


def test_settings_that_nothing_would_use_are_refused():
    with pytest.raises(UserError, match=r"optim\.average_decay: only optim\.average ema uses it"):
        Optim(average="swa", average_decay=0.9)
    with pytest.raises(UserError, match=r"train\.patience: 3 ends the run before nt-asgd begins"):
        a_recipe("x.jsonl", "run", Optim(average="nt-asgd"), patience=3)


def test_deepspeed_is_refused_before_torch_is_needed(reviews, tmp_path, monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")
    with pytest.raises(UserError, match=r"optim\.average: DeepSpeed is not supported"):
        check_names(a_recipe(reviews, tmp_path / "run", KINDS["ema"]))
    check_names(a_recipe(reviews, tmp_path / "run", Optim()))
