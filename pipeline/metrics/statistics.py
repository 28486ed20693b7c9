"""Statistics of scores: their mean and spread over runs, and confidence intervals.

Standard library only, so that `finetune compare` needs no numpy.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence


def mean(values: Iterable[float]) -> float:
    """Arithmetic mean of at least one value."""
    return statistics.fmean(values)


def spread(values: Sequence[float]) -> float:
    """Standard deviation of a sample, with n - 1 in the denominator (Bessel's correction); 0 for a single value."""
    return statistics.stdev(values) if len(values) > 1 else 0.0


def wilson_interval(proportion: float, count: int, confidence: float = 0.95) -> tuple[float, float]:
    """Score interval of a binomial proportion (Wilson 1927, without continuity correction).

    Its bounds are the proportions p for which |observed - p| = z * sqrt(p * (1 - p) / count).

    Args:
        proportion: share of successes, in [0, 1].
        count: number of trials, at least 1.
        confidence: in (0, 1).

    Returns:
        Lower and upper bound, within [0, 1].
    """
    z = statistics.NormalDist().inv_cdf((1 + confidence) / 2)
    center = (proportion + z * z / (2 * count)) / (1 + z * z / count)
    half_width = z / (1 + z * z / count) * math.sqrt(proportion * (1 - proportion) / count + (z / (2 * count)) ** 2)
    # Rounding must not put the bounds beyond the proportion itself, which equals one of them if it is 0 or 1.
    return max(0.0, min(center - half_width, proportion)), min(1.0, max(center + half_width, proportion))
