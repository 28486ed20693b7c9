"""How long a run trains: `train.max_steps`, `train.max_tokens` or `train.max_seconds`, and at most `train.epochs`.

The number of updates follows from the settings and the order of the rows, except for a budget of time: how much of it
is used, the first process measures and shares, so that all processes stop after the same update.

Shapes: N rows in the training split.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import broadcast

from pipeline.config.training import Train
from pipeline.data.bucketing import Split


def most_updates(train: Train, rows: Split, rows_per_update: int) -> int:
    """Updates after which a run on `rows` ends at the latest; a budget of time may end it earlier."""
    per_epoch = math.ceil(len(rows) / rows_per_update)
    planned = per_epoch * train.epochs
    if train.max_tokens is not None:
        return updates_until(train.max_tokens, train, rows, rows_per_update)
    return min(planned, train.max_steps or planned)


def updates_until(tokens: int, train: Train, rows: Split, rows_per_update: int) -> int:
    """Updates until `tokens` are trained on, counted without padding: the last one reaches them or passes them.

    Each epoch has every row once, so only the order of the last one matters.
    """
    per_epoch, in_epoch = math.ceil(len(rows) / rows_per_update), int(rows.lengths.sum(dtype=np.int64))
    epochs = (tokens - 1) // in_epoch
    if epochs >= train.epochs:
        return per_epoch * train.epochs
    order = rows.updates(rows_per_update, train.seed, epochs)
    reached = np.cumsum([int(rows.lengths[update].sum(dtype=np.int64)) for update in order])
    return per_epoch * epochs + int(np.searchsorted(reached, tokens - epochs * in_epoch)) + 1


@dataclass
class TimeBudget:
    """Seconds of training, without evaluation, checkpoints and what precedes and follows training.

    Attributes:
        seconds: the budget; None: there is none.
        used: as last measured; the same on all processes.
        clock: seconds of training of this process so far, with those of the processes that it resumes.
    """

    seconds: float | None
    accelerator: Accelerator
    used: float = 0.0
    clock: Callable[[], float] | None = None

    @property
    def is_spent(self) -> bool:
        return self.seconds is not None and self.used >= self.seconds

    @property
    def share(self) -> float:
        """The share of the budget that is used, as last measured, in [0, 1]; 0 if there is none."""
        return 0.0 if self.seconds is None else min(self.used / self.seconds, 1.0)

    def start(self, clock: Callable[[], float]) -> None:
        """Measure by `clock` from now on. All processes must call this."""
        self.clock = clock
        self.measure()

    def measure(self) -> float:
        """The share of the budget that is used, in [0, 1]. All processes must call this."""
        if self.seconds is None or self.clock is None:
            return 0.0
        self.used = self._of_first(self.clock())
        return self.share

    def _of_first(self, value: float) -> float:
        """The `value` of the first process."""
        if self.accelerator.num_processes == 1:
            return value
        tensor = torch.tensor([value], dtype=torch.float64, device=self.accelerator.device)
        return float(broadcast(tensor)[0])

    def expected_updates(self, done: int, most: int) -> int:
        """Updates of the whole run if the next ones take as long as the `done` ones, at most `most`."""
        if self.seconds is None or not self.used or not done:
            return most
        return max(done, min(most, math.ceil(done * self.seconds / self.used)))
