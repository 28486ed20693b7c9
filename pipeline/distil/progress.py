"""How far a teacher is: a bar on a terminal, a line every ten seconds elsewhere."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

SECONDS_BETWEEN_LINES = 10.0


class Progress:
    """Shows how many of `total` things are done. The bar goes to stderr if that is a terminal, lines go to stdout."""

    def __init__(self, what: str, total: int, shown: bool):
        """Args:
        what: the work that is shown, such as `teacher: 853 texts`.
        shown: whether anything is printed; on one process only.
        """
        self._what, self._total, self._done = what, total, 0
        self._shown, self._started = shown and total > 0, time.monotonic()
        self._last_line = self._started
        console = Console(stderr=True)
        self._bar = None
        if self._shown and console.is_terminal:
            columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("left"))
            self._bar = Bar(*columns, console=console)
            self._bar.add_task("", total=total)

    def __enter__(self) -> Progress:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar.stop()

    def advance(self, count: int) -> None:
        """So many more are done."""
        self._done = min(self._done + count, self._total)
        if self._bar:
            self._bar.update(self._bar.task_ids[0], completed=self._done)
        elif self._shown and time.monotonic() - self._last_line >= SECONDS_BETWEEN_LINES:
            self._last_line = time.monotonic()
            left = (self._last_line - self._started) / self._done * (self._total - self._done)
            print(
                f"{self._what}  {self._done:,} of {self._total:,}  {int(left // 60)}:{int(left % 60):02d} left",
                flush=True,
            )
