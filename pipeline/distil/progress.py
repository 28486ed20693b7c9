"""How far a teacher has come: a bar on a terminal, a line every ten seconds elsewhere."""

from __future__ import annotations

from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn

from pipeline.training.monitoring.progress import BarOrLines


class Progress(BarOrLines):
    """Shows how many of `total` things are done."""

    def __init__(self, what: str, total: int, shown: bool):
        """Args:
        what: the work that is shown, such as `teacher: 853 texts`.
        shown: whether anything is printed; on one process only.
        """
        columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("left"))
        super().__init__(columns, shown and total > 0)
        self._what, self._total, self._done = what, total, 0
        if self._bar:
            self._bar.add_task("", total=total)

    def advance(self, count: int) -> None:
        """So many more are done."""
        self._done = min(self._done + count, self._total)
        if self._bar:
            self._bar.update(self._bar.task_ids[0], completed=self._done)
        elif self._is_time_for_a_line():
            left = self._left(self._done, self._total)
            print(f"{self._what}  {self._done:,} of {self._total:,}  {left} left", flush=True)
