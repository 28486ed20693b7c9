"""Classification scores agree with scikit-learn and need no network."""

from __future__ import annotations

import evaluate
import numpy as np
import pytest
from sklearn import metrics as reference

from pipeline.metrics import classification
from pipeline.metrics.classification import Classification


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("classes", [2, 5])
def test_scores_agree_with_scikit_learn(seed, classes):
    generator = np.random.default_rng(seed)
    truth, guess = generator.integers(0, classes, (2, 40))
    names = [f"class {number}" for number in range(classes)]
    scores = Classification(keep_in_memory=True).compute(predictions=guess, references=truth, label_names=names)
    assert scores["accuracy"] == pytest.approx(reference.accuracy_score(truth, guess))
    assert scores["macro_f1"] == pytest.approx(reference.f1_score(truth, guess, average="macro"))
    assert scores["confusion"] == reference.confusion_matrix(truth, guess, labels=range(classes)).tolist()
    columns = reference.precision_recall_fscore_support(truth, guess, labels=range(classes), zero_division=0)
    for row, name in enumerate(names):
        expected = dict(zip(("precision", "recall", "f1", "support"), (c[row] for c in columns), strict=True))
        assert scores["per_class"][name] == pytest.approx(expected)


def test_a_class_that_never_occurs_does_not_count_into_macro_f1():
    names = ["a", "b", "c"]
    scores = Classification(keep_in_memory=True).compute(predictions=[0, 1], references=[0, 1], label_names=names)
    assert scores["macro_f1"] == 1.0
    assert scores["per_class"]["c"] == {"precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 0}


def test_evaluate_loads_the_metric_from_its_file(tmp_path):
    metric = evaluate.load(classification.__file__, keep_in_memory=True, cache_dir=str(tmp_path))
    assert metric.compute(predictions=[0, 1], references=[1, 1], label_names=["a", "b"])["accuracy"] == 0.5
