"""Counts what a reader changed or left out, with the first places, and says so in one line for each kind."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

SHOWN = 3


@dataclass
class Count:
    """How many places there are, and the first of them."""

    number: int = 0
    first: list[str] = field(default_factory=list)

    def add(self, place: str) -> None:
        self.number += 1
        if len(self.first) < SHOWN:
            self.first.append(place)

    def __str__(self) -> str:
        return ", ".join(self.first) + ", ..." * (self.number > len(self.first))


@dataclass
class Notes:
    """Places by what happened there.

    Attributes:
        where: the file, for messages.
    """

    where: str
    _counts: dict[str, Count] = field(default_factory=dict)

    def add(self, what: str, place: str) -> None:
        """Count a place at which `what` happened: a sentence in which `{}` is the number of places."""
        short = place.removeprefix(f"{self.where}:")
        self._counts.setdefault(what, Count()).add(place if short == place else f"line {short}")

    def lines(self) -> Iterable[str]:
        """A line for each kind, with the first places."""
        for what, count in self._counts.items():
            yield f"{self.where}: {what.format(count.number)} ({count})"
