"""Statements that hold or do not, and the verdict on a claim that follows from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

HELD, IN_PART, NOT_HELD = "held", "held in part", "not held here"
Result = Literal["held", "held in part", "not held here"]


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


def result(statements: Sequence[Statement]) -> Result:
    """The verdict on a claim: held if all of its statements hold, in part if some do.

    Raises:
        ValueError: there are none.
    """
    if not statements:
        raise ValueError("a claim without statements cannot be decided")
    held = [statement.holds for statement in statements]
    return HELD if all(held) else IN_PART if any(held) else NOT_HELD
