"""Progress of a run: history.jsonl for programs, a progress bar or plain lines for people."""

from __future__ import annotations

import contextlib
import json
import math
import os
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

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


class Display:
    """Epoch, step, loss, speed and time left: a bar on a terminal, a line every ten seconds elsewhere.

    The bar goes to stderr if that is a terminal. Lines go to stdout, as stderr is for errors.
    """

    def __init__(self, total: int, done: int, updates_per_epoch: int, shown: bool):
        """Args:
        total: updates of the run. done: those of an earlier process.
        shown: whether anything is printed; on one process only.
        """
        self.total, self.first, self.updates_per_epoch, self.shown = total, done, updates_per_epoch, shown
        self.started = self.last_line = time.monotonic()
        console = Console(stderr=True)
        self._bar = _bar(console) if shown and console.is_terminal else None
        self._task = self._bar.add_task("", total=total, completed=done, epoch="", text="") if self._bar else None

    def __enter__(self) -> Display:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar.stop()

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
        elif self.shown and time.monotonic() - self.last_line >= SECONDS_BETWEEN_LINES:
            self.last_line = time.monotonic()
            print(f"{where}  step {step}/{self.total}  {text}  {self._left(step)} left", flush=True)

    def print(self, line: str) -> None:
        """Print a line that stays, above the bar."""
        if self._bar:
            self._bar.console.print(line, highlight=False)
        elif self.shown:
            print(line, flush=True)

    def _left(self, step: int) -> str:
        seconds = (time.monotonic() - self.started) / max(step - self.first, 1) * (self.total - step)
        return f"{int(seconds // 60)}:{int(seconds % 60):02d}"


def _bar(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.fields[epoch]}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[text]}"),
        TimeRemainingColumn(),
        TextColumn("left"),
        console=console,
    )
