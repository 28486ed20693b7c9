"""Progress of a run: history.jsonl for programs, a progress bar or plain lines for people."""

from __future__ import annotations

import contextlib
import json
import math
import os
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from typing_extensions import Self

SECONDS_BETWEEN_LINES = 10.0


class History:
    """history.jsonl: one JSON object per line, written by the first process."""

    def __init__(self, file: Path, length: int):
        """Continue `file` after its first `length` bytes: what a killed run wrote after its checkpoint is redone."""
        file.touch()
        os.truncate(file, min(length, file.stat().st_size))
        self._file_name = file
        self._file = file.open("a", encoding="utf-8")

    def first_loss(self) -> float | None:
        """The loss of the first record of training, if it can be read."""
        with contextlib.suppress(ValueError, TypeError, LookupError), self._file_name.open(encoding="utf-8") as lines:
            records = (json.loads(line) for line in lines)
            return next((record["loss"] for record in records if record["kind"] == "train"), None)
        return None  # a damaged line must not stop a run: no result depends on it

    def write(self, record: dict[str, Any]) -> int:
        """Append `record` and return the length of the file in bytes."""
        self._file.write(json.dumps(record) + "\n")
        self._file.flush()
        return self._file.tell()

    def close(self) -> None:
        self._file.close()


class BarOrLines:
    """A bar on stderr if that is a terminal, else a line on stdout every ten seconds: stderr is for errors."""

    def __init__(self, columns: Sequence[ProgressColumn], shown: bool):
        """Args:
        columns: of the bar.
        shown: whether anything is printed; on one process only.
        """
        self.shown = shown
        self.started = self.last_line = time.monotonic()
        console = Console(stderr=True)
        self._bar = Progress(*columns, console=console) if shown and console.is_terminal else None

    def __enter__(self) -> Self:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar.stop()

    def _is_time_for_a_line(self) -> bool:
        """Whether a line is due, which is then the last one."""
        if not self.shown or time.monotonic() - self.last_line < SECONDS_BETWEEN_LINES:
            return False
        self.last_line = time.monotonic()
        return True

    def _left(self, done: int, total: int) -> str:
        """The time that `total` things will still take if `done` of them were done since the start."""
        seconds = (time.monotonic() - self.started) / max(done, 1) * (total - done)
        return f"{int(seconds // 60)}:{int(seconds % 60):02d}"


class Display(BarOrLines):
    """Epoch, step, loss, speed and time left."""

    def __init__(self, total: int, done: int, updates_per_epoch: int, shown: bool):
        """Args:
        total: updates of the run. done: those of an earlier process.
        shown: whether anything is printed; on one process only.
        """
        super().__init__(_columns(), shown)
        self.total, self.first, self.updates_per_epoch = total, done, updates_per_epoch
        self._task = self._bar.add_task("", total=total, completed=done, epoch="", text="") if self._bar else None

    def expect(self, total: int) -> None:
        """Let the run have `total` updates, if that is not what was expected."""
        if total != self.total:
            self.total = total
            if self._bar and self._task is not None:
                self._bar.update(self._task, total=total)

    def advance(self, step: int) -> None:
        """Move the bar to `step`."""
        if self._bar and self._task is not None:
            self._bar.update(self._task, completed=step)

    def show(self, step: int, text: str) -> None:
        """Show `text` about `step`."""
        epochs = (math.ceil(count / self.updates_per_epoch) for count in (step, self.total))
        where = "epoch {}/{}".format(*epochs)
        if self._bar and self._task is not None:
            self._bar.update(self._task, completed=step, epoch=where, text=text)
        elif self._is_time_for_a_line():
            left = self._left(step - self.first, self.total - self.first)
            print(f"{where}  step {step}/{self.total}  {text}  {left} left", flush=True)

    def print(self, line: str) -> None:
        """Print a line that stays, above the bar."""
        if self._bar:
            self._bar.console.print(line, highlight=False)
        elif self.shown:
            print(line, flush=True)


def _columns() -> list[ProgressColumn]:
    return [
        TextColumn("{task.fields[epoch]}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[text]}"),
        TimeRemainingColumn(),
        TextColumn("left"),
    ]
