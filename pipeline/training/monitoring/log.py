"""The figures of updates: gathered on the device, then written to history.jsonl and shown."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor

from pipeline.errors import UserError
from pipeline.training import hardware
from pipeline.training.checkpointing.checkpoint import State
from pipeline.training.monitoring.health import Watch
from pipeline.training.monitoring.progress import Display, History
from pipeline.training.monitoring.trackers import Dashboards

T = TypeVar("T")


class Figures(NamedTuple):
    """Of one update: its number, its rows, their tokens without and with padding (`cells`), this process's share of
    the loss and the gradient norm, on the device."""

    step: int
    rows: np.ndarray
    tokens: int
    cells: int
    loss: Tensor
    grad_norm: Tensor
    learning_rate: float


class Log:
    """Writes a line of history every few updates, and refuses to go on with a loss that is not a number.

    Reading a figure waits for the device; between two lines nothing is read.
    """

    def __init__(
        self,
        folder: Path,
        state: State,
        display: Display,
        accelerator: Accelerator,
        every: int,
        dashboards: Dashboards | None = None,
    ):
        self.state, self.display, self.accelerator, self.every = state, display, accelerator, every
        self.dashboards = dashboards
        main = accelerator.is_main_process
        self.history = History(folder / "history.jsonl", state.history_bytes) if main else None
        self.watch = Watch(self.history.first_loss() if self.history else None)
        self.pending: list[Figures] = []
        self.waited = 0.0
        self.busy_since = self.counted_until = time.monotonic()

    def __enter__(self) -> Log:
        self.display.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self.display.__exit__(*error)
        if self.history:
            self.history.close()
        if self.dashboards:
            self.dashboards.close()

    def timed(self, batches: Iterable[T]) -> Iterator[T]:
        """`batches`, and note how long each was waited for."""
        pending = iter(batches)
        while True:
            started = time.monotonic()
            try:
                batch = next(pending)
            except StopIteration:
                return
            finally:
                self.waited += time.monotonic() - started
            yield batch

    def add(self, figures: Figures) -> None:
        """Note an update."""
        self.pending.append(figures)
        if figures.step % self.every == 0:
            self.flush()
        else:
            self.display.advance(figures.step)

    def flush(self) -> None:
        """Write and show what is pending, having made sure that every loss is a number."""
        if not self.pending:
            return
        losses = self._losses()
        last, tokens = self.pending[-1], sum(figures.tokens for figures in self.pending)
        seconds = max(self._count_time(), 1e-9)
        self.state.tokens += tokens
        self.state.busy_seconds += seconds
        record = {
            "loss": sum(losses) / len(losses),
            "learning_rate": last.learning_rate,
            "grad_norm": float(last.grad_norm),
            "tokens_per_second": tokens / seconds,
            "memory_bytes": hardware.held(self.accelerator.device),
            "padding": 1.0 - tokens / max(sum(figures.cells for figures in self.pending), 1),
            "waiting": min(self.waited / seconds, 1.0),
        }
        self.waited = 0.0
        self.write("train", record)
        for concern in self.watch.concerns(last.step, record, seconds):
            self.display.say(concern)
        self.display.show(last.step, f"loss {record['loss']:.4f}  {record['tokens_per_second']:,.0f} tokens/s")
        self.pending = []

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """What is done inside, evaluating or saving, does not count into the speed of training."""
        self.flush()
        try:
            yield
        finally:
            self.busy_since = time.monotonic()

    def write(self, kind: str, record: dict[str, Any]) -> None:
        """Append `record` to history.jsonl, with the step it belongs to."""
        if self.dashboards:
            self.dashboards.write(kind, record, self.state.step)
        if self.history:
            record = {"kind": kind, "step": self.state.step, "epoch": self.state.epoch, **record}
            self.state.history_bytes = self.history.write(record)

    def tell(self, concern: str | None) -> None:
        """Say what scores give reason to worry about, once."""
        if line := self.watch.once(concern):
            self.display.say(f"validation: {line}")

    def _count_time(self) -> float:
        """Seconds of training since the last flush; all seconds go to the state."""
        now = time.monotonic()
        busy, self.state.seconds = now - self.busy_since, self.state.seconds + now - self.counted_until
        self.busy_since = self.counted_until = now
        return busy

    def _losses(self) -> list[float]:
        shares = torch.stack([figures.loss for figures in self.pending])
        losses = (self.accelerator.reduce(shares, "sum") if self.accelerator.num_processes > 1 else shares).tolist()
        for figures, loss in zip(self.pending, losses, strict=True):
            if not math.isfinite(loss):
                rows = ", ".join(map(str, sorted(figures.rows.tolist())[:8])) + ", ..." * (len(figures.rows) > 8)
                raise UserError(
                    f"training: the loss is {loss} at update {figures.step} (rows {rows} of train);"
                    f" lower optim.learning_rate ({figures.learning_rate:.2g} there), raise optim.warmup_ratio or lower"
                    " optim.max_grad_norm"
                )
        return losses
