"""Entity precision, recall and F1, counted as by conlleval and strictly: an `evaluate.Metric`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import datasets
import evaluate

from pipeline.data.tagging.tags import Span, spans, split

DESCRIPTION = "Scores of named entities; an entity counts if its boundaries and type are right. Between 0 and 1."

CITATION = "conlleval, the script of the CoNLL-2000 and CoNLL-2003 shared tasks (Tjong Kim Sang & De Meulder 2003)."

INPUTS = """
Args:
    predictions (N lists): IOB2 tags of the words of each sentence.
    references (N lists): the true tags, one for each prediction.
Returns:
    precision, recall, f1: micro averages as conlleval counts: an I tag that continues no entity begins one;
    strict_f1: micro average in which an entity counts only if its tags are valid IOB2;
    accuracy: share of words with the right tag;
    per_type: type -> precision, recall, f1, support, as conlleval counts. 0/0 counts as 0.
Raises:
    ValueError: a prediction and its reference differ in length.
"""

Sentences = Sequence[Sequence[str]]


class Entities(evaluate.Metric):
    """Entity precision, recall and F1, over all types and per type."""

    def _info(self) -> evaluate.MetricInfo:
        tags = datasets.List(datasets.Value("string"))
        features = datasets.Features({"predictions": tags, "references": tags})
        return evaluate.MetricInfo(
            description=DESCRIPTION, citation=CITATION, inputs_description=INPUTS, features=features
        )

    def _compute(self, predictions: Sentences, references: Sentences) -> dict[str, Any]:
        hits, found, support = counts(predictions, references, spans)
        strict = counts(predictions, references, valid_spans)
        return {
            **figures(hits.total(), found.total(), support.total()),
            "strict_f1": figures(*(counter.total() for counter in strict))["f1"],
            "accuracy": accuracy(predictions, references),
            "per_type": {
                kind: {**figures(hits[kind], found[kind], support[kind]), "support": support[kind]}
                for kind in sorted(found.keys() | support.keys())
            },
        }


def counts(
    predictions: Sentences, references: Sentences, read: Callable[[Iterable[str]], list[Span]]
) -> tuple[Counter[str], Counter[str], Counter[str]]:
    """Entities per type that are right, predicted and true, where `read` finds those of a sentence."""
    hits, found, support = Counter[str](), Counter[str](), Counter[str]()
    for guess, truth in zip(predictions, references, strict=True):
        predicted, true = set(read(guess)), set(read(truth))
        for counter, entities in ((hits, predicted & true), (found, predicted), (support, true)):
            counter.update(kind for kind, _, _ in entities)
    return hits, found, support


def valid_spans(tags: Iterable[str]) -> list[Span]:
    """Entities that valid IOB2 tags mark: a B, and each I of its type that follows. Any other I belongs to none."""
    words = list(tags)
    return [(kind, start, end) for kind, start, end in spans(words) if split(words[start])[0] == "B"]


def figures(hits: int, found: int, support: int) -> dict[str, float]:
    """Precision, recall and F1 from the numbers of right, predicted and true entities; 0/0 is 0."""
    return {
        "precision": hits / max(found, 1),
        "recall": hits / max(support, 1),
        "f1": 2 * hits / max(found + support, 1),
    }


def accuracy(predictions: Sentences, references: Sentences) -> float:
    """Share of words whose tag is right; 0 if there is no word."""
    pairs = [pair for rows in zip(predictions, references, strict=True) for pair in zip(*rows, strict=True)]
    return sum(guess == truth for guess, truth in pairs) / max(len(pairs), 1)
