"""How long a model takes to answer: before its export and after, measured in turn on the same texts."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch

Answer = Callable[[Sequence[Any]], Any]
BATCH_SIZES = (1, 32)
# Calls that are timed for each size, and the seconds after which no more are begun.
CALLS, SECONDS = 50, 3.0


def measure(before: Answer, after: Answer, contents: Sequence[Any]) -> dict[str, dict[str, dict[str, float]]]:
    """Milliseconds of an answer to a batch, on one thread: `before` and `after` -> `batch_1` and `batch_32` -> `p50`
    and `p95`.

    Both answer the same batches in turn, so that other work on the machine slows both down.

    Args:
        before, after: answer a batch of contents, tokenization included.
        contents: at least one; repeated if there are fewer than a batch has.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        found = {f"batch_{size}": _measure(before, after, contents, size) for size in BATCH_SIZES}
    finally:
        torch.set_num_threads(threads)
    return {side: {size: both[side] for size, both in found.items()} for side in ("before", "after")}


def _measure(before: Answer, after: Answer, contents: Sequence[Any], size: int) -> dict[str, dict[str, float]]:
    seconds: dict[str, list[float]] = {"before": [], "after": []}
    until = time.perf_counter() + SECONDS
    for call in range(-1, CALLS):  # the first one warms up
        batch = [contents[(call * size + number) % len(contents)] for number in range(size)]
        for side, answer in (("before", before), ("after", after)):
            began = time.perf_counter()
            answer(batch)
            if call >= 0:
                seconds[side].append(time.perf_counter() - began)
        if time.perf_counter() > until and call >= 1:
            break
    return {side: _percentiles(values) for side, values in seconds.items()}


def _percentiles(seconds: list[float]) -> dict[str, float]:
    """In milliseconds; of few values, p95 is the largest."""
    p95 = statistics.quantiles(seconds, n=20, method="inclusive")[-1]
    return {"p50": round(1000 * statistics.median(seconds), 3), "p95": round(1000 * p95, 3)}
