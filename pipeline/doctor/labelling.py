"""How long a teacher will take to answer its texts, measured on a few of them before it starts."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from pipeline.data.new_rows import Content

# A batch is timed in the middle of each of this many parts at most, from the shortest texts to the longest.
PARTS = 4


def seconds_to_answer(
    contents: Sequence[Content],
    answer: Callable[[list[Content]], Any],
    batch_size: int,
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[float, int]:
    """Seconds that `answer` will take for all contents, in batches of similar length, and how many were timed.

    In each part, the time is taken as proportional to the number of characters.

    Args:
        answer: waits until the device has finished.
    """
    sizes = np.array([size_of(content) for content in contents])
    seconds, timed = 0.0, 0
    parts = max(1, min(PARTS, -(-len(contents) // batch_size)))
    for number, part in enumerate(np.array_split(np.argsort(sizes, kind="stable"), parts) if len(contents) else ()):
        begin = max(0, (len(part) - batch_size) // 2)
        rows = part[begin : begin + batch_size]
        batch = [contents[row] for row in rows]
        if number == 0:  # the first call of all is slow: libraries choose their kernels
            answer(batch)
        started = clock()
        answer(batch)
        seconds += (clock() - started) * float(sizes[part].sum() / max(sizes[rows].sum(), 1))
        timed += len(rows)
    return seconds, timed


def size_of(content: Content) -> int:
    """Characters of a text, of both texts of a pair or of all words."""
    return len(content) if isinstance(content, str) else sum(map(len, content))
