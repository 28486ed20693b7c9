"""Which classes are taken for which: a matrix for each contender, or the most frequent confusions of many classes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipeline.compare.page.figures import Figures
from pipeline.compare.page.html import Html, cell, details, heat, join, paragraphs, table, tag, user
from pipeline.compare.page.view import Answers, View

MOST_CLASSES = 12  # of a matrix
OPEN_CLASSES = 4  # up to this many classes, all matrices are shown at once
MOST_PAIRS = 20


def matrix(answers: Answers, labels: Sequence[str] | None = None) -> np.ndarray:
    """(C, C) number of rows by gold class and predicted class, in the order of `labels`, or of the run's own."""
    count = len(answers.labels)
    known = (answers.gold >= 0) & (answers.prediction >= 0)
    flat = answers.gold[known] * count + answers.prediction[known]
    own = np.bincount(flat, minlength=count * count).reshape(count, count)
    order = [answers.labels.index(label) for label in labels or answers.labels]
    return own[np.ix_(order, order)]


def section(view: View, figures: Figures) -> Html | None:
    """Left out unless each row has one class."""
    if view.kind != "single":
        return None
    labels = next(iter(view.answers.values())).labels
    seeds = " Counts of several seeds are added up." * view.several_seeds
    if len(labels) > MOST_CLASSES:
        return join([paragraphs(f"The most frequent confusions.{seeds}"), _pairs(view, labels)])
    tables = [
        tag("div", tag("p", entry.title()), _matrix(total, labels), class_="panel")
        for entry in view.entries
        for total in [_total(view.of(entry), labels)]
    ]
    head = 2 if len(labels) > OPEN_CLASSES else len(tables)
    rest = tables[head:]
    return join(
        [
            paragraphs(f"Rows are the gold classes, columns what was answered; the share is that of the row.{seeds}"),
            tag("div", *tables[:head], class_="panels"),
            details(f"{len(rest)} more", tag("div", *rest, class_="panels")) if rest else "",
        ]
    )


def _total(runs: Sequence[Answers], labels: Sequence[str]) -> np.ndarray:
    return np.sum([matrix(answers, labels) for answers in runs], axis=0)


def _matrix(counts: np.ndarray, labels: Sequence[str]) -> Html:
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    rows = [
        [user(label), *(_cell(int(counts[i, j]), float(shares[i, j]), i == j) for j in range(len(labels)))]
        for i, label in enumerate(labels)
    ]
    return table([tag("small", "gold ↓ answer →"), *(user(label) for label in labels)], rows, class_="confusion")


def _cell(count: int, share: float, is_right: bool) -> Html:
    content = join([f"{count:,}", tag("small", f"{100 * share:.0f} %", class_="interval")])
    if is_right:
        return heat(content, share)
    return cell(content, class_="heat worse", style=f"--v:{share:.2f}")


def _pairs(view: View, labels: Sequence[str]) -> Html:
    totals = [_total(view.of(entry), labels) for entry in view.entries]
    off = sum(totals) * (1 - np.eye(len(labels), dtype=int))
    order = np.argsort(-off, axis=None, kind="stable")[:MOST_PAIRS]
    pairs = [divmod(int(flat), len(labels)) for flat in order if off.flat[flat] > 0]
    rows = [[join([user(labels[g]), " → ", user(labels[p])]), *(int(t[g, p]) for t in totals)] for g, p in pairs]
    return table([join(["gold → answer"]), *view.heads()], rows, class_="scores")
