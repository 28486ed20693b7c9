"""Scores of several labels per row agree with scikit-learn, and the tuned thresholds with a search of all of them."""

from __future__ import annotations

import evaluate
import numpy as np
import pytest
from sklearn import metrics as reference

from pipeline.metrics import multi_label
from pipeline.metrics.multi_label import MultiLabelClassification, best_threshold, best_thresholds


def labels(seed: int, rows: int = 30, classes: int = 4) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    return generator.random((rows, classes)) < 0.3, generator.random((rows, classes)) < 0.4


@pytest.mark.parametrize("seed", range(5))
def test_scores_agree_with_scikit_learn(seed):
    truth, guess = labels(seed)
    if seed == 4:
        truth[:, 2] = guess[:, 2] = False  # a class that never occurs counts as 0, as in scikit-learn
    names = ["a", "b", "c", "d"]
    scores = MultiLabelClassification(keep_in_memory=True).compute(
        predictions=guess, references=truth, label_names=names
    )
    for average in ("micro", "macro"):
        expected = reference.f1_score(truth, guess, average=average, zero_division=0)
        assert scores[f"{average}_f1"] == pytest.approx(expected)
    assert scores["accuracy"] == pytest.approx(reference.accuracy_score(truth, guess))
    columns = reference.precision_recall_fscore_support(truth, guess, zero_division=0)
    for row, name in enumerate(names):
        expected = dict(zip(("precision", "recall", "f1", "support"), (c[row] for c in columns), strict=True))
        assert scores["per_class"][name] == pytest.approx(expected)


def test_rows_without_labels_that_get_none_are_right():
    nothing = np.zeros((3, 2), dtype=bool)
    scores = MultiLabelClassification(keep_in_memory=True).compute(
        predictions=nothing, references=nothing, label_names=["a", "b"]
    )
    assert (scores["accuracy"], scores["micro_f1"]) == (1.0, 0.0)


def test_evaluate_loads_the_metric_from_its_file(tmp_path):
    metric = evaluate.load(multi_label.__file__, keep_in_memory=True, cache_dir=str(tmp_path))
    found = metric.compute(predictions=[[1, 0], [0, 0]], references=[[1, 1], [0, 0]], label_names=["a", "b"])
    assert found["accuracy"] == 0.5


@pytest.mark.parametrize("seed", range(30))
def test_no_threshold_is_better_than_the_tuned_one(seed):
    """Against every threshold that decides some row otherwise, with many equal probabilities and with none."""
    generator = np.random.default_rng(seed)
    truth = generator.random(25) < 0.4
    probabilities = generator.random(25).astype(np.float32)
    if seed % 2:
        probabilities = np.round(probabilities, 1).astype(np.float32)

    def f1(threshold: float) -> float:
        return reference.f1_score(truth, probabilities.astype(np.float64) >= threshold, zero_division=0)

    edges = np.unique([0.0, *probabilities.astype(np.float64), 1.0])
    every = [*edges, *(edges[1:] + edges[:-1]) / 2]
    found = best_threshold(probabilities, truth)
    best = max(map(f1, every))
    assert f1(found) == pytest.approx(best)
    better_above = [threshold for threshold in edges if threshold > found and f1(threshold) >= best - 1e-12]
    cut = probabilities.astype(np.float64) >= found
    assert all(((probabilities.astype(np.float64) >= threshold) == cut).all() for threshold in better_above)


def test_the_best_f1_is_that_of_scikit_learns_precision_recall_curve():
    generator = np.random.default_rng(0)
    truth, probabilities = generator.random(200) < 0.2, generator.random(200)
    precision, recall, _ = reference.precision_recall_curve(truth, probabilities)
    curve = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    found = reference.f1_score(truth, probabilities >= best_threshold(probabilities, truth))
    assert found == pytest.approx(curve.max())


@pytest.mark.parametrize(
    ("probabilities", "truth", "expected"),
    [
        ([0.2, 0.9, 0.6], [False, True, False], 0.75),  # halfway between the neighbours
        ([0.8, 0.4], [True, True], 0.2),  # everything is positive
        ([0.8, 0.4], [False, False], 0.5),  # nothing is
        ([0.0, 0.0], [True, True], 0.0),
        ([1.0, 1.0, 1.0], [True, False, True], 0.5),  # equal probabilities cannot be told apart
    ],
)
def test_a_threshold_lies_halfway_between_what_it_tells_apart(probabilities, truth, expected):
    assert best_threshold(np.array(probabilities), np.array(truth)) == pytest.approx(expected)


def test_one_threshold_for_all_maximises_micro_f1_and_one_per_label_the_f1_of_each():
    generator = np.random.default_rng(3)
    truth = generator.random((60, 3)) < [0.1, 0.5, 0.0]
    probabilities = np.clip(generator.random((60, 3)) * 0.5 + truth * [0.1, 0.4, 0.0], 0, 1)
    (one, *others) = best_thresholds(probabilities, truth, per_label=False)
    assert others == [one, one]
    assert one == best_threshold(probabilities.ravel(), truth.ravel())
    each = best_thresholds(probabilities, truth, per_label=True)
    assert each == [best_threshold(probabilities[:, index], truth[:, index]) for index in range(3)]
    assert each[2] == 0.5
    macro = [reference.f1_score(truth, probabilities >= t, average="macro", zero_division=0) for t in (one, each)]
    assert macro[1] > macro[0]
