"""Durations for people."""

from __future__ import annotations


def duration(seconds: float) -> str:
    """`seconds` in the largest unit, up to days, that gives at least 2."""
    for unit, size in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} seconds" if seconds >= 10 else f"{seconds:.1f} seconds"
