"""What a run worries about: said once, when it has been so for a while."""

from __future__ import annotations

import dataclasses
import random

import pytest
from test_trainer import a_recipe

from pipeline.config.models import Scratch
from pipeline.config.training import Optim
from pipeline.run import train
from pipeline.tasks.ner import Ner
from pipeline.tasks.sentiment import Sentiment
from pipeline.training.monitoring.health import LONG, Watch


def said(losses: list[float], waiting: float = 0.0, seconds: float = 1.0, first: float | None = None) -> list[str]:
    watch = Watch(first)
    records = [{"loss": loss, "waiting": waiting} for loss in losses]
    return [line for step, record in enumerate(records) for line in watch.concerns(step, record, seconds)]


def test_a_loss_far_above_its_start_for_long_is_told_once():
    (line,) = said([0.7, 0.6, *[2.0] * 20])
    assert line.startswith(
        "training: the loss diverges: 2, and more than 2 times its start (0.7) since update 2; lower"
    )
    assert said([3.0] * LONG, first=0.7)  # after a resume, the start is the first process's


@pytest.mark.parametrize("losses", [[0.7, *[1.3] * 20], [0.7, *[9.0, 9.0, 9.0, 9.0, 0.5] * 5], [5.0, 4.0, 3.0]])
def test_a_loss_that_falls_or_returns_is_no_worry(losses):
    assert said(losses) == []


def test_a_loader_that_is_waited_for_is_told_once():
    (line,) = said([0.7] * 30, waiting=0.8, seconds=5.0)
    assert line.startswith("training: 80% of the time goes into waiting for batches; put the cache")
    assert said([0.7] * 30, waiting=0.4, seconds=5.0) == []
    assert said([0.7] * 30, waiting=0.8, seconds=0.01) == []  # a run of seconds


def test_a_run_that_diverges_says_so(reviews, tmp_path, capsys):
    """A learning rate a thousand times too high for attention, yet no loss that is not a number."""
    recipe = a_recipe(reviews, tmp_path, log_every=1, patience=None, optim=Optim(learning_rate=3.0, warmup_ratio=0.0))
    train(dataclasses.replace(recipe, model=Scratch(hidden_size=8, layers=1, heads=1)))
    assert capsys.readouterr().out.count("training: the loss diverges") == 1


def test_a_run_that_predicts_one_class_only_says_so_once(reviews, tmp_path, capsys):
    generator = random.Random(0)
    file = tmp_path / "noise.csv"
    rows = [f"word{generator.randrange(10**6)},{'ab'[number % 10 == 0]}" for number in range(200)]
    file.write_text("text,label\n" + "\n".join(rows) + "\n")
    train(a_recipe(file, tmp_path, epochs=3, patience=None))
    line = "validation: every text is predicted as a; other labels are never predicted\n"
    assert capsys.readouterr().out.count(line) == 1


def test_tasks_tell_a_class_that_swallows_the_others():
    names = {"a": {}, "b": {}}
    concern = Sentiment().concern
    assert concern({"confusion": [[3, 0], [2, 0]], "per_class": names}) == (
        "every text is predicted as a; other labels are never predicted"
    )
    assert concern({"confusion": [[3, 1], [2, 0]], "per_class": names}) is None
    assert concern({"confusion": [[3, 0], [0, 0]], "per_class": names}) is None  # the data has no other
    concern = Ner().concern
    assert concern({"recall": 0.0, "per_type": {"PER": {"support": 1200}}}) == "none of the 1,200 entities is found"
    assert concern({"recall": 0.1, "per_type": {"PER": {"support": 2}}}) is None
    assert concern({"recall": 0.0, "per_type": {}}) is None
