"""Kills: whenever a run is killed, the same command ends with the same bytes.

Each run is a separate process that executes `finetune run`. It is killed by SIGKILL, or at times by a signal that
asks it to stop, at a random moment or as soon as it starts to write a checkpoint, the model or the metrics. The quick
test forks its processes from one that has imported everything; the slow one starts an interpreter for each.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import ROOT

from pipeline.config.data import Data
from pipeline.config.models import Recurrent, Scratch
from pipeline.config.recipe import Recipe
from pipeline.config.training import Optim, Train
from pipeline.errors import EXIT_INTERRUPTED, STOPPING
from pipeline.training.checkpointing import checkpoint

OUTPUT = "output.txt"  # output of the processes, in the working folder
TAGS = {"ann": "B-PER", "bob": "B-PER", "rome": "B-LOC", "oslo": "B-LOC"}
WORDS = ["saw", "the", "of", "near", "went", *TAGS]


def write_data(folder: Path) -> None:
    """Rows of different lengths for each task, so that there are buckets and a short last window."""
    draw = random.Random(0)
    with (folder / "sentiment.csv").open("w") as file:
        file.write("text,label\n")
        for row in range(180):
            word, label = ("good", "pos") if row % 2 else ("bad", "neg")
            file.write(" ".join([word, *draw.choices(WORDS, k=draw.randrange(1, 9))]) + f",{label}\n")
    with (folder / "ner.conll").open("w") as file:
        for _ in range(180):
            words = draw.choices(WORDS, k=draw.randrange(2, 10))
            file.write("".join(f"{word} {TAGS.get(word, 'O')}\n" for word in words) + "\n")
    lines = (" ".join(draw.choices(WORDS, k=draw.randrange(2, 12))) for _ in range(260))
    (folder / "text.txt").write_text("\n".join(lines) + "\n")
    texts = {" ".join(draw.choices(WORDS, k=draw.randrange(1, 7))): None for _ in range(180)}
    pairs = (f"{text},{' '.join(reversed(text.split()))}" for text in texts)
    (folder / "pairs.csv").write_text("\n".join(["source,target", *pairs]) + "\n")


def recipes(folder: Path) -> dict[str, Recipe]:
    """With dropout, accumulation, bf16 and early stopping; the first has a budget of tokens, which ends it in
    the middle of an epoch, and the last one carries a state from update to update."""
    train = Train(
        epochs=4, batch_size=5, accumulation=2, precision="bf16", eval_every=7, save_every=2, patience=4, log_every=3
    )
    small = {"hidden_size": 8, "embedding_size": 8, "layers": 2, "dropout": 0.3}
    made = {
        "sentiment": (Data(str(folder / "sentiment.csv")), Scratch(hidden_size=8, layers=1, heads=2, dropout=0.2)),
        "ner": (Data(str(folder / "ner.conll")), Recurrent(**small, bidirectional=True)),
        "next_word": (
            Data(str(folder / "text.txt"), tokenizer="whitespace", max_length=8),
            Recurrent(**small, weight_dropout=0.3, word_dropout=0.1),
        ),
        "translation": (
            Data(str(folder / "pairs.csv"), tokenizer="whitespace", max_length=8),
            Recurrent(**small, bidirectional=True),
        ),
    }
    optim = Optim(learning_rate=0.01)
    trains = {"sentiment": replace(train, epochs=9, max_tokens=2000)}
    return {
        task: Recipe(task, task, data, model, optim, trains.get(task, train)) for task, (data, model) in made.items()
    }


def finetune(arguments: list[str]) -> None:
    """The command, its voice in a file."""
    with open(os.devnull, "w") as nowhere, open(OUTPUT, "a") as output:
        os.dup2(nowhere.fileno(), 1)
        os.dup2(output.fileno(), 2)
    from pipeline.cli.main import entry

    sys.argv = ["finetune", *arguments]
    entry()


class Forked:
    """Processes forked from one that has imported everything."""

    def __init__(self, arguments: list[str]):
        self.process = multiprocessing.get_context("forkserver").Process(target=finetune, args=(arguments,))
        self.process.start()

    def code(self, seconds: float | None) -> int | None:
        self.process.join(seconds)
        return self.process.exitcode

    def send(self, number: int) -> None:
        if self.process.exitcode is None and self.process.pid:
            os.kill(self.process.pid, number)


class Started:
    """Processes with their own interpreter."""

    def __init__(self, arguments: list[str]):
        call = [sys.executable, "-c", "from pipeline.cli.main import entry; entry()", *arguments]
        with open(OUTPUT, "a") as output:
            environment = {**os.environ, "PYTHONPATH": str(ROOT)}
            self.process = subprocess.Popen(call, env=environment, stdout=subprocess.DEVNULL, stderr=output)

    def code(self, seconds: float | None) -> int | None:
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def send(self, number: int) -> None:
        self.process.send_signal(number)


def is_there(pattern: str) -> Callable[[Path], bool]:
    return lambda run: any(run.glob(pattern))


LATE = ("writing the model", "between the model and the metrics")
# what the run is seen to do when it is killed
MOMENTS = {
    "writing a checkpoint": is_there("checkpoints/.writing-*"),
    "writing the optimiser": is_there("checkpoints/.writing-*/optimizer.safetensors"),
    "writing the manifest": is_there("checkpoints/.writing-*/manifest.json"),
    "writing the model": is_there(".writing-model/*"),
    "between the model and the metrics": is_there("model/config.json"),
}


def lines_of(run: Path) -> int:
    history = run / "history.jsonl"
    return history.read_bytes().count(b"\n") if history.is_file() else 0


def killed(kind: type, command: list[str], run: Path, draw: random.Random, late: bool, counts: Counter) -> bool:
    """Start the run and kill it at a random moment, a late one only where asked; whether anything is left to do."""
    counts["resumes"] += checkpoint.newest(run) is not None
    process = kind(command)
    moment = draw.choice(["after some lines", *(name for name in MOMENTS if late or name not in LATE)])
    wanted = lines_of(run) + draw.randrange(1, 14)
    was_reached = MOMENTS.get(moment, lambda run: lines_of(run) >= wanted)
    skipped = draw.randrange(4) if "checkpoint" in moment or "writing the o" in moment else 0
    seen, before = 0, set()
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.code(0) is None:
        now = {path.name for path in (run / "checkpoints").glob(".writing-*")} if skipped else set()
        seen, before = seen + len(now - before), now
        if seen >= skipped and was_reached(run):
            time.sleep(draw.random() * 0.01)
            in_training = moment == "after some lines"  # and not before the handlers of signals are there
            process.send(draw.choice(STOPPING) if in_training and draw.random() < 0.5 else signal.SIGKILL)
            break
    code = process.code(60)
    assert code in (0, -signal.SIGKILL, EXIT_INTERRUPTED), Path(OUTPUT).read_text()
    counts[moment if code else "ended before"] += 1
    counts["kills"] += code == -signal.SIGKILL
    counts["stops"] += code == EXIT_INTERRUPTED
    return not (run / "metrics.json").is_file()


def outcome(run: Path, stopped: bool) -> tuple:
    """All that must not depend on kills: the bytes of the weights and of the rows, the scores, and the history except
    timings and memory.

    A run that is asked to stop writes a line of history where it stops, over fewer updates than the others.
    """
    metrics = json.loads((run / "metrics.json").read_text())
    ends = {name: metrics["train"][name] for name in ("updates", "best_update", "epochs")}
    history = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
    history = [line for line in history if line["kind"] != "train" or not stopped]
    for line in history:
        for name in ("tokens_per_second", "memory_bytes", "waiting"):
            line.pop(name, None)
    files = [run / "model/model.safetensors", *sorted((run / "predictions").iterdir())]
    return [file.read_bytes() for file in files], metrics["validation"], metrics["test"], ends, history


def survives(kind: type, recipe: Recipe, folder: Path, kills: int, seed: int, counts: Counter) -> None:
    """Kill the run `kills` times, then let it end: the bytes of the weights are those of the undisturbed run."""
    draw = random.Random(f"{recipe.name} {seed}")
    undisturbed, run = folder / f"{recipe.name}-undisturbed", folder / f"{recipe.name}-{seed}"
    (folder / f"{recipe.name}.json").write_text(recipe.to_json())
    commands = {
        output: ["run", str(folder / f"{recipe.name}.json"), f"--train.output-dir={output}"]
        for output in (undisturbed, run)
    }
    if not undisturbed.is_dir():
        assert kind(commands[undisturbed]).code(120) == 0
    stops = counts["stops"]
    for number in range(kills):
        if not killed(kind, commands[run], run, draw, number >= kills - 2, counts):
            break
    if not (run / "metrics.json").is_file():
        counts["resumes"] += checkpoint.newest(run) is not None
        assert kind(commands[run]).code(120) == 0
    stopped = counts["stops"] > stops
    assert outcome(run, stopped) == outcome(undisturbed, stopped)
    counts["identical finals"] += 1


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setenv("FINETUNE_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    write_data(tmp_path)
    return tmp_path


@pytest.mark.parametrize("task", ["sentiment", "ner", "next_word", "translation"])
def test_a_run_that_is_killed_again_and_again_ends_with_the_same_bytes(place, task):
    multiprocessing.get_context("forkserver").set_forkserver_preload(["pipeline.cli.main", "pipeline.run"])
    counts: Counter = Counter()
    survives(Forked, recipes(place)[task], place, kills=6, seed=0, counts=counts)
    print(dict(counts))
    assert counts["kills"] + counts["stops"] >= 3
    assert counts["identical finals"] == 1


@pytest.mark.slow  # an interpreter for each of some hundred processes
@pytest.mark.parametrize("task", ["sentiment", "ner", "next_word", "translation"])
def test_the_command_survives_many_kills_with_the_same_bytes(place, task):
    counts: Counter = Counter()
    for seed in range(4):
        survives(Started, recipes(place)[task], place, kills=6, seed=seed, counts=counts)
    print(task, dict(counts))
    assert counts["kills"] >= 8
    assert counts["identical finals"] == 4
