"""The same arithmetic on any number of processes: gradients, losses and scores of every task with every kind of model.

Two processes and four are started once each, and run all the cases (spread_worker.py).
"""

from __future__ import annotations

import functools
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import spread_worker
import torch
from conftest import NEGATIVE, POSITIVE, ROOT, save_checkpoint

Found = dict[tuple, Any]
# Four processes on two cores take most of a minute.
PROCESSES = [2, pytest.param(4, marks=pytest.mark.slow)]
cases = pytest.mark.parametrize(("task", "kind"), spread_worker.CASES, ids=lambda name: name)
LARGE = (8, 1)
NO_DROPOUT = {
    "bert": {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0},
    "gpt2": {"embd_pdrop": 0.0, "attn_pdrop": 0.0, "resid_pdrop": 0.0, "summary_first_dropout": 0.0},
}
SPLIT = {"train": 29, "validation": 7, "test": 5}  # no batch size divides them


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """Data of each task, and small checkpoints of a BERT and a GPT-2, without dropout."""
    folder = tmp_path_factory.mktemp("spread")
    generator = random.Random(0)
    texts = [f"{text} {' '.join('so' for _ in range(generator.randrange(9)))}" for text in POSITIVE + NEGATIVE]
    for split, rows in SPLIT.items():
        lines = [f"{texts[generator.randrange(8)]} {number}" for number in range(rows)]
        write(
            folder / f"sentiment.d/{split}.csv", ["text,label", *(f'"{x}",{"ab"[i % 2]}' for i, x in enumerate(lines))]
        )
        write(folder / f"next_word.d/{split}.txt", lines)
        write(folder / f"documents.d/{split}.csv", ["text", *(f'"{x}"' for x in lines)])
        names = [
            [("Ada", "B-PER"), ("Bell", "I-PER")] * generator.randrange(1, 4) + [(f"n{n}", "O")] for n in range(rows)
        ]
        write(folder / f"ner.d/{split}.conll", ["".join(f"{w}\t{t}\n" for w, t in sentence) for sentence in names])
    torch.manual_seed(0)
    for name, kind in {"bert": "wordpiece", "gpt2": "bpe"}.items():
        save_checkpoint(folder / name, kind, texts, **NO_DROPOUT[name])
    return folder


def write(file: Path, lines: list[str]) -> None:
    file.parent.mkdir(exist_ok=True)
    file.write_text("\n".join(lines) + "\n")


@pytest.fixture(scope="module")
def alone(place) -> Found:
    return spread_worker.measure_all(place, 1)


@pytest.fixture(scope="module")
def spread(place, alone) -> Callable[[int], Found]:
    """What a number of processes computed; `alone` has filled the cache of the data and saved the models."""
    return functools.cache(lambda processes: start(processes, place))


def start(processes: int, place: Path) -> Found:
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(processes), "--standalone"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, spread_worker.__file__, place], capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return torch.load(place / f"processes-{processes}.pt", weights_only=True)


@cases
def test_accumulation_changes_nothing(task, kind, alone):
    assert_same_training(alone[task, kind, 1, 8], alone[(task, kind, *LARGE)])


@pytest.mark.parametrize("processes", PROCESSES)
@cases
def test_processes_change_nothing(task, kind, processes, alone, spread):
    for batch_size, accumulation in spread_worker.CUTS[processes]:
        found = spread(processes)[task, kind, batch_size, accumulation]
        assert found["processes"] == processes
        assert_same_training(found, alone[(task, kind, *LARGE)])


def assert_same_training(found: dict[str, Any], large: dict[str, Any]) -> None:
    """The same gradient to 1e-6; the optimiser then makes much of the last bits of what is close to zero."""
    assert len(found["losses"]) == len(large["losses"]) > 1
    torch.testing.assert_close(found["gradients"][0], large["gradients"][0], atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(found["gradients"], large["gradients"], atol=1e-4, rtol=1e-3)
    assert found["losses"] == pytest.approx(large["losses"], abs=1e-5)


@cases
def test_scores_are_the_same_at_every_batch_size(task, kind, alone):
    first, *others = alone[task, kind]
    for scores in others:
        assert scores == about(first)


@pytest.mark.parametrize("processes", PROCESSES)
@cases
def test_scores_are_the_same_on_any_number_of_processes(task, kind, processes, alone, spread):
    """To the last bit: the batches are the same ones, dealt to the processes."""
    assert spread(processes)[task, kind] == alone[task, kind]


def about(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: about(part) for name, part in value.items()}
    return pytest.approx(value, rel=1e-6, abs=1e-6) if isinstance(value, float) else value
