"""The largest micro-batch that fits: the search leaves no trace in the run, and a resumed run keeps the size."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import torch
from conftest import ROOT
from test_trainer import a_recipe, assert_same_weights

from pipeline.config.data import Data
from pipeline.config.models import Recurrent
from pipeline.config.recipe import Recipe
from pipeline.config.serialization import read_json
from pipeline.config.training import Train
from pipeline.errors import Interrupted, UserError
from pipeline.run import train
from pipeline.training import batch_size_finder, hardware, trainer

GIB = 2**30


@pytest.fixture
def a_row_takes(monkeypatch):
    """Let a machine have 1 GiB, and a micro-batch take this many bytes a row."""

    def let(bytes_a_row: int) -> list[int]:
        tried = []

        def peak(run, size):
            tried.append(size)
            batch_size_finder._train_copy(run, size)  # draws from the generators and computes gradients, as usual
            return hardware.used_memory(run.accelerator.device) + size * bytes_a_row

        monkeypatch.setattr(hardware, "free_memory", lambda device: GIB)
        monkeypatch.setattr(batch_size_finder, "peak_memory", peak)
        return tried

    return let


def test_the_run_equals_one_with_the_found_sizes_set_by_hand(reviews, tmp_path, a_row_takes):
    tried = a_row_takes(GIB // 5)
    found = train(a_recipe(reviews, tmp_path, batch_size=24, auto_batch=True))
    assert (found["train"]["batch_size"], found["train"]["accumulation"]) == (4, 6)
    assert tried == [1, 2, 3, 4]  # 6 is out of reach by what these took
    by_hand = a_recipe(reviews, tmp_path, batch_size=4, accumulation=6, output_dir=str(tmp_path / "by-hand"))
    assert train(by_hand)["test"] == found["test"]
    assert_same_weights(tmp_path / "run", tmp_path / "by-hand")


@pytest.mark.parametrize(("batch_size", "accumulation"), [(1, 24), (8, 3), (24, 1)])
def test_the_found_size_depends_only_on_the_rows_of_an_update(reviews, tmp_path, a_row_takes, batch_size, accumulation):
    a_row_takes(GIB // 100)
    sizes = {"batch_size": batch_size, "accumulation": accumulation}
    found = train(a_recipe(reviews, tmp_path, max_steps=1, auto_batch=True, **sizes))
    assert (found["train"]["batch_size"], found["train"]["accumulation"]) == (24, 1)


def test_a_resumed_run_keeps_the_size_that_was_found(reviews, tmp_path, a_row_takes, monkeypatch, capsys):
    a_row_takes(GIB // 5)
    whole = a_recipe(reviews, tmp_path, batch_size=24, auto_batch=True, output_dir=str(tmp_path / "whole"))
    train(whole)
    recipe, evaluate = a_recipe(reviews, tmp_path, batch_size=24, auto_batch=True), trainer.Run.evaluate

    def stopped(run, split):
        evaluate(run, split)
        raise Interrupted

    monkeypatch.setattr(trainer.Run, "evaluate", stopped)
    with pytest.raises(Interrupted):
        train(recipe)
    assert read_json(tmp_path / "run/recipe.json").train.batch_size == 4
    monkeypatch.setattr(trainer.Run, "evaluate", evaluate)
    tried = a_row_takes(GIB // 50)  # more has become free
    train(recipe)
    assert tried == []
    assert capsys.readouterr().out.count("training: micro-batches of 4 rows, 6 per update") == 3
    assert_same_weights(tmp_path / "run", tmp_path / "whole")


def test_a_machine_too_small_for_a_single_row_is_refused_in_one_line(reviews, tmp_path, a_row_takes):
    a_row_takes(GIB)
    with pytest.raises(UserError, match=r"train\.auto_batch: not even one row of \d+ tokens fits into 0\.90 "):
        train(a_recipe(reviews, tmp_path, auto_batch=True))
    assert not (tmp_path / "run").exists()


def test_running_out_of_memory_ends_the_search(reviews, tmp_path, monkeypatch):
    learn = batch_size_finder._train_copy

    def run_out(run, size):
        if size > 4:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        learn(run, size)

    monkeypatch.setattr(batch_size_finder, "_train_copy", run_out)
    assert train(a_recipe(reviews, tmp_path, batch_size=16, auto_batch=True))["train"]["batch_size"] == 4


def test_running_out_of_memory_in_training_is_refused_in_one_line(reviews, tmp_path, monkeypatch):
    def run_out(*_):
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 7 bytes")

    monkeypatch.setattr(trainer, "update", run_out)
    with pytest.raises(UserError, match=r"^memory ran out; lower train\.batch_size and raise train\.accumulation, or "):
        train(a_recipe(reviews, tmp_path))


def test_other_errors_are_not_mistaken_for_running_out_of_memory(reviews, tmp_path, monkeypatch):
    def fail(run, size):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(batch_size_finder, "_train_copy", fail)
    with pytest.raises(RuntimeError, match="shapes"):
        train(a_recipe(reviews, tmp_path, auto_batch=True))


def test_a_run_that_exceeds_the_ulimit_finds_a_size_that_fits(tmp_path):
    """The states of 64 rows of 1,500 words take more than the 700 MiB that the limit leaves."""
    file = tmp_path / "long.csv"
    rows = [" ".join(f"w{(row * 7 + place) % 50}" for place in range(1500)) + f",{'ab'[row % 2]}" for row in range(80)]
    file.write_text("text,label\n" + "\n".join(rows) + "\n")
    recipe = Recipe(
        "long", "sentiment", Data(str(file), max_length=1500), Recurrent(hidden_size=128, layers=2),
        train=Train(str(tmp_path / "run"), batch_size=64, max_steps=2, auto_batch=True),
    )  # fmt: skip
    (tmp_path / "long.json").write_text(recipe.to_json())
    script = tmp_path / "limited.py"
    script.write_text(
        "import resource, sys, torch, psutil, pipeline.run\n"
        "torch.set_num_threads(1)\n"
        "limit = psutil.Process().memory_info().vms + int(sys.argv.pop(1)) * 2**20\n"
        "resource.setrlimit(resource.RLIMIT_AS, (limit, limit))\n"
        "from pipeline.cli.main import entry\nentry()\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "MALLOC_ARENA_MAX": "1"}
    call = [sys.executable, str(script), "700", "run", str(tmp_path / "long.json")]
    done = subprocess.run(call, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    cost = json.loads((tmp_path / "run/metrics.json").read_text())["train"]
    assert cost["batch_size"] * cost["accumulation"] == 64
    assert 1 < cost["batch_size"] < 64
