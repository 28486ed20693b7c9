"""The words of a split from its windows, and their scores; see `Ner`.

Shapes: S sentences, M words of all sentences.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from pipeline.data.tagging import model_labels, tag_spans
from pipeline.data.tagging import tags as schemes
from pipeline.data.tagging.model_labels import ModelLabels
from pipeline.data.tagging.tag_spans import Tags


class Words(NamedTuple):
    """The M words of S sentences, one sentence after another.

    Attributes:
        gold, predicted: (M,) tags in IOB2, those of the data and those of the model.
        lost: (M,) whether the model has read no token of the word.
        ends: (S,) number of the word after the last of each sentence.
    """

    gold: Tags
    predicted: Tags
    lost: np.ndarray
    ends: np.ndarray

    def sentences(self, start: int, stop: int) -> Words:
        """Some of the sentences."""
        begin, ends = (self.ends[start - 1] if start else 0), self.ends[start:stop]
        own = slice(begin, ends[-1])
        gold, predicted = (Tags(tags.codes[own], tags.names) for tags in (self.gold, self.predicted))
        return Words(gold, predicted, self.lost[own], ends - begin)


def words_of(outcome: dict[str, Any], labels: list[str]) -> Words:
    """The words of a split, whose sentences are joined from their windows; see `Ner.outcome` and `Ner.encode`."""
    (guesses, tokens), (first, words) = (outcome[name] for name in ("prediction", "first"))
    window = np.repeat(np.arange(len(words)), words)  # (M,)
    lost = (first < 0) | (first >= tokens[window])
    # Place of each word's first token among the tokens of all windows, one window after another.
    at = np.where(lost, 0, (np.cumsum(tokens) - tokens)[window] + first)
    known = model_labels.read(labels)
    predicted = Tags(np.where(lost, len(labels), guesses[at]), [*known.iob2, "O"])
    ends = np.cumsum(np.add.reduceat(words, np.flatnonzero(outcome["begins"])))
    if not known.has_begin:
        sentences = (written(own.tolist(), known) for own in np.split(predicted.strings(), ends[:-1]))
        rewritten = itertools.chain.from_iterable(sentences)
        predicted = Tags.of(np.fromiter(rewritten, dtype=object, count=len(predicted.codes)))
    return Words(outcome["tags"], predicted, lost, ends)


def lost_entities(words: Words, spans: tag_spans.Spans) -> np.ndarray:
    """(S,) how many of the entities of each sentence have a word that the model has not read."""
    lost = np.concatenate([[0], np.cumsum(words.lost)])
    begin = np.repeat(np.concatenate([[0], words.ends[:-1]]), spans.counts)
    is_lost = lost[begin + spans.end] > lost[begin + spans.start]
    return np.bincount(np.repeat(np.arange(len(words.ends)), spans.counts), is_lost, len(words.ends)).astype(np.int32)


def scores(
    gold: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]], nll: np.ndarray, tokens: int, lost: int
) -> dict[str, Any]:
    """Scores of sentences, with the NLL of each and the number of labelled tokens and of lost entities in all."""
    from pipeline.metrics.entities import Entities  # takes a second, and prediction needs no metric

    found = Entities(keep_in_memory=True).compute(predictions=predicted, references=gold)
    return {"loss": math.fsum(nll) / max(tokens, 1), **(found or {}), "lost_entities": lost}


def written(tags: list[str], known: ModelLabels) -> list[str]:
    """The tags that a model has predicted for a sentence, in IOB2. Those of a model of IOB2 or BIOES stay as they are,
    invalid ones as well, which the strict score counts as wrong; in IOB1, an entity that begins with I is valid."""
    return tags if known.has_begin else schemes.convert(tags, "iob2")
