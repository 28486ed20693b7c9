"""Entity precision, recall and F1 from seqeval, counted as by conlleval and strictly: an `evaluate.Metric`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import datasets
import evaluate

DESCRIPTION = "Scores of named entities; an entity counts if its boundaries and type are right. Between 0 and 1."

CITATION = "Nakayama 2018, seqeval; counted as by conlleval (Tjong Kim Sang & De Meulder 2003)."

INPUTS = """
Args:
    predictions (N lists): IOB2 tags of the words of each sentence.
    references (N lists): the true tags, one for each prediction.
Returns:
    precision, recall, f1: micro averages as conlleval counts: an I tag that continues no entity begins one;
    strict_f1: micro average in which an entity counts only if its tags are valid IOB2;
    accuracy: share of words with the right tag;
    per_type: type -> precision, recall, f1, support, as conlleval counts. 0/0 counts as 0.
"""


class Entities(evaluate.Metric):
    """Entity precision, recall and F1, over all types and per type."""

    def _info(self) -> evaluate.MetricInfo:
        tags = datasets.List(datasets.Value("string"))
        features = datasets.Features({"predictions": tags, "references": tags})
        return evaluate.MetricInfo(
            description=DESCRIPTION, citation=CITATION, inputs_description=INPUTS, features=features
        )

    def _compute(self, predictions: Sequence[Sequence[str]], references: Sequence[Sequence[str]]) -> dict[str, Any]:
        # Imported here because it takes a second, which `finetune predict` need not wait for.
        from seqeval.metrics import accuracy_score, classification_report, f1_score
        from seqeval.scheme import IOB2

        truth, guess = [list(tags) for tags in references], [list(tags) for tags in predictions]
        if any(tag != "O" for tags in (*truth, *guess) for tag in tags):
            report = classification_report(truth, guess, output_dict=True, zero_division=0)
            strict = f1_score(truth, guess, mode="strict", scheme=IOB2, zero_division=0)
        else:  # seqeval raises an error if there is no entity
            report, strict = {"micro avg": dict.fromkeys(KEYS.values(), 0.0)}, 0.0
        averages = {name for name in report if name.endswith(" avg")}
        return {
            **_figures(report["micro avg"], ("precision", "recall", "f1")),
            "strict_f1": float(strict),
            "accuracy": float(accuracy_score(truth, guess)),
            "per_type": {
                name: {**_figures(figures, ("precision", "recall", "f1")), "support": int(figures["support"])}
                for name, figures in report.items()
                if name not in averages
            },
        }


KEYS = {"precision": "precision", "recall": "recall", "f1": "f1-score"}


def _figures(report: dict[str, Any], names: Sequence[str]) -> dict[str, float]:
    return {name: float(report[KEYS[name]]) for name in names}
