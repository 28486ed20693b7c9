"""The largest micro-batch that fits: found without a trace in the run, and kept by a run that goes on."""

from __future__ import annotations

import json
import mmap
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
    """Let a machine have 1 GiB, and a micro-batch take so many bytes a row."""

    def let(bytes_a_row: int) -> list[int]:
        tried = []

        def peak(run, size):
            tried.append(size)
            batch_size_finder._learn(run, size)  # draws from the generators and computes gradients, as ever
            return hardware.held(run.accelerator.device) + size * bytes_a_row

        monkeypatch.setattr(hardware, "free", lambda device: GIB)
        monkeypatch.setattr(batch_size_finder, "peak", peak)
        return tried

    return let


def test_an_update_keeps_its_rows_and_the_run_is_the_one_with_these_sizes_by_hand(reviews, tmp_path, a_row_takes):
    tried = a_row_takes(GIB // 5)
    found = train(a_recipe(reviews, tmp_path, batch_size=24, auto_batch=True))
    assert (found["train"]["batch_size"], found["train"]["accumulation"]) == (4, 6)
    assert tried == [1, 2, 3, 4]  # 6 is out of reach by what these took
    by_hand = a_recipe(reviews, tmp_path, batch_size=4, accumulation=6, output_dir=str(tmp_path / "by-hand"))
    assert train(by_hand)["test"] == found["test"]
    assert_same_weights(tmp_path / "run", tmp_path / "by-hand")


@pytest.mark.parametrize(("batch_size", "accumulation"), [(1, 24), (8, 3), (24, 1)])
def test_what_is_found_does_not_hang_on_how_an_update_was_cut_before(
    reviews, tmp_path, a_row_takes, batch_size, accumulation
):
    a_row_takes(GIB // 100)
    sizes = {"batch_size": batch_size, "accumulation": accumulation}
    found = train(a_recipe(reviews, tmp_path, max_steps=1, auto_batch=True, **sizes))
    assert (found["train"]["batch_size"], found["train"]["accumulation"]) == (24, 1)


def test_a_run_that_goes_on_keeps_what_was_found(reviews, tmp_path, a_row_takes, monkeypatch, capsys):
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
    assert capsys.readouterr().out.count("training: micro-batches of 4 rows, 6 to an update") == 3
    assert_same_weights(tmp_path / "run", tmp_path / "whole")


def test_a_machine_that_is_too_small_for_a_row_is_refused_in_one_line(reviews, tmp_path, a_row_takes):
    a_row_takes(GIB)
    with pytest.raises(UserError, match=r"train\.auto_batch: not even a row of \d+ tokens at a time fits into 0\.90 "):
        train(a_recipe(reviews, tmp_path, auto_batch=True))
    assert not (tmp_path / "run").exists()


def test_memory_that_runs_out_on_the_way_ends_the_search(reviews, tmp_path, monkeypatch):
    learn = batch_size_finder._learn

    def run_out(run, size):
        if size > 4:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        learn(run, size)

    monkeypatch.setattr(batch_size_finder, "_learn", run_out)
    assert train(a_recipe(reviews, tmp_path, batch_size=16, auto_batch=True))["train"]["batch_size"] == 4


def test_memory_that_runs_out_in_training_is_one_line(reviews, tmp_path, monkeypatch):
    def run_out(*_):
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 7 bytes")

    monkeypatch.setattr(trainer, "update", run_out)
    with pytest.raises(UserError, match=r"^memory ran out; lower train\.batch_size and raise train\.accumulation, or "):
        train(a_recipe(reviews, tmp_path))


def test_other_errors_are_not_taken_for_a_lack_of_memory(reviews, tmp_path, monkeypatch):
    def fail(run, size):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(batch_size_finder, "_learn", fail)
    with pytest.raises(RuntimeError, match="shapes"):
        train(a_recipe(reviews, tmp_path, auto_batch=True))


def test_under_a_limit_of_the_shell_a_run_that_would_not_fit_finds_its_size(tmp_path):
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


def test_the_peak_of_a_device_is_what_was_held_at_most_since_it_was_forgotten():
    device = torch.device("cpu")
    before = hardware.held(device)
    with mmap.mmap(-1, 64 * 2**20) as taken:  # what an allocator gives may be memory that it held before
        taken.write(b"x" * len(taken))
    assert hardware.peak(device) >= before + 60 * 2**20
    hardware.forget_peak(device)
    assert hardware.peak(device) < before + 60 * 2**20


def test_the_limits_of_control_groups_of_both_versions_count(tmp_path, monkeypatch):
    for name, values in {
        "memory.max": 7 * GIB, "memory.current": 3 * GIB,
        "job/memory.max": "max", "job/memory.current": 2 * GIB,
        "memory/step/memory.limit_in_bytes": 5 * GIB, "memory/step/memory.usage_in_bytes": 4 * GIB,
    }.items():  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"{values}\n")
    monkeypatch.setattr(hardware, "CGROUPS", tmp_path)
    read = hardware.Path.read_text
    told = "0::/job\n4:cpu,memory:/step\n5:devices:/\n"
    monkeypatch.setattr(
        hardware.Path, "read_text", lambda path: told if str(path) == "/proc/self/cgroup" else read(path)
    )
    assert sorted(hardware._left_in_groups()) == [1 * GIB, 4 * GIB]
