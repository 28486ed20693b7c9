"""Budgets: a run ends with the update that spends what it may, and its learning rate has fallen by then."""

from __future__ import annotations

import dataclasses
import itertools
import json

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file
from torch import nn

from pipeline.config.data import Data
from pipeline.config.models import Pretrained, Recurrent
from pipeline.config.recipe import Recipe
from pipeline.config.training import Optim, Train
from pipeline.data import bucketing
from pipeline.errors import Interrupted, UserError
from pipeline.run import train
from pipeline.training import trainer
from pipeline.training.budget import TimeBudget, most_updates
from pipeline.training.monitoring.log import Log
from pipeline.training.monitoring.progress import Display
from pipeline.training.optim import build_optimizer, build_scheduler, factor


class Lengths:
    """A split of which only the lengths of its rows are known."""

    def __init__(self, count: int):
        self.lengths = np.random.default_rng(0).integers(1, 30, count).astype(np.int32)

    def __len__(self) -> int:
        return len(self.lengths)

    def updates(self, rows_per_update: int, seed: int, epoch: int) -> list[np.ndarray]:
        return bucketing.updates(self.lengths, rows_per_update, seed, epoch)


def test_a_budget_of_tokens_ends_with_the_first_update_that_reaches_it():
    rows, settings = Lengths(50), Train(epochs=3, seed=5)
    whole = int(rows.lengths.sum())
    counts = [int(rows.lengths[update].sum()) for epoch in range(3) for update in rows.updates(8, 5, epoch)]
    after = list(itertools.accumulate(counts))
    for tokens in (1, counts[0], counts[0] + 1, whole - 1, whole, whole + 1, 2 * whole + 7, 3 * whole, 9 * whole):
        brute = next((step for step, done in enumerate(after, 1) if done >= tokens), len(counts))
        assert most_updates(dataclasses.replace(settings, max_tokens=tokens), rows, 8) == brute, tokens


@pytest.mark.parametrize("schedule", ["linear", "cosine", "constant"])
@pytest.mark.parametrize("warmup", [0.0, 0.25, 1.0])
def test_the_rate_over_time_is_that_of_the_schedule_over_many_updates(schedule, warmup):
    settings, optimizer = Optim(schedule=schedule, warmup_ratio=warmup, learning_rate=1.0), nn.Linear(1, 1)
    scheduler = build_scheduler(build_optimizer(optimizer, settings), settings, 1000)
    for step in range(0, 1000, 50):
        assert factor(settings, step / 1000) == pytest.approx(scheduler.lr_lambdas[0](step), abs=1e-9)


def a_recipe(reviews, folder, **changes) -> Recipe:
    settings = {"output_dir": str(folder), "epochs": 6, "batch_size": 16, "log_every": 1, "patience": None, **changes}
    model = Recurrent(hidden_size=8, embedding_size=8)
    return Recipe("x", "sentiment", Data(str(reviews)), model, Optim(0.01), Train(**settings))


def history(folder, kind: str) -> list[dict]:
    records = map(json.loads, (folder / "history.jsonl").read_text().splitlines())
    return [record for record in records if record["kind"] == kind]


def assert_same_weights(one, other):
    a, b = (load_file(folder / "model/model.safetensors") for folder in (one, other))
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_a_run_of_so_many_tokens_is_the_run_of_as_many_updates(reviews, tmp_path):
    by_tokens = train(a_recipe(reviews, tmp_path / "tokens", max_tokens=1000))["train"]
    updates = by_tokens["updates"]
    train(a_recipe(reviews, tmp_path / "updates", max_steps=updates))
    assert_same_weights(tmp_path / "tokens", tmp_path / "updates")
    one_less = train(a_recipe(reviews, tmp_path / "less", max_steps=updates - 1))["train"]
    assert one_less["tokens"] < 1000 <= by_tokens["tokens"]
    assert history(tmp_path / "tokens", "validation")[-1]["step"] == updates
    assert history(tmp_path / "tokens", "train")[-1]["learning_rate"] == pytest.approx(0.01 / (0.9 * updates), rel=0.1)


@pytest.fixture
def second_a_step(monkeypatch):
    """Each update takes a second."""
    log = []
    monkeypatch.setattr(Log, "training_seconds", property(lambda self: float(self.progress.step + bool(log))))
    advance, update = trainer._advance, trainer.update
    monkeypatch.setattr(trainer, "update", lambda *given: (log.append(1), update(*given))[1])
    monkeypatch.setattr(trainer, "_advance", lambda run: (log.clear(), advance(run))[1])


def test_a_run_of_ten_seconds_is_that_of_ten_updates_of_a_second(reviews, tmp_path, second_a_step):
    metrics = train(a_recipe(reviews, tmp_path / "seconds", max_seconds=10))["train"]
    assert metrics["updates"] == 10
    train(a_recipe(reviews, tmp_path / "updates", max_steps=10))
    assert_same_weights(tmp_path / "seconds", tmp_path / "updates")
    assert history(tmp_path / "seconds", "validation")[-1]["step"] == 10


def test_epochs_that_end_before_the_time_is_up_end_the_rate_as_well(reviews, tmp_path, second_a_step):
    train(a_recipe(reviews, tmp_path / "seconds", epochs=5, max_seconds=1000))
    train(a_recipe(reviews, tmp_path / "updates", epochs=5))
    assert_same_weights(tmp_path / "seconds", tmp_path / "updates")


def test_a_resumed_run_has_only_the_time_that_is_left(reviews, tmp_path, monkeypatch):
    recipe = a_recipe(reviews, tmp_path / "run", max_seconds=0.6, epochs=1000, eval_every=10**6)
    stopped = []

    def stop_early(run, state, log, stop):
        if run.time_budget.used > 0.2 and not stopped:
            stopped.append(run.progress.step)
            return True
        return score(run, state, log, stop)

    score = trainer._score
    monkeypatch.setattr(trainer, "_score", stop_early)
    with pytest.raises(Interrupted):
        train(recipe)
    before = sum(1 for _ in history(tmp_path / "run", "train"))
    metrics = train(recipe)["train"]
    records = history(tmp_path / "run", "train")
    assert before == stopped[0] < metrics["updates"] == records[-1]["step"]
    assert metrics["training_seconds"] >= 0.6
    assert records[-2]["step"] == metrics["updates"] - 1
    rates = [record["learning_rate"] for record in records]
    assert rates[stopped[0] - 1] > rates[stopped[0]] > rates[-1]
    assert history(tmp_path / "run", "validation")[-1]["step"] == metrics["updates"]


def test_the_updates_that_fit_are_expected_from_those_that_are_done():
    budget = TimeBudget(60.0, Accelerator(cpu=True), used=15.0)
    assert budget.expected_updates(20, 1000) == 80
    assert budget.expected_updates(20, 50) == 50
    assert TimeBudget(None, Accelerator(cpu=True), used=15.0).expected_updates(20, 1000) == 1000


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_steps": 1, "max_tokens": 9}, r"train\.max_tokens: train\.max_steps is a budget, too"),
        ({"max_tokens": 9, "max_seconds": 1.0}, r"train\.max_seconds: train\.max_tokens is a budget, too"),
        ({"max_seconds": 1, "deterministic": True}, r"train\.max_seconds: the number of updates is not deterministic"),
        ({"max_seconds": 0.0}, r"train\.max_seconds: 0\.0 is out of range; it must be > 0"),
        ({"max_tokens": 0}, r"train\.max_tokens: 0 is out of range; it must be >= 1"),
        ({"max_tokens": 2.5}, r"train\.max_tokens: 2\.5 is not an integer"),
    ],
)
def test_budgets_that_contradict_or_are_out_of_range_are_refused(settings, message):
    with pytest.raises(UserError, match=message):
        Train(**settings)


def test_layers_cannot_begin_at_a_share_of_an_unknown_number_of_updates(reviews, tmp_path):
    recipe = dataclasses.replace(a_recipe(reviews, tmp_path, max_seconds=5), model=Pretrained("org/bert"))
    with pytest.raises(UserError, match=r"optim\.gradual_unfreezing: .* train\.max_seconds leaves open"):
        dataclasses.replace(recipe, optim=Optim(gradual_unfreezing=0.5))


def test_the_display_counts_to_the_updates_that_are_expected(capsys):
    display = Display(total=1000, done=0, updates_per_epoch=10, shown=True)
    display.last_line -= 60
    display.expect(40)
    display.show(10, "loss 0.5")
    assert capsys.readouterr().out.startswith("epoch 1/4  step 10/40  loss 0.5")
