"""The best validation score that one may expect from a number of trials, as a table and as a picture.

Dodge, Gururangan, Card, Schwartz, Smith 2019, "Show Your Work: Improved Reporting of Experimental Results" (D19-1224),
section 3.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pipeline import storage

# Rows of the table, as far as there are trials; the last number of trials always is one.
SHOWN = (1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 25, 30, 40, 50, 75, 100, 150, 200, 300, 500, 1000)


def expected_best(scores: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of the best of n scores, for n from 1 to N, in arrays of shape (N,); higher scores are better.

    The n scores are drawn from the empirical distribution of all N, with replacement. With F the empirical cumulative
    distribution function, the best of them is at most v with probability F(v)^n, so that over the sorted scores
    E[best] = sum_i v_i (F(v_i)^n - F(v_{i-1})^n).

    Args:
        scores: one for each trial; at least one.
    """
    values = np.sort(np.asarray(scores, dtype=np.float64))
    count = len(values)
    at_most = (np.arange(count + 1) / count)[None, :] ** np.arange(1, count + 1)[:, None]  # (n, i): F(v_i)^n
    chances = np.diff(at_most, axis=1)  # (n, i): the best of n is the i-th score
    means = chances @ values
    variances = (chances * (values[None, :] - means[:, None]) ** 2).sum(axis=1)
    return means, variances


def rows(scores: Sequence[float], lower_is_better: bool) -> list[tuple[int, float, float]]:
    """Number of trials, expected best score and its standard deviation, for `SHOWN`."""
    sign = -1.0 if lower_is_better else 1.0
    means, variances = expected_best([sign * score for score in scores])
    shown = sorted({n for n in SHOWN if n < len(scores)} | {len(scores)})
    return [(n, sign * float(means[n - 1]), float(np.sqrt(variances[n - 1]))) for n in shown]


def plot(scores: Sequence[float], lower_is_better: bool, name: str, file: Path) -> None:
    """Draw the expected best score against the number of trials, with a band of one standard deviation, as SVG.

    Args:
        name: of the score.
        file: where to write it; the same scores give the same bytes.
    """
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    sign = -1.0 if lower_is_better else 1.0
    means, variances = expected_best([sign * score for score in scores])
    trials, means, spread = np.arange(1, len(means) + 1), sign * means, np.sqrt(variances)
    with matplotlib.rc_context({"svg.hashsalt": "finetune", "svg.fonttype": "none"}):
        figure = Figure(figsize=(6, 4), layout="constrained")
        axes = figure.add_subplot(xlabel="trials", ylabel=f"expected best validation {name}")
        axes.fill_between(trials, means - spread, means + spread, alpha=0.2, linewidth=0)
        axes.plot(trials, means, marker="o", markersize=3)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        with storage.published(file) as aside:
            figure.savefig(aside, format="svg", metadata={"Date": None})
