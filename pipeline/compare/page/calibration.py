"""Calibration: whether a probability of 0.8 is right in 80 of 100 cases, and what temperature scaling would give.

The expected calibration error (ECE) has 15 bins of equal width, and temperature scaling divides the logits by one
number that is fitted on the validation split (Guo et al., "On Calibration of Modern Neural Networks", 2017, sections 2
and 4.2). Of several labels, each pair of a row and a label is a case, and its probability that of the label.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.compare.page.figures import INK, Figures, axes, colour, group, label_ends, line_style
from pipeline.compare.page.html import Html, join, number, paragraphs, table
from pipeline.compare.page.view import Answers, Entry, View

BINS = 15
FEWEST = 5  # cases of a bin that is drawn; of fewer, the share says nothing
TEMPERATURES = (0.05, 20.0)
TINY = float(np.finfo(np.float32).tiny)
# A float32 of 1 stands for anything nearer to 1 than half of the distance to the number below it.
NEAREST_TO_ONE = float(np.finfo(np.float32).epsneg) / 2


@dataclass(frozen=True)
class Cases:
    """What a model was confident of, and whether it was right. N cases.

    Attributes:
        logits: (N, C) up to a constant for each row; of several labels (N * C, 2), the first for the label.
        gold: (N,) index of the right one.
        by_label: whether the confidence is that of the first column, not of the most probable one.
    """

    logits: np.ndarray
    gold: np.ndarray
    by_label: bool

    def confidence(self, temperature: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
        """(N,) probability of the answer, and (N,) whether it is right."""
        log_p = self._log_probabilities(temperature)
        if self.by_label:
            return np.exp(log_p[:, 0]), self.gold == 0
        answer = log_p.argmax(axis=1)
        return np.exp(log_p[np.arange(len(answer)), answer]), answer == self.gold

    def nll(self, temperature: float = 1.0) -> float:
        """Mean negative log-likelihood."""
        log_p = self._log_probabilities(temperature)
        return float(-log_p[np.arange(len(self.gold)), self.gold].mean())

    def _log_probabilities(self, temperature: float) -> np.ndarray:
        scaled = self.logits / temperature
        scaled = scaled - scaled.max(axis=1, keepdims=True)
        return scaled - np.log(np.exp(scaled).sum(axis=1, keepdims=True))


def cases(answers: Answers) -> Cases:
    """The cases of a run; rows whose gold class the model does not know are left out."""
    if answers.info.problem_type == "multi_label_classification":
        p = answers.scores.ravel()
        logits = np.stack([np.log(np.maximum(p, TINY)), np.log(np.maximum(1 - p, NEAREST_TO_ONE))], axis=1)
        return Cases(logits, np.where(answers.gold_sets.ravel(), 0, 1), True)
    known = answers.gold >= 0
    return Cases(np.log(np.maximum(answers.scores[known], TINY)), answers.gold[known], False)


def bins(confidence: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(BINS,) number of cases, mean confidence and share of right ones in each bin; nan where a bin is empty.

    Bin m holds confidences in (m/15, (m+1)/15].
    """
    place = np.clip(np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1)
    count = np.bincount(place, minlength=BINS)
    with np.errstate(invalid="ignore"):
        mean = np.bincount(place, confidence, BINS) / count
        share = np.bincount(place, right.astype(float), BINS) / count
    return count, mean, share


def ece(confidence: np.ndarray, right: np.ndarray) -> float:
    """Expected calibration error, in [0, 1] (Guo et al. 2017, equation 3)."""
    count, mean, share = bins(confidence, right)
    filled = count > 0
    return float((count[filled] * np.abs(mean - share)[filled]).sum() / max(count.sum(), 1))


def temperature(validation: Cases) -> float:
    """The temperature with the lowest NLL, between 0.05 and 20."""
    from scipy.optimize import minimize_scalar

    low, high = np.log(TEMPERATURES)
    found = minimize_scalar(
        lambda log_t: validation.nll(float(np.exp(log_t))),
        bounds=(low, high),
        method="bounded",
        options={"xatol": 1e-3},
    )
    return float(np.exp(found.x))


@dataclass(frozen=True)
class Calibration:
    """A contender's calibration; several seeds have a mean each.

    Attributes:
        temperature, scaled_ece, scaled_nll: None if validation rows were not kept.
        before, after: confidences and whether they are right, of all runs together.
    """

    entry: Entry
    ece: float
    nll: float
    temperature: float | None
    scaled_ece: float | None
    scaled_nll: float | None
    before: tuple[np.ndarray, np.ndarray]
    after: tuple[np.ndarray, np.ndarray] | None


def section(view: View, figures: Figures) -> Html | None:
    """Left out for answers that have no probability."""
    if view.kind not in ("single", "several"):
        return None
    found = [_calibration(view, entry) for entry in view.entries]
    said = (
        "A model is well calibrated if it is right as often as it says: then its line is on the diagonal, and its ECE"
        " (expected calibration error, 15 bins of equal width) is 0. Below the diagonal, it is too sure of itself. Bins"
        f" of fewer than {FEWEST} cases are not drawn."
    )
    if view.kind == "several":
        said += " Each label of each row is a case."
    scaled = (
        "Temperature scaling divides the logits by T, which is fitted on the validation rows. It does not change which"
        " class is the most probable. T above 1: the model was too sure of itself."
    )
    pictures = [_picture(figures, "As trained", [(c.entry, c.before) for c in found])]
    if any(c.after for c in found):
        pictures.append(_picture(figures, "After temperature scaling", [(c.entry, c.after) for c in found if c.after]))
    header = ["", "ECE", "NLL", "T", "ECE scaled", "NLL scaled"]
    rows = [[c.entry.title(), *_row(c)] for c in found]
    return join([paragraphs(said, scaled), view.legend(), group(*pictures), table(header, rows, class_="scores")])


def _row(c: Calibration) -> list[str]:
    return [number(value) for value in (c.ece, c.nll, c.temperature, c.scaled_ece, c.scaled_nll)]


def _calibration(view: View, entry: Entry) -> Calibration:
    runs = [run for run in entry.contender.runs if run.name in view.answers]
    own = [cases(view.answers[run.name]) for run in runs]
    confidences = [c.confidence() for c in own]
    kept = [view.validation(run) for run in runs]
    fitted = [temperature(cases(answers)) for answers in kept if answers is not None and answers.table.num_rows]
    after = [c.confidence(t) for c, t in zip(own, fitted, strict=False)] if len(fitted) == len(own) else []
    return Calibration(
        entry,
        _mean([ece(*c) for c in confidences]) or 0.0,
        _mean([c.nll() for c in own]) or 0.0,
        _mean(fitted) if after else None,
        _mean([ece(*c) for c in after]),
        _mean([c.nll(t) for c, t in zip(own, fitted, strict=False)]) if after else None,
        _together(confidences),
        _together(after) if after else None,
    )


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None


def _together(parts: Sequence[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    return np.concatenate([c for c, _ in parts]), np.concatenate([r for _, r in parts])


def _picture(figures: Figures, title: str, found: Sequence[tuple[Entry, tuple[np.ndarray, np.ndarray]]]) -> Html:
    where = axes("probability of the answer", "share that is right", height=300)
    where.plot([0, 1], [0, 1], color=INK, linewidth=1, linestyle=(0, (2, 3)), alpha=0.6)
    binned = [(entry, bins(*data)) for entry, data in found]
    low = min(float(mean[count >= min(FEWEST, count.max())].min()) for _, (count, mean, _) in binned)
    ends = []
    for entry, (count, mean, share) in reversed(binned):
        filled = count >= FEWEST if (count >= FEWEST).any() else count > 0
        where.plot(mean[filled], share[filled], color=colour(entry), **_without_colour(entry))
        sizes = 6 + 60 * count[filled] / count.sum()
        where.scatter(mean[filled], share[filled], s=sizes, color=colour(entry), zorder=3)
        ends.append((float(share[filled][-1]), entry))
    where.set_xlim(max(0.0, np.floor(low * 10) / 10), 1.01)
    where.set_ylim(0, 1.01)
    label_ends(where, ends)
    rows = [
        [entry.title(), f"{m / BINS:.2f}–{(m + 1) / BINS:.2f}", f"{n:,}", number(c), number(s)]
        for entry, (counts, means, shares) in binned
        for m, (n, c, s) in enumerate(zip(counts, means, shares, strict=True))
        if n
    ]
    said = "; ".join(f"{entry.key}: ECE {number(ece(*data))}" for entry, data in found)
    header = ["", "probability", "cases", "mean probability", "share right"]
    return figures.figure(where, title, f"Reliability diagram. {said}.", header, rows)


def _without_colour(entry: Entry) -> dict:
    style = line_style(entry)
    return {"linestyle": style["linestyle"], "linewidth": 1.4}
