"""Claims 4, 5, 7 and 8, which scores alone decide."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from pipeline.studies.claims import drawing, rules
from pipeline.studies.claims.sections.figures import SCORE_RULE, Measured, in_words, points, score_of
from pipeline.studies.claims.statements import Picture, Section


def _compared(number: int, title: str, claim: str, method: str, pairs: Sequence[tuple[Any, str, str, str]]) -> Section:
    """A claim that only scores decide.

    Args:
        pairs: the comparison, the contender that is said to be better, the other one, and the statement.
    """
    statements = [rules.is_better(*pair) for pair in pairs]
    rows: list[list[str]] = []
    for comparison, better, other, _ in pairs:
        for name in (other, better):
            row = [name, *_costs(comparison, name), f"{score_of(comparison, name)} {_score_name(comparison)}"]
            rows += [row] if row not in rows else []
    panels = [points(comparison, comparison["task"].replace("_", " ")) for comparison, *_ in pairs]
    remarks = [f"{sentence}." for comparison, *_ in pairs for sentence in comparison["sentences"]]
    headings = ["contender", "parameters", "seconds of training", "score on test"]
    picture = Picture(drawing.draw(panels), in_words(statements))
    return Section(number, title, claim, [f"{method} {SCORE_RULE}"], statements, picture, [headings, *rows], remarks)


def _score_name(comparison: Mapping[str, Any]) -> str:
    return str(comparison["scores"][0]).replace("_", " ")


def _costs(comparison: Mapping[str, Any], name: str) -> list[str]:
    """Parameters, and the median seconds of training."""
    contender = next(each for each in comparison["contenders"] if each["name"] == name)
    runs = contender["train"]
    return [f"{runs[0]['parameters']:,}", f"{np.median([run['training_seconds'] for run in runs]):.0f}"]


def both_ways(measured: Measured) -> Section:
    """Claim 4."""
    return _compared(
        4,
        "Reading in both directions helps",
        "Where the whole text is known, a second layer that reads from right to left improves the score.",
        "The recipe sentiment_lstm, and the recipe ner_bilstm, with model.bidirectional and without; nothing else"
        " differs, so the bidirectional model has twice the recurrent parameters.",
        [
            (measured["compare-both-ways"], "lstm-both-ways", "lstm", "it helps to classify texts"),
            (measured["compare-ner"], "ner-both-ways", "ner-one-way", "it helps to find names"),
        ],
    )


def stacking(measured: Measured) -> Section:
    """Claim 5."""
    return _compared(
        5,
        "Two layers, and all outputs instead of the last",
        "A second layer, which needs all outputs of the first (return_sequences=True in Keras), improves the score, and"
        " so does attention over all outputs instead of the last state.",
        "The recipe sentiment_lstm with model.layers 1 and 2, and with model.pooling last and attention.",
        [
            (measured["compare-layers"], "lstm-two-layers", "lstm", "two layers are better than one"),
            (measured["compare-attention"], "lstm-attention", "lstm", "attention is better than the last state"),
        ],
    )


def positions(measured: Measured) -> Section:
    """Claim 7."""
    return _compared(
        7,
        "Positions help a transformer",
        "Attention alone sees a set of words; position embeddings give it their order.",
        "The recipes sentiment_transformer and next_word_gpt2 with model.positions learned and none. BERT without"
        " positions cannot tell two orders apart; GPT-2 can, because each word reads only those to its left (Haviv et"
        " al. 2022).",
        [
            (measured["compare-positions"], "bert-positions", "bert-no-positions", "positions help to classify texts"),
            (measured["compare-gpt2"], "gpt2-positions", "gpt2-no-positions", "positions help to predict words"),
        ],
    )


def pretraining(measured: Measured) -> Section:
    """Claim 8."""
    small = next(each for each in measured["compare-positions"]["contenders"] if each["name"] == "bert-positions")
    section = _compared(
        8,
        "Pretraining",
        "A pretrained transformer is better than the same one trained from scratch on the task's own data.",
        "MiniLM as in the recipe sentiment_bert, against a BERT of the same sizes with random weights and MiniLM's"
        " tokenizer; both have one pass over the same rows. The one from scratch has the learning rate of the recipe"
        " sentiment_transformer, and position embeddings for 128 words instead of 512.",
        [
            (
                measured["compare-pretraining"],
                "minilm-pretrained",
                "minilm-scratch",
                "pretraining helps to classify texts",
            )
        ],
    )
    remark = (
        "One pass is little for six layers with random weights: the small BERT of claim 7, which is also trained from"
        f" scratch, reaches {small['scores']['accuracy']['value']:.4f} after five passes."
    )
    return replace(section, remarks=[*section.remarks, remark])
