"""What training costs besides the updates: checkpoints and determinism."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from typing import Any

from benchmarks.common import ROTTEN_TOMATOES, TAGGER, RowsOfTable, a_run, alternate
from pipeline import Optim, Pretrained, Recipe, Train

MODELS = {"BiLSTM 128": TAGGER, "MiniLM": Pretrained("sample:minilm")}
UPDATES = 8  # between two checkpoints, or in a measurement


def checkpoint(pairs: int) -> RowsOfTable:
    """Milliseconds of wall time for which a checkpoint blocks training: written in a thread, and waited for."""
    return [_checkpoint_row(title, Recipe("checkpoint", "sentiment", ROTTEN_TOMATOES, model), pairs)
            for title, model in MODELS.items()]  # fmt: skip


def _checkpoint_row(title: str, recipe: Recipe, pairs: int) -> dict[str, Any]:
    from pipeline.training.checkpointing import checkpoint
    from pipeline.training.checkpointing.writer import Writer

    this = a_run(recipe)
    state, writer = _train_state(this), Writer()
    steps = _steps(this, state)

    def save(is_waited_for: bool) -> float:
        for _ in range(UPDATES):
            next(steps)
            this.progress.step += 1
        started = time.perf_counter()
        checkpoint.save(this.folder, state, this.progress, this.layout, this.accelerator, writer, 2)
        if is_waited_for:
            checkpoint.wait_until_written(writer, this.accelerator)
        return 1e3 * (time.perf_counter() - started)

    beside, waited, ratio = alternate(lambda: save(False), lambda: save(True), pairs)
    checkpoint.wait_until_written(writer, this.accelerator)
    size = sum(file.stat().st_size for file in checkpoint.newest(this.folder).iterdir()) / 2**20  # type: ignore[union-attr]
    return {"model": title, "MiB": size, "stall ms": beside, "if waited for ms": waited, "ratio": ratio}


def deterministic(pairs: int) -> RowsOfTable:
    """Tokens per second with `train.deterministic` and without."""
    from pipeline.training.seeding import deterministic

    rows = []
    for title, model in MODELS.items():
        this = a_run(Recipe("deterministic", "sentiment", ROTTEN_TOMATOES, model, train=Train(batch_size=32)))
        steps = _steps(this, _train_state(this))

        def measure(is_on: bool, steps: Iterator[int] = steps) -> float:
            with deterministic(is_on):
                started = time.perf_counter()
                tokens = sum(itertools.islice(steps, UPDATES))
                return tokens / (time.perf_counter() - started)

        on, off, ratio = alternate(lambda m=measure: m(True), lambda m=measure: m(False), pairs)
        rows.append({"model": title, "on tokens/s": on, "off tokens/s": off, "ratio": ratio})
    return rows


def _train_state(this: Any) -> Any:
    from pipeline.training.optim import build_optimizer, build_scheduler
    from pipeline.training.step import TrainState

    optimizer = build_optimizer(this.model, Optim(learning_rate=1e-5))
    return TrainState(this.model, optimizer, build_scheduler(optimizer, Optim(), 10**6))


def _steps(this: Any, state: Any) -> Iterator[int]:
    """Endless updates on the same rows; yields the tokens of each."""
    from pipeline.training.step import update, update_batches

    order = this.splits["train"].updates(32, 0, 0)[:UPDATES]
    while True:
        for batch in update_batches(order, 32, this.weighted_batches, this.accelerator):
            loss, _, _ = update(this.accelerator, state, batch, 1.0, autocast=False)
            loss.item()  # waits for the device
            yield int(this.splits["train"].lengths[batch.rows].sum())
