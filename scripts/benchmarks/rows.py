"""What it costs to remember each row of an evaluation."""

from __future__ import annotations

import contextlib
import io
import statistics
import time
from dataclasses import replace
from typing import Any

from benchmarks.common import ROTTEN_TOMATOES, RUNNING_TEXT, TAGGER, TWEETS, RowsOfTable, a_run
from pipeline import Optim, Recipe, Recurrent, Train

# Most rows are scored: what a file costs however many rows it has is the smaller part then, as in a real evaluation.
MOST = {"validation_share": 0.8}
HALF = {"validation_share": 0.5}  # of the tweets, so that a tagger can learn from the others
TAGGING = {"optim": Optim(learning_rate=3e-3), "train": Train(epochs=15, batch_size=16, eval_every=300)}
CASES = {
    "sentiment, BiLSTM 128": Recipe("rows", "sentiment", replace(ROTTEN_TOMATOES, **MOST), TAGGER),
    "sentiment, 853 rows": Recipe("rows", "sentiment", ROTTEN_TOMATOES, TAGGER),
    "ner, BiLSTM 128": Recipe("rows", "ner", replace(TWEETS, **HALF), TAGGER, **TAGGING),
    "ner, 235 rows": Recipe("rows", "ner", TWEETS, TAGGER, **TAGGING),
    "next_word, LSTM 256": Recipe("rows", "next_word", RUNNING_TEXT, Recurrent(hidden_size=256)),
    "next_word, documents": Recipe(
        "rows", "next_word", replace(RUNNING_TEXT, separate=True), Recurrent(hidden_size=256)
    ),
}


def rows(pairs: int) -> RowsOfTable:
    """CPU milliseconds of evaluating the validation split, of writing its rows afterwards, flushed to disk, and the
    second as a share of the first: medians over pairs."""
    return [{"task": title, **costs(recipe, pairs)} for title, recipe in CASES.items()]


def costs(recipe: Recipe, pairs: int) -> dict[str, Any]:
    """Those of one case.

    Taggers are trained first, because a new one takes every other word for an entity, and what it costs to write a
    sentence grows with its spans. What the other tasks write does not depend on the answers.
    """
    from pipeline import assembly
    from pipeline.data.sources import locate
    from pipeline.tasks.base import load_task
    from pipeline.training.signals import StopRequest
    from pipeline.training.trainer import fit

    this = a_run(recipe)
    if recipe.task == "ner":
        with contextlib.redirect_stdout(io.StringIO()), StopRequest() as stop:
            fit(this, stop)
    texts = assembly.prepare_for(recipe, load_task(recipe.task), locate(recipe.data)).texts["validation"]
    file = this.folder / "rows.parquet"
    measured = []
    for _ in range(pairs + 1):
        begun, begun_wall = time.process_time(), time.perf_counter()
        found = this.evaluate("validation")
        scored, scored_wall = time.process_time(), time.perf_counter()
        found.write(file, "validation", texts, this.model, this.tokenizer)
        ended, ended_wall = time.process_time(), time.perf_counter()
        measured.append((scored - begun, ended - scored, scored_wall - begun_wall, ended_wall - scored_wall))
    evaluating, writing, _, _ = (statistics.median(side) for side in zip(*measured[1:], strict=True))
    return {
        "rows": sum(1 for _ in found.rows()),
        "score": found.scores.get("f1", found.scores.get("accuracy")),
        "evaluating ms": 1e3 * evaluating,
        "writing ms": 1e3 * writing,
        "share %": 100 * statistics.median(own[1] / own[0] for own in measured[1:]),
        "wall share %": 100 * statistics.median(own[3] / own[2] for own in measured[1:]),
        "KiB": file.stat().st_size / 1024,
    }
