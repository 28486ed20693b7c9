"""The names of a tagger's labels: as the model has learnt them, and as other programs read them."""

from __future__ import annotations

from typing import Any

# The letters of BIOES, BILOU, BMES and BMEWO in those of IOB2.
IOB2 = {"S": "B", "U": "B", "W": "B", "E": "I", "L": "I", "M": "I"}


def outward(label: str) -> str:
    """A label of BIOES in IOB2: S-x is B-x, and E-x is I-x. Others stay as they are.

    The pipelines of transformers join the words of an entity by B- and I- alone, so a label such as E-x would begin an
    entity of the type E-x.
    """
    prefix, hyphen, kind = label.partition("-")
    return IOB2.get(prefix, prefix) + hyphen + kind if hyphen else label


def learned_labels(config: Any) -> list[str]:
    """The labels by id, as the model has learnt them: those of `config.learned_labels`, if they are what
    `config.id2label` names outward, else those of `config.id2label`.

    The check is for a model that was given other labels after it was saved: its config.json may keep the old ones.
    """
    named = [str(config.id2label[index]) for index in range(len(config.id2label))]
    learned = getattr(config, "learned_labels", None)
    return learned if learned and list(map(outward, learned)) == named else named


__all__ = ["learned_labels", "outward"]
