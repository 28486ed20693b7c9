"""Trackers: their records are read back; one that is missing or fails is reported in one line."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
from pathlib import Path

import pytest
from stopping import stopped_after
from test_trainer import a_recipe, history

from pipeline.errors import UserError
from pipeline.run import train
from pipeline.training.monitoring import trackers

FIGURES = {"loss", "learning_rate", "grad_norm", "tokens_per_second", "memory_bytes", "padding", "waiting"}
needs = {
    name: pytest.mark.skipif(importlib.util.find_spec(name) is None, reason=f"needs the extra `{name}`")
    for name in ("tensorboard", "mlflow")
}


def test_each_record_has_loss_speed_memory_padding_and_waiting(reviews, tmp_path):
    recipe = a_recipe(reviews, tmp_path, max_steps=4, batch_size=7)
    train(recipe)
    records = [record for record in history(tmp_path / "run") if record["kind"] == "train"]
    for record in records:
        assert record.keys() >= FIGURES
        assert 0.0 <= record["padding"] < 1.0
        assert 0.0 <= record["waiting"] <= 1.0
        assert record["memory_bytes"] > 2**20


@needs["tensorboard"]
def test_tensorboard_has_every_record_of_a_run_that_was_stopped_and_resumed(reviews, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    recipe = a_recipe(reviews, tmp_path, max_steps=8, log_every=1, trackers=("tensorboard",))
    with stopped_after(5):
        train(recipe)
    train(recipe)
    stored = EventAccumulator(str(tmp_path / "run/dashboards/x")).Reload()
    for kind in ("train", "validation"):
        records = [record for record in history(tmp_path / "run") if record["kind"] == kind]
        events = stored.Scalars(f"{kind}/loss")
        assert [event.step for event in events] == [record["step"] for record in records]
        assert [event.value for event in events] == pytest.approx([record["loss"] for record in records])
    assert {f"train/{name}" for name in FIGURES} <= set(stored.Tags()["scalars"])


@needs["mlflow"]
def test_mlflow_has_a_single_run_after_a_stop_and_a_resume(reviews, tmp_path, monkeypatch):
    import mlflow

    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    mlflow.set_tracking_uri(f"file:{tmp_path}/store")
    recipe = a_recipe(reviews, tmp_path, max_steps=8, log_every=1, trackers=("mlflow",))
    with stopped_after(5):
        train(recipe)
    train(recipe)
    (run,) = mlflow.search_runs(search_all_experiments=True, output_format="list")
    assert run.data.params["optim.learning_rate"] == "0.01"
    assert run.info.run_name == "run"
    stored = mlflow.MlflowClient().get_metric_history(run.info.run_id, "train/loss")
    records = [record for record in history(tmp_path / "run") if record["kind"] == "train"]
    assert [(entry.step, entry.value) for entry in stored] == [(record["step"], record["loss"]) for record in records]


def test_a_tracker_that_is_not_installed_is_refused_before_data_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    recipe = a_recipe(tmp_path / "missing.csv", tmp_path, trackers=("wandb",))
    with pytest.raises(UserError, match=r"train\.trackers: wandb is not installed; pip install '.*\[wandb\]'"):
        train(recipe)
    assert not (tmp_path / "run").exists()


class Failing:
    """A tracker whose service is down from the second record on."""

    name = "wandb"

    def __init__(self):
        self.calls = 0

    def log(self, values, step):
        self.calls += 1
        if self.calls > 1:
            raise ConnectionError("no route to host")

    def finish(self):
        raise AssertionError("it was left out")


def test_a_tracker_that_fails_during_training_is_dropped_and_training_continues(reviews, tmp_path, monkeypatch, capsys):
    failing = Failing()
    monkeypatch.setattr(trackers, "check", lambda names: None)
    monkeypatch.setattr(trackers, "_open", lambda *_: failing)
    train(a_recipe(reviews, tmp_path, max_steps=6, log_every=1, trackers=("wandb",)))
    assert failing.calls == 2
    assert capsys.readouterr().out.count("training: wandb failed and is no longer used: no route to host\n") == 1
    assert json.loads((tmp_path / "run/metrics.json").read_text())["train"]["updates"] == 6


def test_a_tracker_that_cannot_be_opened_is_refused_in_one_line(reviews, tmp_path, monkeypatch):
    def refuse(*_):
        raise RuntimeError("api key not configured")

    monkeypatch.setattr(trackers, "check", lambda names: None)
    monkeypatch.setattr(trackers, "_open", refuse)
    recipe = a_recipe(reviews, tmp_path, trackers=("wandb",))
    with pytest.raises(UserError, match=r"train\.trackers: wandb cannot be opened: api key not configured; remove it"):
        train(recipe)
    assert not (tmp_path / "run").exists()


def test_a_run_can_be_resumed_with_other_trackers(reviews, tmp_path):
    from pipeline import run_folder

    recipe = a_recipe(reviews, tmp_path)
    other = dataclasses.replace(recipe, train=dataclasses.replace(recipe.train, trackers=("mlflow",)))
    assert run_folder.differences(recipe, other) == []
    assert run_folder.DASHBOARDS == trackers.FOLDER == Path("dashboards").name
