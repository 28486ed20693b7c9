"""Writes the answers of `finetune predict` as files that annotation tools import, so that people can correct them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from pipeline.data.annotations.notes import Notes
from pipeline.data.annotations.spans import Span, Tagger
from pipeline.errors import UserError

# Format -> the usual suffix of its files.
SUFFIXES = {"doccano": ".jsonl", "label-studio": ".json", "spacy": ".jsonl", "conll": ".conll"}
FORMATS = tuple(SUFFIXES)
# The names that Label Studio's template for named entities gives to its tags.
FROM_NAME, TO_NAME = "label", "text"
OWN_KEYS = ("text", "entities", "words", "tokens", "tags")


def write_rows(answers: Iterable[Mapping[str, Any]], format: str) -> Iterator[str]:
    """A file in `format`, piece by piece, with its line ends.

    Args:
        answers: of a model of named entities: `text`, and `entities` with type, start, end, text and score. `tokens`
            and `tags` if the model was given words; or else `words`, the start and end of each of its words, if they
            are not those of `word_patterns.cut`. Other keys are written where the tool keeps them.

    Raises:
        UserError: there is no such format, or an answer has no entities.
    """
    before, between, behind = ("[\n", ",\n", "\n]\n") if format == "label-studio" else ("", "", "")
    yield before
    for number, answer in enumerate(answers):
        yield (between if number else "") + write_row(answer, format)
    yield behind


def write_row(answer: Mapping[str, Any], format: str) -> str:
    """An answer in `format`; for Label Studio, an item of the list that a file is.

    Raises:
        UserError: there is no such format, or the answer has no entities.
    """
    if format not in WRITERS:
        raise UserError(f"format: {format} cannot be written; there are: {', '.join(FORMATS)}")
    if not isinstance(answer.get("entities"), list):
        raise UserError(f"format: {format} holds entities, which this model does not find; leave it out")
    return WRITERS[format](answer)


def _doccano(answer: Mapping[str, Any]) -> str:
    label = [[entity["start"], entity["end"], entity["type"]] for entity in answer["entities"]]
    return _line({**_others(answer), "text": answer["text"], "label": label})


def _spacy(answer: Mapping[str, Any]) -> str:
    entities = [[entity["start"], entity["end"], entity["type"]] for entity in answer["entities"]]
    return _line({**_others(answer), "text": answer["text"], "entities": entities})


def _label_studio(answer: Mapping[str, Any]) -> str:
    """A task with a prediction; its score is the lowest of its entities, by which tasks can be sorted."""
    results = [
        {
            "id": f"entity{number}",
            "from_name": FROM_NAME,
            "to_name": TO_NAME,
            "type": "labels",
            "value": {**_place(entity), "text": entity["text"], "labels": [entity["type"]]},
            **({"score": entity["score"]} if "score" in entity else {}),
        }
        for number, entity in enumerate(answer["entities"])
    ]
    scores = [entity["score"] for entity in answer["entities"] if "score" in entity]
    prediction = {"model_version": "finetune", **({"score": min(scores)} if scores else {}), "result": results}
    task = {"data": {**_others(answer), "text": answer["text"]}, "predictions": [prediction]}
    return json.dumps(task, ensure_ascii=False)


def _conll(answer: Mapping[str, Any]) -> str:
    """A word and its tag on each line, and a blank line; nothing for a text without words."""
    if "tags" in answer:
        return _lines(answer["tokens"], answer["tags"])
    entities = [Span(entity["start"], entity["end"], entity["type"]) for entity in answer["entities"]]
    words = [tuple(place) for place in answer["words"]] if "words" in answer else None
    return _lines(*Tagger(Notes("")).tag("format", answer["text"], entities, words))


def _lines(tokens: Sequence[str], tags: Sequence[str]) -> str:
    # A word never contains a blank, or a reader would take its end for the tag.
    lines = [f"{''.join(token.split())}\t{tag}\n" for token, tag in zip(tokens, tags, strict=True)]
    return "".join([*lines, "\n"]) if lines else ""


def _place(entity: Mapping[str, Any]) -> dict[str, int]:
    return {"start": entity["start"], "end": entity["end"]}


def _others(answer: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in answer.items() if name not in OWN_KEYS}


def _line(row: Mapping[str, Any]) -> str:
    return json.dumps(row, ensure_ascii=False) + "\n"


WRITERS = {"doccano": _doccano, "label-studio": _label_studio, "spacy": _spacy, "conll": _conll}
