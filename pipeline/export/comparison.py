"""How far what a graph returns is from what its model returns."""

# Shapes: N rows or tokens, B batch, T time, C classes.

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.models.recurrent.crf_inference import IMPOSSIBLE

# Largest difference of logits in float32 from those in float64 (see exact.py), where they are at most 1; elsewhere,
# relative to the largest of a row.
TOLERANCE = 1e-5


@dataclass
class Comparison:
    """Logits that were compared so far.

    Attributes:
        largest: the largest difference, see TOLERANCE.
        count: number of rows, or of tokens that are not padding.
    """

    largest: float = 0.0
    count: int = 0

    def add(self, expected: np.ndarray, found: np.ndarray, mask: np.ndarray) -> None:
        """Compare logits (B, C), or (B, T, C) where `mask` (B, T) is not 0."""
        if expected.shape != found.shape:
            self.largest = np.inf
            return
        if expected.ndim > 2:
            expected, found = expected[mask > 0], found[mask > 0]
        possible = np.where(expected > IMPOSSIBLE, expected, 0.0)  # a tag that a CRF excludes is no measure
        scale = np.abs(possible).max(axis=-1, keepdims=True, initial=1.0)
        difference = (np.abs(found - expected) / scale).max(initial=0.0)
        self.largest = max(self.largest, np.inf if np.isnan(difference) else float(difference))
        self.count += len(expected)


def first_difference(expected: Any, found: Any, path: str = "") -> str | None:
    """The first difference between two JSON values, in words; numbers may differ by TOLERANCE, relative to those beyond
    1. None: there is none."""
    if isinstance(expected, dict) and isinstance(found, dict) and expected.keys() == found.keys():
        pairs = [(f"{path}.{name}", value, found[name]) for name, value in expected.items()]
    elif isinstance(expected, list) and isinstance(found, list) and len(expected) == len(found):
        pairs = [(f"{path}[{n}]", *values) for n, values in enumerate(zip(expected, found, strict=True))]
    elif isinstance(expected, float) and isinstance(found, float):
        is_near = abs(expected - found) <= TOLERANCE * max(1.0, abs(expected))
        return None if is_near else f"{path.lstrip('.')} is {found!r} instead of {expected!r}"
    else:
        return None if expected == found else f"{path.lstrip('.')} is {found!r} instead of {expected!r}"
    return next((place for place in (first_difference(one, other, at) for at, one, other in pairs) if place), None)
