"""The same arithmetic however a run is distributed: gradients, losses and scores of each task with each kind of model.

Each world, such as two processes with DDP or with FSDP, is started once and runs all its cases (equivalence_worker.py).
With -s, the largest differences are printed at the end.
"""

from __future__ import annotations

import functools
import json
import os
import random
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import equivalence_worker
import pytest
import torch
from conftest import NEGATIVE, POSITIVE, ROOT, need_deepspeed, save_checkpoint

from pipeline import run

Found = dict[tuple, Any]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]
ACCELERATE = [sys.executable, "-m", "accelerate.commands.launch", "--main_process_port", "0", "--config_file"]
SHARED = [*ACCELERATE, f"{ROOT}/recipes/accelerate/fsdp.yaml", "--num_processes"]
ZERO = [*ACCELERATE, f"{ROOT}/recipes/accelerate/deepspeed.yaml", "--num_processes"]
QUICK = [("sentiment", "lstm"), ("sentiment", "bert"), ("ner", "crf"), ("next_word", "gpt2"), ("next_word", "lstm")]
QUICK += [("next_word", "adaptive"), ("sentiment", "averaged"), ("sentiment", "taught"), ("translation", "fed")]
REFUSED = ("gradual", "averaged")  # with DeepSpeed
COUNTED = [(task, model) for task, model in equivalence_worker.CASES if model not in REFUSED]
# Other cases are like these for what processes exchange.
ALIKE = [("sentiment", "bigru"), ("sentiment", "gpt2"), ("sentiment", "scratch"), ("ner", "lstm"), ("ner", "scratch")]
ALIKE += [("next_word", "bert"), ("next_word", "scratch"), ("documents", "gpt2"), ("translation", "fed")]
ALIKE += [("ner", "taught-crf")]
DISTINCT = [case for case in equivalence_worker.CASES if case not in ALIKE]
SHARDED = [case for case in equivalence_worker.CASES if "lora" not in case]  # FSDP refuses adapters
# Micro-batches of a row each, of which whole ones have no label; the runs that are resumed have batches of four rows.
ROW_BY_ROW: equivalence_worker.Cuts = [(1, 4)]
BOTH: equivalence_worker.Cuts = [(4, 1), (1, 4)]


class World(NamedTuple):
    """How processes are started, and what they run."""

    launcher: list[str]
    processes: int
    cases: list[tuple[str, str]]
    cuts: equivalence_worker.Cuts
    distributed_type: str = "MULTI_CPU"


WORLDS = {
    "two": World(TORCHRUN, 2, DISTINCT, ROW_BY_ROW),
    "two, all cases": World(TORCHRUN, 2, equivalence_worker.CASES, BOTH),
    "four": World(TORCHRUN, 4, equivalence_worker.CASES, [(2, 1)]),  # on two cores, most of a minute
    "two with FSDP": World(SHARED, 2, QUICK, ROW_BY_ROW, "FSDP"),
    "two with FSDP, all cases": World(SHARED, 2, SHARDED, BOTH, "FSDP"),
    "two with DeepSpeed": World(ZERO, 2, COUNTED, BOTH, "DEEPSPEED"),
}
QUICK_WORLDS = ("two", "two with FSDP")
worlds = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in QUICK_WORLDS else pytest.mark.slow) for name in WORLDS]
)
resumed_cases = pytest.mark.parametrize(
    ("task", "name"),
    [
        pytest.param(task, name, marks=() if name in QUICK_WORLDS else pytest.mark.slow)
        for name in WORLDS
        for task in equivalence_worker.RESUMED
    ],
)
spread_cases = pytest.mark.parametrize(
    ("task", "kind", "name"),
    [
        pytest.param(task, kind, name, marks=() if name in QUICK_WORLDS else pytest.mark.slow)
        for name, world in WORLDS.items()
        for task, kind in world.cases
    ],
)
cases = pytest.mark.parametrize(("task", "kind"), equivalence_worker.CASES, ids=lambda name: name)
LARGE = (8, 1)
NO_DROPOUT = {
    "bert": {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0},
    "gpt2": {"embd_pdrop": 0.0, "attn_pdrop": 0.0, "resid_pdrop": 0.0, "summary_first_dropout": 0.0},
}
SPLIT = {"train": 29, "validation": 7, "test": 5}  # no batch size divides them
NER_SPLIT = {**SPLIT, "train": 25}  # one row is left for the last update, and none for the other processes


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
        answers = [
            {"several": [["a"], ["a", "b"], []][i % 3], "number": x.split().count("so") / 8, "pairs": "ab"[i % 2]}
            for i, x in enumerate(lines)
        ]
        for kind in equivalence_worker.KINDS:
            pair = {"sentence2": texts[0]} if kind == "pairs" else {}
            made = [
                {"sentence1" if pair else "text": x, **pair, "label": answers[i][kind]} for i, x in enumerate(lines)
            ]
            write(folder / f"{kind}.d/{split}.jsonl", [json.dumps(row) for row in made])
        write(folder / f"next_word.d/{split}.txt", lines)
        pairs = [{"source": line, "target": " ".join(reversed(line.split()))} for line in lines]
        write(folder / f"translation.d/{split}.jsonl", [json.dumps(pair) for pair in pairs])
        write(folder / f"documents.d/{split}.csv", ["text", *(f'"{x}"' for x in lines)])
        names = [
            [("Ada", "B-PER"), ("Bell", "I-PER")] * generator.randrange(1, 4) + [(f"n{n}", "O")]
            for n in range(NER_SPLIT[split])
        ]
        write(folder / f"ner.d/{split}.conll", ["".join(f"{w}\t{t}\n" for w, t in sentence) for sentence in names])
    write(folder / "other.txt", [f"{texts[number % 8]} again {number}" for number in range(13)])
    torch.manual_seed(0)
    for name, kind in {"bert": "wordpiece", "gpt2": "bpe"}.items():
        save_checkpoint(folder / name, kind, texts, **NO_DROPOUT[name])
    return folder


@pytest.fixture(scope="module")
def differences() -> Iterator[dict[tuple[str, str], list[tuple[float, ...]]]]:
    """(task, how it was distributed) -> the largest differences of each case from one batch on one process."""
    found: dict[tuple[str, str], list[tuple[float, ...]]] = defaultdict(list)
    yield found
    print("\ntask       distributed as                 cases  first gradient  losses   validation, test loss")
    for (task, how), rows in sorted(found.items()):
        first, losses, scores = map(max, zip(*rows, strict=True))
        print(f"{task:<10} {how:<30} {len(rows):>5}  {first:>14.1e}  {losses:.1e}  {scores:.1e}")


def write(file: Path, lines: list[str]) -> None:
    file.parent.mkdir(exist_ok=True)
    file.write_text("\n".join(lines) + "\n")


@pytest.fixture(scope="module")
def alone(place) -> Found:
    equivalence_worker.leave(place, "alone", 1)
    return equivalence_worker.measure_all(place, "alone", equivalence_worker.ALONE, equivalence_worker.CASES)


@pytest.fixture(scope="module")
def spread(place, alone) -> Callable[[str], Found]:
    """The results of a world's processes; `alone` has filled the cache of encoded data and saved the models."""
    return functools.cache(lambda name: start(name, place))


def start(name: str, place: Path) -> Found:
    launcher, processes, cases, cuts, kind = WORLDS[name]
    if kind == "DEEPSPEED":
        need_deepspeed()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    cut = ",".join(f"{batch_size}x{accumulation}" for batch_size, accumulation in cuts)
    call = [*launcher, str(processes), equivalence_worker.__file__, str(place), name, cut, *map("/".join, cases)]
    done = subprocess.run(call, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr[-4000:]
    return torch.load(place / f"{name}.pt", weights_only=True)


@cases
def test_accumulation_changes_nothing(task, kind, alone, differences):
    found, large = alone[task, kind, 1, 8], alone[(task, kind, *LARGE)]
    differences[task, "1 x 8 on one"].append(assert_same_training(found, large))


@spread_cases
def test_processes_change_nothing(task, kind, name, alone, spread, differences):
    world = WORLDS[name]
    for batch_size, accumulation in world.cuts:
        found = spread(name)[task, kind, batch_size, accumulation]
        assert (found["processes"], found["distributed_type"]) == (world.processes, world.distributed_type)
        is_sharded = world.distributed_type in ("FSDP", "DEEPSPEED")
        assert found["held"] == pytest.approx(1 / world.processes if is_sharded else 1, abs=0.1)
        how = f"{batch_size} x {accumulation} on {name}"
        differences[task, how].append(assert_same_training(found, alone[(task, kind, *LARGE)]))


@resumed_cases
def test_a_run_on_several_processes_resumes_to_the_same_bytes(task, name, spread):
    assert spread(name)["resumed", task]


@resumed_cases
def test_one_process_resumes_what_several_have_saved(task, name, spread, place):
    assert spread(name)
    folders = equivalence_worker.left(place, name, task), place / f"runs/undisturbed-{name}-{task}"
    went_on, undisturbed = (run.train(equivalence_worker.a_recipe(task, "lstm", place, at, *LARGE)) for at in folders)
    assert undisturbed["train"]["updates"] > equivalence_worker.STOP_AT
    for split in ("validation", "test"):
        assert went_on[split] == about(undisturbed[split], 1e-5)


@resumed_cases
def test_several_processes_resume_what_one_has_saved(task, name, spread, place):
    undisturbed = run.train(
        equivalence_worker.a_recipe(task, "lstm", place, place / f"runs/whole-{name}-{task}", *LARGE)
    )
    for split in ("validation", "test"):
        assert spread(name)["went on", task][split] == about(undisturbed[split], 1e-5)


@worlds
def test_all_processes_stop_when_the_time_of_the_first_is_up(name, spread, place):
    processes, costs = WORLDS[name].processes, spread(name)["timed"]
    alone = equivalence_worker.timed(place, f"{name} alone", 1)
    assert costs["updates"] == alone["updates"] == 5
    assert (costs["processes"], costs["tokens"]) == (processes, alone["tokens"])


def test_a_sharded_model_keeps_its_buffers_and_frozen_weights(spread):
    for found in spread("two with FSDP")["kept"]:
        torch.testing.assert_close(found["then"], found["trained"], atol=0, rtol=0)


def assert_same_training(found: dict[str, Any], large: dict[str, Any]) -> tuple[float, ...]:
    """The same gradient to 1e-6; the optimiser then makes much of the last bits of what is close to zero.

    Returns:
        The largest differences between the first gradients, the losses of all updates, and the validation and
        test losses after them.
    """
    assert len(found["losses"]) == len(large["losses"]) > 1
    torch.testing.assert_close(found["gradients"][0], large["gradients"][0], atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(found["gradients"], large["gradients"], atol=1e-4, rtol=1e-3)
    assert found["losses"] == pytest.approx(large["losses"], abs=1e-5)
    assert found["scores"] == pytest.approx(large["scores"], abs=1e-5)
    first = float((found["gradients"][0] - large["gradients"][0]).abs().max())
    return first, farthest(found["losses"], large["losses"]), farthest(found["scores"], large["scores"])


def farthest(one: list[float], other: list[float]) -> float:
    return max(abs(a - b) for a, b in zip(one, other, strict=True))


@cases
def test_scores_are_the_same_at_every_batch_size(task, kind, alone):
    first, *others = alone[task, kind]
    for scores in others:
        assert scores == about(first)


@spread_cases
def test_scores_are_the_same_on_any_number_of_processes(task, kind, name, alone, spread):
    """To the last bit: the batches are the same, distributed over the processes."""
    assert spread(name)[task, kind] == alone[task, kind]


@cases
def test_the_scores_of_a_run_can_be_computed_from_the_rows_that_it_leaves(task, kind, alone):
    assert all(alone[(task, kind, *cut)]["rows give the scores"] == [True, True] for cut in equivalence_worker.ALONE)


@spread_cases
def test_rows_are_the_same_to_the_last_bit_on_any_number_of_processes(task, kind, name, alone, spread):
    assert spread(name)["rows", task, kind] == alone["rows", task, kind]
    for cut in WORLDS[name].cuts:
        assert spread(name)[(task, kind, *cut)]["rows give the scores"] == [True, True]


def about(value: Any, tolerance: float = 1e-6) -> Any:
    """Equal to within `tolerance`; a correlation to a hundred times it, because predictions of these short runs vary
    by some thousandths only, and the correlation divides their rounding by that."""
    if isinstance(value, dict):
        return {
            name: about(part, tolerance * 100 if name in ("pearson", "spearman") else tolerance)
            for name, part in value.items()
        }
    return pytest.approx(value, rel=tolerance, abs=tolerance) if isinstance(value, float) else value
