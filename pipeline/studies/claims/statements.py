"""Statements that hold or do not, and the verdict on a claim that follows from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

HELD, IN_PART, NOT_HELD = "held", "held in part", "not held here"


@dataclass(frozen=True)
class Statement:
    """A part of a claim that a figure decides.

    Attributes:
        text: what is claimed.
        rule: when it holds, as it was written down before the measurement.
        holds: whether it does.
        evidence: the figures that decided.
    """

    text: str
    rule: str
    holds: bool
    evidence: str


def result(statements: Sequence[Statement]) -> str:
    """The verdict on a claim: held if all of its statements hold, in part if some do.

    Raises:
        ValueError: there are none.
    """
    if not statements:
        raise ValueError("a claim without statements cannot be decided")
    held = [statement.holds for statement in statements]
    return HELD if all(held) else IN_PART if any(held) else NOT_HELD


@dataclass(frozen=True)
class Picture:
    """A drawing and what it shows, in words.

    Attributes:
        svg: the drawing.
        alt: for those who cannot see it.
    """

    svg: str
    alt: str


@dataclass(frozen=True)
class Section:
    """What is written about one claim.

    Attributes:
        number: from 1, as in `--claims`.
        title: a few words.
        claim: what courses say.
        method: how it was measured, in paragraphs.
        statements: what decides.
        picture: the figures, drawn.
        table: the figures in rows, the first of them headings.
        remarks: what else the figures say, in paragraphs.
    """

    number: int
    title: str
    claim: str
    method: list[str]
    statements: list[Statement]
    picture: Picture
    table: list[list[str]]
    remarks: list[str] = field(default_factory=list)

    @property
    def result(self) -> str:
        """The verdict."""
        return result(self.statements)
