"""A task whose score needs generated text, from its recipe to its saved folder, on one process and on two."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

from pipeline import inference
from pipeline.config.data import Data
from pipeline.config.models import Recurrent
from pipeline.config.recipe import Recipe
from pipeline.config.training import Optim, Train
from pipeline.run import train

WORDS = ("red", "green", "blue", "white")
TEXTS = [" ".join(words) for size in (1, 2, 3) for words in itertools.product(WORDS, repeat=size)]  # 84


@pytest.fixture(scope="module")
def texts(tmp_path_factory) -> Path:
    """Every text of up to three of four words; those that are scored were not trained on."""
    folder = tmp_path_factory.mktemp("texts")
    for split, rows in (("train", [t for i, t in enumerate(TEXTS) if i % 6]), ("validation", TEXTS[::6])):
        (folder / f"{split}.csv").write_text("text\n" + "\n".join(rows) + "\n")
    return folder


def a_recipe(texts: Path, folder: Path, **changes) -> Recipe:
    return Recipe(
        name="reverse",
        task="reversing:Reverse",
        data=Data(str(texts), max_length=16, tokenizer="whitespace"),
        model=Recurrent(hidden_size=48, embedding_size=16, dropout=0.0, embedding_dropout=0.0),
        optim=Optim(learning_rate=0.02),
        train=Train(**{"epochs": 60, "batch_size": 14, "eval_every": 100, "output_dir": str(folder), **changes}),
    )


@pytest.fixture(scope="module")
def run(texts, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "reverse"
    train(a_recipe(texts, folder))
    return folder


def test_a_score_from_generated_text_picks_the_best_model(run):
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["validation"]["exact_match"] > 0.4  # where guessing gets 0.01
    history = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
    scored = {line["step"]: line["exact_match"] for line in history if line["kind"] == "validation"}
    assert len(scored) > 1
    assert metrics["validation"]["exact_match"] == max(scored.values()) == scored[metrics["train"]["best_update"]]


@pytest.mark.parametrize("batch_size", [1, 5, 64])
def test_a_saved_model_generates_the_same_at_every_batch_size(run, texts, batch_size):
    scores = json.loads((run / "metrics.json").read_text())["validation"]
    found = inference.evaluate_rows(str(run), Data(str(texts)), "validation", batch_size)
    assert found.scores == pytest.approx(scores, rel=1e-6)
    rows = list(found.rows())
    assert [row["id"] for row in rows] == list(range(len(TEXTS[::6])))
    right = [row["written"] == " ".join(reversed(text.split())) for row, text in zip(rows, TEXTS[::6], strict=True)]
    assert sum(right) / len(right) == scores["exact_match"]
    answers = [answer["reversed"] for answer in inference.predict(str(run), TEXTS[::6])]
    assert answers == [row["written"] for row in rows]


WORKER = """
import sys
from pathlib import Path

from test_generation import a_recipe
from pipeline.run import train

train(a_recipe(Path(sys.argv[1]), Path(sys.argv[2]), batch_size=int(sys.argv[3]), epochs=3))
"""


@pytest.mark.slow  # starts three processes
def test_two_processes_generate_for_each_row_once(texts, tmp_path):
    """An update of two processes has as many rows as one of a single process: they train and score alike."""
    for folder, launcher, batch_size in (
        ("one", [], 14),
        ("two", ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"], 7),
    ):
        (tmp_path / "worker.py").write_text(WORKER)
        command = [sys.executable, *launcher, str(tmp_path / "worker.py"), str(texts), str(tmp_path / folder)]
        paths = os.pathsep.join(map(str, (ROOT, ROOT / "tests", ROOT / "tests/training")))
        environment = {**os.environ, "PYTHONPATH": paths, "ACCELERATE_USE_CPU": "true"}
        done = subprocess.run([*command, str(batch_size)], capture_output=True, text=True, env=environment, check=False)
        assert done.returncode == 0, done.stderr
    one, two = (json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("one", "two"))
    assert two["train"]["processes"] == 2
    assert two["validation"]["loss"] == pytest.approx(one["validation"]["loss"], rel=0.2)
    model = inference.evaluate(str(tmp_path / "two"), Data(str(texts)), "validation")
    assert model == pytest.approx(two["validation"], rel=1e-5)
