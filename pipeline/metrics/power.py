"""The smallest true difference that a comparison of this size finds with a given power."""

from __future__ import annotations

import math

ALPHA = 0.05
POWER = 0.8


def detectable_difference_of_shares(
    discordant_share: float, rows: int, alpha: float = ALPHA, power: float = POWER
) -> float:
    """The smallest difference of two accuracies on the same rows that McNemar's test finds with probability `power`.

    The delta that solves Connor's (1987) formula for the number of rows,
    N = (z_(1 - alpha/2) sqrt(p) + z_power sqrt(p - delta^2))^2 / delta^2, with p the share of discordant rows; Card et
    al. (2020) recommend to report it. If delta would exceed p, so few rows are discordant that no
    difference could be found; then p = delta, where one system alone is right on all of them.

    Args:
        discordant_share: rows that exactly one of the systems gets right, as a share of all, in [0, 1].
        rows: N, at least 1.
        alpha: of the two-sided test, in (0, 1).
        power: in (0, 1).

    Returns:
        A difference in (0, 1].
    """
    significance, found = _quantile(1 - alpha / 2), _quantile(power)
    # (delta sqrt(N) - a)^2 = b^2 (p - delta^2) is quadratic in delta.
    a, b = significance * math.sqrt(discordant_share), found
    leading = rows + b * b
    root = a * a * rows - leading * (a * a - b * b * discordant_share)
    delta = (a * math.sqrt(rows) + math.sqrt(max(root, 0.0))) / leading
    if delta >= discordant_share:
        delta = _with_all_discordant_rows_on_one_side(rows, significance, found)
    return min(delta, 1.0)


def _with_all_discordant_rows_on_one_side(rows: int, significance: float, found: float) -> float:
    """The delta that solves the formula with p = delta, by bisection: N delta rises faster than the other side."""
    low, high = 0.0, 1.0
    for _ in range(60):
        delta = (low + high) / 2
        enough = rows * delta >= (significance + found * math.sqrt(1 - delta)) ** 2
        low, high = (low, delta) if enough else (delta, high)
    return high


def detectable_difference(
    standard_error: float, degrees_of_freedom: float = math.inf, alpha: float = ALPHA, power: float = POWER
) -> float:
    """The smallest difference that a two-sided test finds with probability `power`: (z_(1 - alpha/2) + z_power) * SE.

    With few degrees of freedom, quantiles of Student's t take the place of the normal ones (Bloom 1995).

    Args:
        standard_error: of the difference, at least 0.
        degrees_of_freedom: of the standard error; infinite for a bootstrap over rows.
        alpha: in (0, 1).
        power: in (0, 1).
    """
    return (_quantile(1 - alpha / 2, degrees_of_freedom) + _quantile(power, degrees_of_freedom)) * standard_error


def _quantile(probability: float, degrees_of_freedom: float = math.inf) -> float:
    from scipy.stats import norm, t

    return float(norm.ppf(probability) if math.isinf(degrees_of_freedom) else t.ppf(probability, degrees_of_freedom))
