"""The training loop: against a bare one, and with and without a CRF."""

from __future__ import annotations

import contextlib
import io
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.common import (
    ROTTEN_TOMATOES,
    RUNNING_TEXT,
    TAGGER,
    TWEETS,
    RowsOfTable,
    a_run,
    alternate,
    choose,
    our_loop,
    speed,
)
from pipeline import Data, Recipe, Recurrent, Train

# CPU seconds of our loop and of the other, and how many tokens each of them reads.
Sides = tuple[tuple[Callable[[], float], Callable[[], float]], int]
MESSAGES = Data(source="sample:plone_de", max_length=64, vocab_size=4000)
# Name -> task, data, model, and the updates of a measurement: as many as are collated together, or a multiple of it.
LOOPS = {
    "BiLSTM 2x64, batch 32": ("sentiment", ROTTEN_TOMATOES, replace(TAGGER, hidden_size=64, layers=2), 64),
    "BiLSTM-CRF 128 with characters, batch 32": ("ner", TWEETS, replace(TAGGER, crf=True, char_encoder="cnn"), 48),
    "LSTM 200, batch 32 x 35": ("next_word", RUNNING_TEXT, Recurrent(hidden_size=200, embedding_size=200), 16),
    "LSTM 256 with attention, batch 32": (
        "translation",
        MESSAGES,
        replace(TAGGER, hidden_size=256, embedding_size=256, attention="multiplicative"),
        32,
    ),
}
EPOCH = next(iter(LOOPS))  # also trained for an epoch
EPOCH_TITLE = f"{EPOCH}, an epoch with scores and a checkpoint"


def loop(pairs: int, only: Sequence[str] = ()) -> RowsOfTable:
    """Our loop, which collates, updates and logs, against the shortest loop that trains, on ready-made batches.

    Args:
        only: parts of the names of rows; none: all rows.
    """
    rows = []
    for title in choose([*LOOPS, EPOCH_TITLE], only):
        *settings, updates = LOOPS[EPOCH if title == EPOCH_TITLE else title]
        recipe = Recipe("loop", *settings, train=Train(batch_size=32))
        loops, tokens = _epochs(recipe) if title == EPOCH_TITLE else _updates(recipe, updates)
        ours, bare, ratio = alternate(*(speed(train, tokens) for train in loops), pairs)
        rows.append({"model": title, "ours tokens/s": ours, "bare tokens/s": bare, "ratio": ratio})
    return rows


def _updates(recipe: Recipe, count: int) -> Sides:
    import numpy as np

    ours, bare = a_run(recipe), a_run(recipe)
    order = ours.splits["train"].updates(32, 0, 0)[:count]
    tokens = int(ours.splits["train"].lengths[np.concatenate(order)].sum())
    ready = [bare.collate("train", rows)[0] for rows in order]
    return (our_loop(ours, order), _bare_loop(bare, ready, _optimizer(bare))), tokens


def _bare_loop(bare: Any, ready: list[Any], optimizer: Any) -> Callable[[], float]:
    """CPU seconds of as many updates on ready-made batches."""
    import torch

    carries, state = bare.splits["train"].carries, {}

    def train() -> float:
        started = time.process_time()
        for batch in ready:
            if carries:
                state.setdefault("past_key_values", bare.model.new_cache())
            outputs = bare.model(**batch, **state, **({"use_cache": True} if carries else {}))
            if carries:
                state["past_key_values"] = outputs.past_key_values
                state["past_key_values"].detach()
            outputs.loss.backward()
            torch.nn.utils.clip_grad_norm_(bare.model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
        return time.process_time() - started

    return train


def _epochs(recipe: Recipe) -> Sides:
    """A whole epoch with `fit`, which scores the validation split and saves a checkpoint, against the shortest loop
    that counts the right answers and saves the weights and the optimizer."""
    import torch

    from pipeline.training.checkpointing.run_progress import RunProgress
    from pipeline.training.signals import StopRequest
    from pipeline.training.trainer import fit

    recipe = replace(recipe, train=replace(recipe.train, epochs=1))
    ours, bare = a_run(recipe), a_run(recipe)
    order = ours.splits["train"].updates(32, 0, 0)
    ready = [bare.collate("train", rows)[0] for rows in order]
    scored = [bare.collate("validation", rows)[0] for rows in bare.splits["validation"].batches(32)]
    optimizer = _optimizer(bare)
    updates = _bare_loop(bare, ready, optimizer)

    def fit_one() -> float:
        with tempfile.TemporaryDirectory() as folder:
            fresh = replace(ours, folder=Path(folder), progress=RunProgress())
            started = time.process_time()
            with contextlib.redirect_stdout(io.StringIO()), StopRequest() as stop:
                fit(fresh, stop)
            return time.process_time() - started

    def bare_epoch() -> float:
        spent, started = updates(), time.process_time()
        bare.model.eval()
        with torch.inference_mode():
            _ = sum(int((bare.model(**batch).logits.argmax(-1) == batch["labels"]).sum()) for batch in scored)
        bare.model.train()
        saved = {"model": bare.model.state_dict(), "optimizer": optimizer.state_dict()}
        with tempfile.TemporaryDirectory() as folder:
            torch.save(saved, Path(folder) / "checkpoint.pt")
            return spent + time.process_time() - started

    return (fit_one, bare_epoch), int(ours.splits["train"].lengths.sum())


def _optimizer(bare: Any) -> Any:
    import torch

    return torch.optim.AdamW(bare.model.parameters(), lr=1e-3, weight_decay=0.01, fused=True)


def crf(pairs: int) -> RowsOfTable:
    """Tokens per CPU second of a tagger with a CRF and of the same without."""
    rows = []
    for title, model in {
        "BiLSTM 128": TAGGER,
        "BiLSTM 128 with characters": replace(TAGGER, char_encoder="cnn"),
    }.items():
        loops, tokens = [], 0
        for crf in (True, False):
            this = a_run(Recipe("crf", "ner", TWEETS, replace(model, crf=crf), train=Train(batch_size=32)))
            order = this.splits["train"].updates(32, 0, 0)[:60]
            tokens = sum(int(this.splits["train"].lengths[chosen].sum()) for chosen in order)
            loops.append(our_loop(this, order))
        ours_speed, other, ratio = alternate(*(speed(train, tokens) for train in loops), pairs)
        rows.append(
            {"model": title, "CRF tokens/s": ours_speed, "without tokens/s": other, "time of the CRF": 1 / ratio}
        )
    return rows
