"""Warnings during training: given once, when something has been wrong for a while."""

from __future__ import annotations

import dataclasses
import random
import re

import pytest
from test_trainer import a_recipe

from pipeline.config.models import Scratch
from pipeline.config.training import Optim
from pipeline.run import train
from pipeline.tasks.ner import Ner
from pipeline.tasks.sentiment import Sentiment
from pipeline.training.monitoring.health import LONG, HealthMonitor
from pipeline.training.step import COLLATED_AHEAD


def said(losses: list[float], first: float | None = None) -> list[str]:
    monitor, seconds = HealthMonitor(first), 1.0
    records = [{"loss": loss, "waiting": 0.0} for loss in losses]
    return [line for step, record in enumerate(records) for line in monitor.warnings(step, record, seconds)]


def test_a_loss_that_stays_far_above_its_start_is_reported_once():
    (line,) = said([0.7, 0.6, *[2.0] * 20])
    assert line.startswith(
        "training: the loss diverges: 2; it has been above 2 times its initial value (0.7) since update 2; lower"
    )
    assert said([3.0] * LONG, first=0.7)  # after a resume, the start is the first process's


@pytest.mark.parametrize("losses", [[0.7, *[1.3] * 20], [0.7, *[9.0, 9.0, 9.0, 9.0, 0.5] * 5], [5.0, 4.0, 3.0]])
def test_a_loss_that_falls_or_recovers_is_not_reported(losses):
    assert said(losses) == []


def said_of_waiting(share: float, seconds: float, log_every: int) -> list[str]:
    """Of 500 updates that take `seconds` each, of which this share is waiting, for all updates collated in one go."""
    monitor, lines = HealthMonitor(), []
    for end in range(log_every, 500, log_every):
        begins = sum(number % COLLATED_AHEAD == 0 for number in range(end - log_every, end))
        waited = begins * COLLATED_AHEAD * share * seconds
        spent = waited + log_every * (1.0 - share) * seconds
        lines += monitor.warnings(end, {"loss": 0.7, "waiting": waited / spent}, spent)
    return lines


@pytest.mark.parametrize("log_every", [1, 10, 64])
def test_waiting_for_batches_is_reported_once_however_many_are_collated_in_one_go(log_every):
    (line,) = said_of_waiting(0.8, 1.0, log_every)
    assert re.match("training: (7[5-9]|8[0-5])% of the time is spent waiting for batches; put the cache", line)
    assert said_of_waiting(0.4, 1.0, log_every) == []
    assert said_of_waiting(0.8, 0.01, log_every) == []  # a run of seconds


def test_a_run_that_diverges_reports_it(reviews, tmp_path, capsys):
    """A learning rate a thousand times too high for attention, yet the loss stays finite."""
    recipe = a_recipe(reviews, tmp_path, log_every=1, patience=None, optim=Optim(learning_rate=3.0, warmup_ratio=0.0))
    train(dataclasses.replace(recipe, model=Scratch(hidden_size=8, layers=1, heads=1)))
    assert capsys.readouterr().out.count("training: the loss diverges") == 1


def test_a_run_that_predicts_a_single_class_reports_it_once(reviews, tmp_path, capsys):
    generator = random.Random(0)
    file = tmp_path / "noise.csv"
    rows = [f"word{generator.randrange(10**6)},{'ab'[number % 10 == 0]}" for number in range(200)]
    file.write_text("text,label\n" + "\n".join(rows) + "\n")
    train(a_recipe(file, tmp_path, epochs=3, patience=None))
    line = "validation: every text is predicted as a; other labels are never predicted\n"
    assert capsys.readouterr().out.count(line) == 1


def test_tasks_recognise_predictions_of_a_single_class():
    names = {"a": {}, "b": {}}
    concern = Sentiment().concern
    assert concern({"confusion": [[3, 0], [2, 0]], "per_class": names}) == (
        "every text is predicted as a; other labels are never predicted"
    )
    assert concern({"confusion": [[3, 1], [2, 0]], "per_class": names}) is None
    assert concern({"confusion": [[3, 0], [0, 0]], "per_class": names}) is None  # the data has no other label
    concern = Ner().concern
    assert (
        concern({"recall": 0.0, "per_type": {"PER": {"support": 1200}}}) == "the model finds none of the 1,200 entities"
    )
    assert concern({"recall": 0.1, "per_type": {"PER": {"support": 2}}}) is None
    assert concern({"recall": 0.0, "per_type": {}}) is None
