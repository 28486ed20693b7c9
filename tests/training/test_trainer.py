"""A run trains, keeps the best weights, stops when asked, and resumes as if nothing had happened."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from conftest import ROOT
from safetensors.torch import load_file

from pipeline.config.data import Data
from pipeline.config.models import Recurrent, Scratch
from pipeline.config.recipe import Recipe
from pipeline.config.training import Optim, Train
from pipeline.errors import UserError
from pipeline.run import train
from pipeline.training.checkpointing import checkpoint


def a_recipe(reviews, tmp_path, **changes) -> Recipe:
    settings = {"output_dir": str(tmp_path / "run"), "epochs": 2, "batch_size": 16, "log_every": 2}
    model = Recurrent(hidden_size=8, embedding_size=8, bidirectional=True, layers=2)
    return Recipe(
        name="x",
        task="sentiment",
        data=Data(str(reviews)),
        model=changes.pop("model", model),
        optim=changes.pop("optim", Optim(learning_rate=0.01)),
        train=Train(**{**settings, **changes}),
    )


def weights(run) -> dict[str, torch.Tensor]:
    return load_file(run / "model/model.safetensors")


def assert_same_weights(one, other):
    a, b = weights(one), weights(other)
    assert a.keys() == b.keys()
    assert all(torch.equal(a[name], b[name]) for name in a)


def history(run) -> list[dict]:
    return [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]


def test_a_run_leaves_the_files_that_other_programs_rely_on(reviews, tmp_path):
    metrics = train(a_recipe(reviews, tmp_path))
    run = tmp_path / "run"
    assert {file.name for file in run.iterdir()} == {
        "recipe.json",
        "answers.json",
        "metrics.json",
        "history.jsonl",
        "model",
        "predictions",
        "checkpoints",
    }
    assert json.loads((run / "metrics.json").read_text()) == metrics
    assert metrics["test"]["accuracy"] == 1.0  # the two classes share no word
    assert {"seconds", "tokens_per_second", "peak_memory_bytes", "parameters"} <= metrics["train"].keys()
    assert [record["step"] for record in history(run) if record["kind"] == "validation"] == [8, 16]
    assert {"config.json", "model.safetensors", "tokenizer.json", "README.md", "modeling_recurrent.py"} <= {
        file.name for file in (run / "model").iterdir()
    }
    assert "step-00000016" in {folder.name for folder in (run / "checkpoints").iterdir()}


def test_everything_is_on_the_disk_before_a_run_counts_as_finished(reviews, tmp_path, monkeypatch):
    """Once metrics.json has its name, a power cut must not leave a model whose bytes are not on the disk."""
    forced, fsync, replace = set(), os.fsync, Path.replace
    missing = []

    def named(file, target):
        if Path(target).name == "metrics.json":
            run = Path(target).parent
            wanted = [file, run / "recipe.json", run / "answers.json", run / "model", *(run / "model").rglob("*")]
            missing.extend(path for path in wanted if path.stat().st_ino not in forced)
        return replace(file, target)

    monkeypatch.setattr(os, "fsync", lambda handle: (forced.add(os.fstat(handle).st_ino), fsync(handle)))
    monkeypatch.setattr(Path, "replace", named)
    train(a_recipe(reviews, tmp_path, max_steps=1))
    assert forced
    assert missing == []


def test_the_same_recipe_gives_the_same_weights(reviews, tmp_path):
    for name in ("one", "two"):
        train(a_recipe(reviews, tmp_path, output_dir=str(tmp_path / name)))
    assert_same_weights(tmp_path / "one", tmp_path / "two")


def test_another_seed_gives_other_weights(reviews, tmp_path):
    for seed in (1, 2):
        train(a_recipe(reviews, tmp_path, output_dir=str(tmp_path / str(seed)), seed=seed))
    assert not torch.equal(weights(tmp_path / "1")["classifier.weight"], weights(tmp_path / "2")["classifier.weight"])


def test_accumulation_gives_the_same_run_as_larger_batches(reviews, tmp_path):
    model = Recurrent(hidden_size=8, dropout=0.0, embedding_dropout=0.0)
    for batch_size, accumulation in ((24, 1), (8, 3), (5, 5)):
        changes = {"batch_size": batch_size, "accumulation": accumulation, "max_steps": 7, "model": model}
        train(a_recipe(reviews, tmp_path, output_dir=str(tmp_path / str(batch_size)), **changes))
    large, small = weights(tmp_path / "24"), weights(tmp_path / "8")
    for name in large:
        torch.testing.assert_close(small[name], large[name], atol=1e-5, rtol=1e-4)


def test_the_best_weights_are_kept_and_patience_ends_the_run(reviews, tmp_path):
    recipe = a_recipe(reviews, tmp_path, epochs=50, patience=2, eval_every=3)
    metrics = train(recipe)
    scores = [
        (record["accuracy"], record["step"]) for record in history(tmp_path / "run") if record["kind"] == "validation"
    ]
    best = max(scores, key=lambda pair: (pair[0], -pair[1]))
    assert metrics["train"]["best_update"] == best[1]
    assert metrics["train"]["updates"] == best[1] + 6
    assert metrics["validation"]["accuracy"] == best[0]


def test_a_loss_that_is_not_a_number_stops_the_run_with_update_rows_and_remedy(reviews, tmp_path):
    recipe = a_recipe(reviews, tmp_path, optim=Optim(learning_rate=1e30, warmup_ratio=0.0, max_grad_norm=None))
    recipe = dataclasses.replace(recipe, model=Scratch(hidden_size=8, layers=1, heads=1))
    with pytest.raises(
        UserError, match=r"the loss is (nan|inf) at update \d+ \(rows .* of train\); lower optim.learning"
    ):
        train(recipe)
    assert not (tmp_path / "run/metrics.json").exists()


def test_a_finished_run_is_not_overwritten_unless_asked(reviews, tmp_path):
    recipe = a_recipe(reviews, tmp_path, max_steps=2)
    train(recipe)
    with pytest.raises(UserError, match=r"holds a finished run; name another folder or add --train\.overwrite"):
        train(recipe)
    train(dataclasses.replace(recipe, train=dataclasses.replace(recipe.train, overwrite=True)))


def test_a_folder_that_is_not_a_run_is_left_alone(reviews, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run/thesis.txt").write_text("precious")
    recipe = a_recipe(reviews, tmp_path, overwrite=True)
    with pytest.raises(UserError, match=r"holds something that is not a run"):
        train(recipe)
    assert (tmp_path / "run/thesis.txt").read_text() == "precious"


def test_a_refused_run_makes_no_folder(tmp_path):
    (tmp_path / "bad.csv").write_text("text,label\na,1\nb,2,3\n")
    with pytest.raises(UserError, match=r"bad\.csv:3: 3 fields"):
        train(a_recipe(tmp_path / "bad.csv", tmp_path))
    assert not (tmp_path / "run").exists()


def start(recipe: Recipe, tmp_path) -> subprocess.Popen:
    (tmp_path / "recipe.json").write_text(recipe.to_json())
    return subprocess.Popen(
        [sys.executable, "-c", "from pipeline.cli.main import entry; entry()", "run", str(tmp_path / "recipe.json")],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_step(run, step: int) -> None:
    """Until the run has logged `step`."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if (run / "history.jsonl").is_file() and f'"step": {step}' in (run / "history.jsonl").read_text():
            return
        time.sleep(0.01)
    raise AssertionError("the run did not get that far")


# SIGINT goes the way of SIGTERM.
@pytest.mark.parametrize(
    "number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow), signal.SIGKILL]
)
def test_a_run_that_is_stopped_and_resumed_ends_with_the_same_weights(reviews, tmp_path, number):
    """A real process and a real signal; on SIGKILL it falls back to the last checkpoint."""
    changes = {"epochs": 12, "save_every": 7, "log_every": 1, "patience": None}
    undisturbed = a_recipe(reviews, tmp_path, output_dir=str(tmp_path / "undisturbed"), **changes)
    train(undisturbed)

    recipe = a_recipe(reviews, tmp_path, **changes)
    process = start(recipe, tmp_path)
    wait_for_step(tmp_path / "run", 20)
    process.send_signal(number)
    _, printed = process.communicate(timeout=60)
    assert process.returncode == (-signal.SIGKILL if number == signal.SIGKILL else 75), printed
    assert not (tmp_path / "run/metrics.json").exists()
    stopped_at = checkpoint.newest(tmp_path / "run")
    assert stopped_at is not None
    assert int(stopped_at.name.removeprefix("step-")) < 96

    process = start(recipe, tmp_path)
    _, printed = process.communicate(timeout=60)
    assert process.returncode == 0, printed
    assert_same_weights(tmp_path / "run", tmp_path / "undisturbed")
    steps = [record["step"] for record in history(tmp_path / "run") if record["kind"] == "train"]
    assert steps == list(range(1, 97))


def test_an_unfinished_run_with_other_settings_is_refused(reviews, tmp_path):
    recipe = a_recipe(reviews, tmp_path)
    (tmp_path / "run").mkdir()
    (tmp_path / "run/recipe.json").write_text(recipe.to_json())
    changed = dataclasses.replace(recipe, optim=Optim(learning_rate=0.5))
    with pytest.raises(UserError, match=r"unfinished run with other settings \(optim.learning_rate 0.5, was 0.01\)"):
        train(changed)
