"""Scores by label: of each class, label or type of entity."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from pipeline.compare.page.figures import Figures
from pipeline.compare.page.html import Html, details, heat, join, number, paragraphs, table, tag, user
from pipeline.compare.page.view import Answers, Entry, View

SHOWN = 40
SCORES = ("F1", "precision", "recall")


def section(view: View, figures: Figures) -> Html | None:
    """F1 of each label, and precision and recall on demand; left out for answers without labels."""
    counts = COUNTS.get(view.kind or "")
    if counts is None:
        return None
    labels = _labels(view)
    sums = {e.key: [counts(answers, labels) for answers in view.of(e)] for e in view.entries}
    support = next(iter(sums.values()))[0][:, 2]
    order = np.argsort(-support, kind="stable")
    if not labels:
        return None
    cut = f" The {SHOWN} most frequent of {len(labels)}." if len(labels) > SHOWN else ""
    shown = [(int(place), labels[place], int(support[place])) for place in order[:SHOWN]]
    tables = {score: _table(view, score, shown, sums) for score in SCORES}
    return join(
        [
            paragraphs(f"F1, the most frequent first.{cut}" + " Means over the seeds." * view.several_seeds),
            tables["F1"],
            details("Precision and recall", *(join([tag("h3", s), tables[s]]) for s in SCORES[1:])),
        ]
    )


def _labels(view: View) -> list[str]:
    """The labels of all runs in their order; of ner, the types in the gold rows and the answers."""
    if view.kind == "ner":
        spans = {
            kind
            for answers in view.answers.values()
            for column in ("gold_spans", "predicted_spans")
            for row in getattr(answers, column)
            for _, _, kind in row
        }
        return sorted(spans)
    return list(dict.fromkeys(label for answers in view.answers.values() for label in answers.labels))


def _classes(answers: Answers, labels: list[str]) -> np.ndarray:
    """(L, 3) right answers, answers and gold rows of each label."""
    own = [labels.index(label) for label in answers.labels]
    found = np.zeros((len(labels), 3))
    for column, classes in enumerate(
        (answers.gold[answers.gold == answers.prediction], answers.prediction, answers.gold)
    ):
        found[own, column] = np.bincount(classes[classes >= 0], minlength=len(own))
    return found


def _sets(answers: Answers, labels: list[str]) -> np.ndarray:
    found = np.zeros((len(labels), 3))
    gold, given = answers.gold_sets, answers.prediction_sets
    own = [labels.index(label) for label in answers.labels]
    found[own] = np.stack([(gold & given).sum(axis=0), given.sum(axis=0), gold.sum(axis=0)], axis=1)
    return found


def _types(answers: Answers, labels: list[str]) -> np.ndarray:
    place, found = {label: number for number, label in enumerate(labels)}, np.zeros((len(labels), 3))
    for gold, given in zip(answers.gold_spans, answers.predicted_spans, strict=True):
        for column, spans in enumerate((gold & given, given, gold)):
            for _, _, kind in spans:
                found[place[kind], column] += 1
    return found


COUNTS: dict[str, Callable[[Answers, list[str]], np.ndarray]] = {"single": _classes, "several": _sets, "ner": _types}


def score_of(sums: np.ndarray, score: str) -> np.ndarray:
    """(L,) of sums (L, 3); nan where it is not defined."""
    hits, given, gold = sums.T
    below = {"F1": (given + gold) / 2, "precision": given, "recall": gold}[score]
    with np.errstate(divide="ignore", invalid="ignore"):
        return hits / below


def _table(view: View, score: str, shown: list[tuple[int, str, int]], sums: dict[str, list[np.ndarray]]) -> Html:
    values = {key: np.mean([score_of(run, score) for run in runs], axis=0) for key, runs in sums.items()}
    rows = [
        [user(label), f"{count:,}", *(_cell(values, e, place) for e in view.entries)] for place, label, count in shown
    ]
    return table(["", "gold", *view.heads()], rows, class_="scores")


def _cell(values: dict[str, np.ndarray], entry: Entry, place: int) -> Html:
    value = float(values[entry.key][place])
    return heat(number(value), value if np.isfinite(value) else 0.0)
