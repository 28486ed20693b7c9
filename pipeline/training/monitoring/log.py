"""The log of training: results of updates stay on the device, and become a record every few updates."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor

from pipeline.errors import UserError
from pipeline.training import hardware
from pipeline.training.checkpointing.run_progress import RunProgress
from pipeline.training.monitoring.health import HealthMonitor
from pipeline.training.monitoring.progress import Display, History
from pipeline.training.monitoring.trackers import Trackers

T = TypeVar("T")


class UpdateStats(NamedTuple):
    """The results of one update.

    Attributes:
        step: number of the update, from 1.
        rows: row indices on all processes.
        loss: this process's share, a scalar on the device. grad_norm: before clipping, likewise.
    """

    step: int
    rows: np.ndarray
    loss: Tensor
    grad_norm: Tensor
    learning_rate: float


class Log:
    """Writes a record every few updates, and ends a run whose loss is not finite.

    Reading a loss waits for the device, so nothing is read between two records.
    """

    def __init__(
        self,
        folder: Path,
        progress: RunProgress,
        display: Display,
        accelerator: Accelerator,
        every: int,
        count_tokens: Callable[[np.ndarray], tuple[int, int]],
        trackers: Trackers | None = None,
    ):
        """Args:
        folder: of the run; an existing history.jsonl is continued.
        progress: of the run; its tokens and seconds are counted here.
        every: updates between two records.
        count_tokens: in the rows of an update, without and with padding.
        """
        self.progress, self.display, self.accelerator, self.every = progress, display, accelerator, every
        self.count_tokens, self.trackers = count_tokens, trackers
        is_main = accelerator.is_main_process
        self.history = History(folder / "history.jsonl", progress.history_bytes) if is_main else None
        self.health = HealthMonitor(self.history.first_loss() if self.history else None)
        self.pending: list[UpdateStats] = []
        self.waited = 0.0  # seconds spent waiting for batches since the last record
        self.busy_since = self.counted_until = time.monotonic()

    def __enter__(self) -> Log:
        self.display.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self.display.__exit__(*error)
        if self.history:
            self.history.close()
        if self.trackers:
            self.trackers.close()

    def timed(self, batches: Iterable[T]) -> Iterator[T]:
        """`batches`, measuring the time spent waiting for each."""
        coming = iter(batches)
        while True:
            started = time.monotonic()
            try:
                batch = next(coming)
            except StopIteration:
                return
            finally:
                self.waited += time.monotonic() - started
            yield batch

    def add(self, stats: UpdateStats) -> None:
        """Log an update."""
        self.pending.append(stats)
        if stats.step % self.every == 0:
            self.flush()
        else:
            self.display.advance(stats.step)

    def flush(self) -> None:
        """Write and show the record of the pending updates.

        Raises:
            UserError: a loss is not finite.
        """
        if not self.pending:
            return
        losses = self._losses()
        last = self.pending[-1]
        # Between updates, each would take ten times as long, see `step.COLLATED_AHEAD`.
        counts = [self.count_tokens(stats.rows) for stats in self.pending]
        tokens, padded = map(sum, zip(*counts, strict=True))
        seconds = max(self._count_time(), 1e-9)
        self.progress.tokens += tokens
        self.progress.busy_seconds += seconds
        record = {
            "loss": sum(losses) / len(losses),
            "learning_rate": last.learning_rate,
            "grad_norm": float(last.grad_norm),
            "tokens_per_second": tokens / seconds,
            "memory_bytes": hardware.used_memory(self.accelerator.device),
            "padding": 1.0 - tokens / max(padded, 1),
            "waiting": min(self.waited / seconds, 1.0),
        }
        self.waited = 0.0
        self.write("train", record)
        for warning in self.health.warnings(last.step, record, seconds):
            self.display.print(warning)
        self.display.show(last.step, f"loss {record['loss']:.4f}  {record['tokens_per_second']:,.0f} tokens/s")
        self.pending = []

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Exclude the block, which evaluates or saves, from the measured speed of training."""
        self.flush()
        try:
            yield
        finally:
            self.busy_since = time.monotonic()

    @property
    def training_seconds(self) -> float:
        """Seconds of training until now, pauses excluded; not to be read in a pause."""
        return self.progress.busy_seconds + time.monotonic() - self.busy_since

    def write(self, kind: str, record: dict[str, Any]) -> None:
        """Append `record` to history.jsonl with the current step and epoch, and send it to the trackers."""
        if self.trackers:
            self.trackers.write(kind, record, self.progress.step)
        if self.history:
            record = {"kind": kind, "step": self.progress.step, "epoch": self.progress.epoch, **record}
            self.progress.history_bytes = self.history.write(record)

    def warn(self, concern: str | None) -> None:
        """Print a task's warning about its scores, if there is one, but each only once."""
        if line := self.health.once(concern):
            self.display.print(f"validation: {line}")

    def _count_time(self) -> float:
        """Seconds of training since the last record. All seconds, pauses included, are added to the progress."""
        now = time.monotonic()
        busy = now - self.busy_since
        self.progress.seconds += now - self.counted_until
        self.busy_since = self.counted_until = now
        return busy

    def _losses(self) -> list[float]:
        """The loss of each pending update: each process has a share, and their sum is the mean over all labels."""
        shares = torch.stack([stats.loss for stats in self.pending])
        losses = (self.accelerator.reduce(shares, "sum") if self.accelerator.num_processes > 1 else shares).tolist()
        for stats, loss in zip(self.pending, losses, strict=True):
            if not math.isfinite(loss):
                rows = ", ".join(map(str, sorted(stats.rows.tolist())[:8])) + ", ..." * (len(stats.rows) > 8)
                raise UserError(
                    f"training: the loss is {loss} at update {stats.step} (rows {rows} of train);"
                    f" lower optim.learning_rate ({stats.learning_rate:.2g} there), raise optim.warmup_ratio or lower"
                    " optim.max_grad_norm"
                )
        return losses
