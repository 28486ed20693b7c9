"""Stopping on request: what is under way is brought to a point that the same command goes on from."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from types import FrameType, TracebackType

import torch
from accelerate import Accelerator

from pipeline.errors import STOPPING, Interrupted

# On Ctrl-C a terminal signals torchrun and its workers, and torchrun then signals the workers again.
FORWARDED_SECONDS = 1.0


class StopRequest:
    """Catches SIGTERM, SIGINT and SIGUSR1 while it is entered; a second SIGINT stops at once."""

    def __init__(self) -> None:
        self.requested = False
        self._requested_at = 0.0
        self._at_once = False
        self._previous: dict[int, signal.Handlers] = {}

    def __enter__(self) -> StopRequest:
        for number in STOPPING:
            self._previous[number] = signal.signal(number, self._note)  # type: ignore[assignment]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and self.requested and not self._is_forwarded():
            raise KeyboardInterrupt
        if not self.requested:
            self.requested, self._requested_at = True, time.monotonic()
        if self._at_once:
            raise Interrupted

    def _is_forwarded(self) -> bool:
        is_recent = time.monotonic() - self._requested_at < FORWARDED_SECONDS
        return is_recent and "TORCHELASTIC_RUN_ID" in os.environ

    @contextlib.contextmanager
    def interruptible(self, accelerator: Accelerator) -> Iterator[None]:
        """For what leaves nothing half-done and is done again on resuming: a signal ends it at once.

        With several processes it goes on to its end, as those that were not asked cannot be told in the midst of it.

        Raises:
            Interrupted: a process is, or was before, asked to stop.
        """
        if self.agreed(accelerator):
            raise Interrupted
        self._at_once = accelerator.num_processes == 1
        try:
            yield
        finally:
            self._at_once = False

    def agreed(self, accelerator: Accelerator) -> bool:
        """Whether any process was asked to stop: all of them have to stop after the same update."""
        if accelerator.num_processes == 1:
            return self.requested
        flag = torch.tensor(float(self.requested), device=accelerator.device)
        return bool(accelerator.reduce(flag, "sum") > 0)
