"""How long `finetune predict` and `finetune evaluate` take to start and answer, against another checkout."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.common import RowsOfTable, alternate

ROOT = Path(__file__).parents[2]
RECIPE = """
from pipeline import Data, Recipe, Recurrent, Scratch, Train

recipe = Recipe("startup", {task!r}, Data(source={source!r}), {model}, train=Train(epochs=1, output_dir={folder!r}))
"""
SCRATCH = "Scratch(architecture={!r}, hidden_size=8, layers=1, heads=2)"
RNN, BERT, GPT2 = "Recurrent(hidden_size=8, embedding_size=8)", SCRATCH.format("bert"), SCRATCH.format("gpt2")
# Name of the data -> its rows. The models are so small that they take no time themselves.
DATA = {
    "reviews.csv": "text,label\n" + "".join(f"warm and funny {n},good\ndull and empty {n},bad\n" for n in range(60)),
    "tags.conll": "".join(f"Anna B-PER\nlives O\nin O\nParis B-LOC\n{n} O\n\n" for n in range(60)),
    "lines.txt": "".join(f"the cat sat on the mat {n}\n" for n in range(200)),
}
MODELS = {
    "sentiment, RNN": ("sentiment", "reviews.csv", RNN),
    "sentiment, BERT": ("sentiment", "reviews.csv", BERT),
    "ner, RNN": ("ner", "tags.conll", RNN),
    "ner, BERT": ("ner", "tags.conll", BERT),
    "next_word, RNN": ("next_word", "lines.txt", RNN),
    "next_word, GPT-2": ("next_word", "lines.txt", GPT2),
}


def startup(pairs: int, against: Path) -> RowsOfTable:
    """CPU seconds of whole processes, with one line to predict from and a small file to score.

    Args:
        against: the root of the other checkout; it runs in this environment.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file, text in DATA.items():
            (folder / file).write_text(text)
        return [row for title in MODELS for row in _rows(title, folder, pairs, against)]


def _rows(title: str, folder: Path, pairs: int, against: Path) -> list[dict[str, Any]]:
    task, file, model = MODELS[title]
    run, recipe, data = folder / title.replace(", ", "-"), folder / "recipe.py", str(folder / file)
    recipe.write_text(RECIPE.format(task=task, source=data, model=model, folder=str(run)))
    _run(["run", str(recipe)], against)  # an older version cannot read what a newer one has saved
    rows = []
    for command in (["predict", str(run)], ["evaluate", str(run), "--data", data]):
        ours, theirs, ratio = alternate(_cpu_seconds(command, ROOT), _cpu_seconds(command, against), pairs)
        rows.append({"model": title, "command": command[0], "CPU s": ours, "other CPU s": theirs, "ratio": ratio})
    return rows


def _cpu_seconds(command: list[str], checkout: Path) -> Callable[[], float]:
    """Runs `command` with the code in `checkout`: user and system time of the process and its children."""

    def measure() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        _run(command, checkout)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    return measure


def _run(command: list[str], checkout: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "pipeline", *command],
        cwd=checkout,
        env={**os.environ, "PYTHONPATH": str(checkout.resolve())},
        input="the cat is warm and funny\n",
        stdout=subprocess.DEVNULL,
        text=True,
        check=True,
    )
