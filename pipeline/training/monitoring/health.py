"""Warnings about a run that diverges or waits for its data, each given once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# A loss above FAR times that of the first record, in LONG records in a row, has diverged.
FAR, LONG = 2.0, 5
# Waiting for more than this share of the time over this many updates, and for this many seconds in all, is a stall.
# Many updates are collated in one go (`step.COLLATED_AHEAD`), so most records of a stalled run have not waited at all.
STALLED_SHARE, STALLED_UPDATES, STALLED_SECONDS = 0.5, 100, 10.0


class HealthMonitor:
    """Reads each record of training and warns when something has been wrong for a while."""

    def __init__(self, first_loss: float | None = None):
        """`first_loss`: that of the run's first record, if an earlier process has written it."""
        self._first_loss = first_loss
        self._far_since: int | None = None
        self._far = 0
        self._counted_from: int | None = None  # the update after which waiting is counted
        self._waited = self._seconds = 0.0
        self._given: set[str] = set()

    def warnings(self, step: int, record: Mapping[str, Any], seconds: float) -> list[str]:
        """Warnings due at the record of `step`, whose updates took `seconds`."""
        return [line for line in (self._divergence(step, record["loss"]), self._stall(step, record, seconds)) if line]

    def once(self, line: str | None) -> str | None:
        """`line`, unless it has been given before."""
        if line is None or line in self._given:
            return None
        self._given.add(line)
        return line

    def _divergence(self, step: int, loss: float) -> str | None:
        if self._first_loss is None:
            self._first_loss = loss
        is_far = loss > FAR * self._first_loss
        self._far = self._far + 1 if is_far else 0
        self._far_since = (self._far_since or step) if is_far else None
        if self._far < LONG or "divergence" in self._given:
            return None
        self._given.add("divergence")
        return (
            f"training: the loss diverges: {loss:.4g}; it has been above {FAR:g} times its initial value"
            f" ({self._first_loss:.4g}) since update {self._far_since}; lower optim.learning_rate or raise"
            " optim.warmup_ratio"
        )

    def _stall(self, step: int, record: Mapping[str, Any], seconds: float) -> str | None:
        if self._counted_from is None:
            self._counted_from = step  # the first record has also waited for what starts only once
            return None
        self._waited += record["waiting"] * seconds
        self._seconds += seconds
        if step - self._counted_from < STALLED_UPDATES or "stall" in self._given:
            return None
        share = self._waited / self._seconds
        if share <= STALLED_SHARE:
            self._counted_from, self._waited, self._seconds = step, 0.0, 0.0
            return None
        if self._waited < STALLED_SECONDS:
            return None
        self._given.add("stall")
        return (
            f"training: {share:.0%} of the time is spent waiting for batches; put the cache of encoded data"
            " (FINETUNE_CACHE) on a faster disk, or raise train.batch_size"
        )
