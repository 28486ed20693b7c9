"""Checkpoints: complete or absent, skipped if damaged, and only the newest and best are kept."""

from __future__ import annotations

import errno
import json
import os
import shutil
import threading

import numpy as np
import pytest
from test_trainer import a_recipe, assert_same_weights

from pipeline import storage
from pipeline.errors import UserError
from pipeline.run import train
from pipeline.training.checkpointing import checkpoint, serialization
from pipeline.training.evaluation import Evaluation


@pytest.fixture
def unfinished(reviews, tmp_path):
    """A recipe whose run has checkpoints at 9, 12 and 15 of 16 updates and no metrics yet, and the complete run."""
    settings = {"save_every": 3, "keep_checkpoints": 3, "eval_every": 100}
    recipe = a_recipe(reviews, tmp_path, **settings)
    train(recipe)
    shutil.copytree(tmp_path / "run", tmp_path / "undisturbed")
    (tmp_path / "run/metrics.json").unlink()
    shutil.rmtree(tmp_path / "run/checkpoints/step-00000016")
    return recipe


def cut(file):
    os.truncate(file, file.stat().st_size - 1)


def flip(file):
    content = bytearray(file.read_bytes())
    # In the middle of a manifest is a hash, and the file of that hash would seem to be the damaged one.
    content[0 if file.name == storage.MANIFEST else len(content) // 2] ^= 1
    file.write_bytes(content)


FILES = [
    *(checkpoint.WEIGHTS, checkpoint.OPTIMIZER, checkpoint.PROCESSES, checkpoint.STATE, checkpoint.DATA),
    storage.MANIFEST,
]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("harm", [cut, flip, os.remove])
def test_a_damaged_checkpoint_is_reported_and_the_previous_one_is_used(unfinished, tmp_path, capsys, name, harm):
    newest = checkpoint.newest(tmp_path / "run")
    before = checkpoint.list_checkpoints(tmp_path / "run")[1]
    harm(newest / name)
    capsys.readouterr()
    train(unfinished)
    printed = [line for line in capsys.readouterr().out.splitlines() if line.startswith("checkpoint: ")]
    assert len(printed) == 1
    assert f"{newest} is damaged ({name} " in printed[0]
    assert printed[0].endswith(f"resuming from {before.name}")
    assert_same_weights(tmp_path / "run", tmp_path / "undisturbed")


def test_a_checkpoint_without_its_best_weights_is_skipped(unfinished, tmp_path, capsys):
    newest = checkpoint.newest(tmp_path / "run")
    state = json.loads((newest / checkpoint.STATE).read_text())
    (newest / checkpoint.STATE).write_text(json.dumps({**state, "best_step": 14, "best_score": 0.5}))
    storage.seal(newest)
    train(unfinished)
    assert f"{newest} is damaged (the best weights, of step 14: manifest.json cannot be read" in capsys.readouterr().out
    assert_same_weights(tmp_path / "run", tmp_path / "undisturbed")


def a_file(folder, tmp_path):
    folder.write_bytes(b"")


def a_link_to_nothing(folder, tmp_path):
    folder.symlink_to(tmp_path / "nowhere")


def a_link_to_something_damaged(folder, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/mine").write_text("to be kept")
    folder.symlink_to(tmp_path / "elsewhere")


@pytest.mark.parametrize("put", [a_file, a_link_to_nothing, a_link_to_something_damaged])
def test_anything_else_in_place_of_a_checkpoint_is_reported_and_removed(unfinished, tmp_path, capsys, put):
    """A link is removed, but not its target."""
    place = checkpoint.folder_of(tmp_path / "run", 99)
    put(place, tmp_path)
    train(unfinished)
    assert f"{place} is damaged (manifest.json cannot be read" in capsys.readouterr().out
    assert not place.is_symlink()
    assert not place.exists()
    assert (tmp_path / "elsewhere/mine").is_file() == (tmp_path / "elsewhere").is_dir()
    assert_same_weights(tmp_path / "run", tmp_path / "undisturbed")


@pytest.mark.parametrize("content", [b'{"kind": "tr', os.urandom(4096), b"3\n" * 4096], ids=["cut", "noise", "numbers"])
def test_a_damaged_history_does_not_stop_a_run_from_resuming(unfinished, tmp_path, content):
    (tmp_path / "run/history.jsonl").write_bytes(content)
    train(unfinished)
    assert_same_weights(tmp_path / "run", tmp_path / "undisturbed")


def test_if_all_checkpoints_are_damaged_the_run_is_refused_and_nothing_is_removed(unfinished, tmp_path):
    there = checkpoint.list_checkpoints(tmp_path / "run")
    for folder in there:
        flip(folder / checkpoint.WEIGHTS)
    with pytest.raises(UserError, match=r"step-\d+: this checkpoint cannot be resumed: model.safetensors is not what"):
        train(unfinished)
    assert checkpoint.list_checkpoints(tmp_path / "run") == there


def test_the_newest_checkpoints_are_kept_with_the_best_of_each(reviews, tmp_path, monkeypatch):
    """With scores that rise, then fall: the best is older than all that are kept as the newest."""
    scores = iter([0.1, 0.2, 0.9, *np.linspace(0.8, 0.1, 20)])
    evaluate = checkpoint_free_evaluation(scores)
    monkeypatch.setattr("pipeline.training.trainer.Run.evaluate", evaluate)
    monkeypatch.setattr("pipeline.saving.save_rows", lambda *arguments: None)  # there are none
    train(a_recipe(reviews, tmp_path, eval_every=2, max_steps=16, patience=None, keep_checkpoints=3))
    kept = [int(folder.name.removeprefix("step-")) for folder in checkpoint.list_checkpoints(tmp_path / "run")]
    assert kept == [16, 14, 12, 6]


def checkpoint_free_evaluation(scores):
    def evaluate(run, split):
        score = next(scores)
        metrics = {"loss": 1.0, "accuracy": score, "macro_f1": score, "confusion": [[1]], "per_class": {"a": {}}}
        return Evaluation(metrics, {}, run.task, run.labels)

    return evaluate


def test_a_full_disk_leaves_the_last_good_checkpoint(reviews, tmp_path, monkeypatch):
    """The error occurs in the writing thread; the run, which continues meanwhile, must learn of it."""
    write, threads = serialization.write, set()

    def write_until_full(state, file):
        if "step-00000009" in str(file):
            threads.add(threading.current_thread().name)
            file.write_bytes(b"half of it")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(state, file)

    monkeypatch.setattr(serialization, "write", write_until_full)
    recipe = a_recipe(reviews, tmp_path, save_every=3, eval_every=100)
    with pytest.raises(UserError, match=r"cannot write to .*: No space left on device; make room"):
        train(recipe)
    assert threads == {"checkpoint"}
    assert {folder.name for folder in (tmp_path / "run/checkpoints").iterdir()} == {"step-00000003", "step-00000006"}
    assert [storage.damage(folder) for folder in checkpoint.list_checkpoints(tmp_path / "run")] == [None, None]
    monkeypatch.undo()
    train(recipe)
    train(a_recipe(reviews, tmp_path, save_every=3, eval_every=100, output_dir=str(tmp_path / "undisturbed")))
    assert_same_weights(tmp_path / "run", tmp_path / "undisturbed")


def test_a_manifest_has_the_size_and_hash_of_every_file(unfinished, tmp_path):
    import hashlib

    folder = checkpoint.newest(tmp_path / "run")
    manifest = json.loads((folder / storage.MANIFEST).read_text())
    files = {file.name: file.read_bytes() for file in folder.iterdir() if file.name != storage.MANIFEST}
    assert manifest == {
        name: {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)} for name, content in files.items()
    }
