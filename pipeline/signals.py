"""Signals that ask a process to stop: counted while something runs that may not be interrupted anywhere."""

from __future__ import annotations

import signal
from types import FrameType, TracebackType
from typing import TYPE_CHECKING

from pipeline.errors import STOPPING

if TYPE_CHECKING:
    from typing_extensions import Self


class StopSignals:
    """Counts how urgently this process has been asked to stop by SIGTERM, SIGINT or SIGUSR1, while entered.

    Attributes:
        urgency: 0 until a signal arrives, then 1, and one more for each Ctrl-C after it.
    """

    def __init__(self) -> None:
        self.urgency = 0
        self._previous: dict[int, signal.Handlers] = {}

    def __enter__(self) -> Self:
        for number in STOPPING:
            self._previous[number] = signal.signal(number, self._on_signal)  # type: ignore[assignment]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT or self.urgency == 0:
            self.urgency += 1
