"""Entity precision, recall and F1 by seqeval, in conlleval's convention and strict, as an `evaluate.Metric`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import datasets
import evaluate

DESCRIPTION = "Scores of named entities, whole and of the right type; fractions between 0 and 1."

CITATION = "Nakayama 2018, seqeval; the convention is that of conlleval (Tjong Kim Sang & De Meulder 2003)."

INPUTS = """
Args:
    predictions (N lists): IOB2 tags of the words of each sentence.
    references (N lists): likewise, as many.
Returns:
    precision, recall, f1: micro averages in conlleval's convention, where an I that continues nothing begins an entity;
    strict_f1: the same where an entity counts only if its tags are valid IOB2;
    accuracy: of the tags of words;
    per_type: type -> precision, recall, f1, support, in conlleval's convention. 0/0 counts as 0.
"""


class Entities(evaluate.Metric):
    """Entity precision, recall and F1 over all types and for each of them."""

    def _info(self) -> evaluate.MetricInfo:
        tags = datasets.List(datasets.Value("string"))
        features = datasets.Features({"predictions": tags, "references": tags})
        return evaluate.MetricInfo(
            description=DESCRIPTION, citation=CITATION, inputs_description=INPUTS, features=features
        )

    def _compute(self, predictions: Sequence[Sequence[str]], references: Sequence[Sequence[str]]) -> dict[str, Any]:
        # Only now: it takes a second to import, which who only asks for entities need not wait for.
        from seqeval.metrics import accuracy_score, classification_report, f1_score
        from seqeval.scheme import IOB2

        truth, guess = [list(tags) for tags in references], [list(tags) for tags in predictions]
        if any(tag != "O" for tags in (*truth, *guess) for tag in tags):
            report = classification_report(truth, guess, output_dict=True, zero_division=0)
            strict = f1_score(truth, guess, mode="strict", scheme=IOB2, zero_division=0)
        else:  # seqeval fails where there is nothing to count
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
