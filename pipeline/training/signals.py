"""Stopping on a signal: the run saves a checkpoint, from which the same command resumes."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from types import FrameType

import torch
from accelerate import Accelerator

from pipeline.errors import Interrupted
from pipeline.signals import StopSignals

# On Ctrl-C the terminal signals torchrun and its workers, and torchrun then signals the workers again: a second SIGINT
# within this time is not a second Ctrl-C.
FORWARDED_SECONDS = 1.0
AT_ONCE = "stopped at once; if the run has saved a checkpoint, the same command resumes from it"


class StopRequest(StopSignals):
    """Catches the signals that stop a run while entered; a second SIGINT stops it at once."""

    def __init__(self) -> None:
        super().__init__()
        self._requested_at = 0.0
        self._raises = False  # whether a signal interrupts what is running

    @property
    def requested(self) -> bool:
        """Whether this process has been asked to stop."""
        return self.urgency > 0

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if not self.requested:
            self._requested_at = time.monotonic()
        elif number == signal.SIGINT and self._is_forwarded():
            number = signal.SIGTERM  # it says nothing new
        super()._on_signal(number, frame)
        if number == signal.SIGINT and self.urgency > 1:
            raise KeyboardInterrupt(AT_ONCE)
        if self._raises:
            raise Interrupted

    def _is_forwarded(self) -> bool:
        is_recent = time.monotonic() - self._requested_at < FORWARDED_SECONDS
        return is_recent and "TORCHELASTIC_RUN_ID" in os.environ

    @contextlib.contextmanager
    def interruptible(self, accelerator: Accelerator) -> Iterator[None]:
        """A signal ends the block at once. The block must leave nothing half-done, and is repeated on resuming.

        With several processes, the block runs to its end: the others could not be informed in the middle of it.

        Raises:
            Interrupted: a process is asked to stop, or was before the block.
        """
        if self.agreed(accelerator):
            raise Interrupted
        self._raises = accelerator.num_processes == 1
        try:
            yield
        finally:
            self._raises = False

    def agreed(self, accelerator: Accelerator) -> bool:
        """Whether any process was asked to stop; the same on all, because they must stop after the same update."""
        if accelerator.num_processes == 1:
            return self.requested
        flag = torch.tensor(float(self.requested), device=accelerator.device)
        return bool(accelerator.reduce(flag, "sum") > 0)
