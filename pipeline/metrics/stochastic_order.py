"""Almost stochastic order: how far one system's scores over seeds are from being better at every quantile.

del Barrio, Cuesta-Albertos & Matrán 2018; for neural networks Dror, Shlomov & Reichart 2019; Ulmer, Hardmeier &
Frellsen 2022.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

RESAMPLES = 1_000


def violation_ratio(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The share of the squared Wasserstein distance where the first system's quantile is the lower one.

    epsilon_W2 = int max(G^-1(t) - F^-1(t), 0)^2 dt / int (F^-1(t) - G^-1(t))^2 dt over t in (0, 1), with F of the first
    and G of the second (Dror et al. 2019). Both quantile functions are step functions, so the integrals are
    sums. 0: the first is better at every quantile; 1: worse at every one; 0.5 if the two are equal.

    Args:
        first: (..., m) scores, higher is better.
        second: (..., n).
    """
    m, n = first.shape[-1], second.shape[-1]
    # Both are constant between two neighbouring multiples of 1/m and 1/n. In units of 1/(m n) these are integers.
    borders = np.unique(np.concatenate([np.arange(m + 1) * n, np.arange(n + 1) * m]))
    widths, starts = np.diff(borders), borders[:-1]
    gaps = np.sort(first, axis=-1)[..., starts // n] - np.sort(second, axis=-1)[..., starts // m]
    distance = (gaps**2 * widths).sum(axis=-1)
    violated = (np.minimum(gaps, 0) ** 2 * widths).sum(axis=-1)
    return np.divide(violated, distance, out=np.full(np.shape(distance), 0.5), where=distance > 0)


def almost_stochastic_order(
    first: Sequence[float],
    second: Sequence[float],
    lower_is_better: bool = False,
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> float:
    """epsilon_min: with the given confidence, the violation ratio is not greater than this.

    epsilon_min = epsilon_W2 - sqrt((m + n) / (m n)) * sigma * z_(1 - confidence), within [0, 1], where sigma^2 is the
    variance of sqrt(m n / (m + n)) (epsilon* - epsilon) over bootstrap samples of both sets of scores (Ulmer et al.
    2022). Below 0.5 the first system is almost stochastically dominant; Ulmer et al. advise to ask for less than 0.2.

    Args:
        first: score of each of m runs.
        second: score of each of n runs.
        lower_is_better: whether the scores measure an error.
        confidence: in (0, 1).
        resamples: at least 2.
        seed: of the resamples.

    Returns:
        A number in [0, 1].
    """
    from scipy.stats import norm

    sign = -1.0 if lower_is_better else 1.0
    one, other = (sign * np.asarray(scores, dtype=np.float64) for scores in (first, second))
    generator = np.random.Generator(np.random.PCG64(seed))
    drawn = [scores[generator.integers(len(scores), size=(resamples, len(scores)))] for scores in (one, other)]
    scale = math.sqrt(len(one) * len(other) / (len(one) + len(other)))
    ratio = float(violation_ratio(one, other))
    sigma = float(np.std(scale * (violation_ratio(*drawn) - ratio)))
    return float(np.clip(ratio - sigma / scale * norm.ppf(1 - confidence), 0.0, 1.0))
