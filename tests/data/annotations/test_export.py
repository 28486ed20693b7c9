"""What `finetune predict` writes for annotation tools: what they import, and what we read again."""

from __future__ import annotations

import json
import random

import pytest

from pipeline.config.data import Data
from pipeline.data import sources
from pipeline.data.annotations.export import FORMATS, SUFFIXES, write_row, write_rows
from pipeline.data.annotations.spans import SCRIPTS
from pipeline.data.tagging.tags import spans
from pipeline.data.tokenization.word_patterns import cut
from pipeline.errors import UserError
from pipeline.tasks.ner import Ner

ANSWER = {
    "id": 7,
    "text": "Ann left Rome",
    "entities": [
        {"type": "PER", "start": 0, "end": 3, "text": "Ann", "score": 0.9},
        {"type": "LOC", "start": 9, "end": 13, "text": "Rome", "score": 0.5},
    ],
}


def test_each_tool_gets_its_own_shape():
    assert json.loads(write_row(ANSWER, "doccano")) == {
        "id": 7,
        "text": "Ann left Rome",
        "label": [[0, 3, "PER"], [9, 13, "LOC"]],
    }
    assert json.loads(write_row(ANSWER, "spacy"))["entities"] == [[0, 3, "PER"], [9, 13, "LOC"]]
    assert write_row(ANSWER, "conll") == "Ann\tB-PER\nleft\tO\nRome\tB-LOC\n\n"
    assert json.loads(write_row(ANSWER, "label-studio")) == {
        "data": {"id": 7, "text": "Ann left Rome"},
        "predictions": [
            {
                "model_version": "finetune",
                "score": 0.5,
                "result": [
                    {
                        "id": f"entity{number}",
                        "from_name": "label",
                        "to_name": "text",
                        "type": "labels",
                        "value": {"start": start, "end": end, "text": text, "labels": [kind]},
                        "score": score,
                    }
                    for number, (start, end, text, kind, score) in enumerate(
                        [(0, 3, "Ann", "PER", 0.9), (9, 13, "Rome", "LOC", 0.5)]
                    )
                ],
            }
        ],
    }


def test_words_that_the_model_was_given_are_written_with_their_tags():
    answer = {
        "id": 1,
        "text": "10 km",
        "tokens": ["10", "km"],
        "tags": ["O", "B-UNIT"],
        "entities": [{"type": "UNIT", "start": 3, "end": 5, "text": "km", "score": 1.0}],
    }
    assert write_row(answer, "conll") == "10\tO\nkm\tB-UNIT\n\n"
    assert json.loads(write_row(answer, "doccano")) == {"id": 1, "text": "10 km", "label": [[3, 5, "UNIT"]]}


def answers(count):
    """Random texts, each with some of its words as entities."""
    draw = random.Random(1)
    for number in range(count):
        words = draw.choices(["Ann", "left", "北京", "don't", "😀", "a,b", "#tag", "é́", '"quoted"', "\\n"], k=9)
        text = draw.choice([" ", "  ", "\n", "\t"]).join(words)
        places = cut(text, SCRIPTS)
        borders = sorted(draw.sample(range(len(places) + 1), 4))
        entities = [
            {
                "type": draw.choice(["PER", "new york"]),
                "start": places[first][0],
                "end": places[last - 1][1],
                "score": 0.5,
            }
            for first, last in zip(borders[::2], borders[1::2], strict=True)
        ]
        for entity in entities:
            entity["text"] = text[entity["start"] : entity["end"]]
        yield {"id": number, "text": text, "entities": entities, "words": places}


@pytest.mark.parametrize("format", [*FORMATS, None])
def test_what_is_written_is_read_again(format, tmp_path):
    written = list(answers(50))
    if format == "conll":  # types with a blank would be two columns elsewhere, too
        for answer in written:
            for entity in answer["entities"]:
                entity["type"] = entity["type"].replace(" ", "_")
    file = tmp_path / f"train{SUFFIXES[format] if format else '.jsonl'}"
    rows = write_rows(written, format) if format else (json.dumps(answer) + "\n" for answer in written)
    file.write_text("".join(rows), encoding="utf-8", newline="")
    data = Data(str(file))
    loaded = sources.load(sources.locate(data, "ner"), Ner.columns, tmp_path)
    assert len(loaded.splits["train"]) == 50
    for answer, row in zip(written, loaded.splits["train"], strict=True):
        words = answer["words"]
        assert row["tokens"] == [answer["text"][start:end] for start, end in words]
        found = [(kind, words[first][0], words[last - 1][1]) for kind, first, last in spans(row["tags"])]
        assert found == [(entity["type"], entity["start"], entity["end"]) for entity in answer["entities"]]


def test_a_file_without_answers_is_empty():
    assert json.loads("".join(write_rows([], "label-studio"))) == []
    assert "".join(write_rows([], "conll")) == ""


def test_answers_of_other_tasks_and_other_formats_are_refused():
    with pytest.raises(UserError, match="doccano holds entities, which this model does not find; leave it out"):
        write_row({"text": "a", "label": "b"}, "doccano")
    with pytest.raises(UserError, match="brat cannot be written; there are: doccano, label-studio, spacy, conll"):
        write_row(ANSWER, "brat")
