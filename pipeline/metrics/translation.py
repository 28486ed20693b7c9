"""BLEU and chrF by sacrebleu: an `evaluate.Metric`. `ngrams` has them as functions of sums over sentences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import datasets
import evaluate
from sacrebleu.metrics import BLEU, CHRF

DESCRIPTION = "How much translations have in common with references: BLEU by words, chrF by characters."

CITATION = """BLEU: Papineni et al. 2002. chrF: Popovic 2015. Details that change the scores by points are those of
sacrebleu (Post 2018)."""

INPUTS = """
Args:
    predictions (N,): translations.
    references (N,): the reference of each.
Returns:
    bleu, chrf: from 0 to 100; bleu_signature, chrf_signature: how sacrebleu has computed them.
"""


class Translation(evaluate.Metric):
    """Corpus BLEU and chrF, with their signatures."""

    def _info(self) -> evaluate.MetricInfo:
        features = datasets.Features({"predictions": datasets.Value("string"), "references": datasets.Value("string")})
        return evaluate.MetricInfo(
            description=DESCRIPTION, citation=CITATION, inputs_description=INPUTS, features=features
        )

    def _compute(self, predictions: Sequence[str], references: Sequence[str]) -> dict[str, Any]:
        return scores(predictions, references)


def scores(predictions: Sequence[str], references: Sequence[str]) -> dict[str, Any]:
    """Corpus BLEU and chrF as sacrebleu prints them, with their signatures."""
    found: dict[str, Any] = {}
    for name, metric in (("bleu", BLEU(force=True)), ("chrf", CHRF())):
        found[name] = float(metric.corpus_score(list(predictions), [list(references)]).score)
        found[f"{name}_signature"] = str(metric.get_signature())
    return found
