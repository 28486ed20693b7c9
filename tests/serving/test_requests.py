"""What a request may contain: rows of the kinds that the task reads, within the limits, and nothing else."""

from __future__ import annotations

import json

import pytest

from pipeline.errors import UserError
from pipeline.serving import requests
from pipeline.serving.limits import Limits
from pipeline.serving.requests import Refusal
from pipeline.tasks.base import load_task
from pipeline.tasks.sentiment import Sentiment

TASKS = {
    "sentiment": load_task("sentiment"),
    "pairs": Sentiment(reads_pairs=True),
    "single": Sentiment(reads_pairs=False),
    "ner": load_task("ner"),
    "next_word": load_task("next_word"),
    "translation": load_task("translation"),
}
SMALL = Limits(max_texts=3, max_length=10, max_generate=5, max_beams=4)


def read(task: str, inputs, limits: Limits = SMALL, **parameters) -> requests.Request:
    return requests.read(json.dumps({"inputs": inputs, "parameters": parameters}).encode(), TASKS[task], limits)


def refusal(task: str, body: bytes) -> tuple[int, str]:
    with pytest.raises(Refusal) as caught:
        requests.read(body, TASKS[task], SMALL)
    return caught.value.status, caught.value.message


@pytest.mark.parametrize(
    ("task", "inputs", "contents"),
    [
        ("sentiment", "good", ["good"]),
        ("sentiment", ["good", {"text": "bad"}], ["good", "bad"]),
        ("sentiment", {"text": "a", "text_pair": "b"}, [("a", "b")]),
        ("sentiment", ["", " "], ["", " "]),
        ("sentiment", [], []),
        ("pairs", [{"text_pair": "b", "text": "a"}], [("a", "b")]),
        ("ner", [{"tokens": ["Ann", "Lee"]}, "Ann Lee", {"tokens": []}], [["Ann", "Lee"], "Ann Lee", []]),
        ("next_word", "the cat", ["the cat"]),
        ("sentiment", "שלום 🎬", ["שלום 🎬"]),
    ],
)
def test_rows_become_what_the_task_predicts_from(task, inputs, contents):
    found = read(task, inputs)
    assert found.contents == contents
    assert found.is_list == isinstance(inputs, list)


def test_a_byte_order_mark_is_no_part_of_the_json():
    assert requests.read(b'\xef\xbb\xbf{"inputs": "a"}', TASKS["sentiment"], SMALL).contents == ["a"]


@pytest.mark.parametrize(
    ("task", "body", "status", "message"),
    [
        ("sentiment", b'{"inputs": "a', 400, "the body is not JSON: Unterminated string starting at line 1, column 12"),
        ("sentiment", b"", 400, "the body is not JSON: Expecting value at line 1, column 1"),
        ("sentiment", b'{"inputs": "\xff"}', 400, "the body is not UTF-8 at byte 12"),
        ("sentiment", b"[" * 100_000, 400, "the body is not JSON that can be read: too deep, or a number too long"),
        ("sentiment", b"9" * 5000, 400, "the body is not JSON that can be read: too deep, or a number too long"),
        ("sentiment", b'"a"', 400, "expected an object such as"),
        ("sentiment", b'{"texts": "a"}', 400, "expected an object such as"),
        ("sentiment", b'{"inputs": "a", "parameter": {}}', 400, '"parameter": no such field; did you mean'),
        ("sentiment", b'{"inputs": null}', 400, 'inputs: null is not a text, or {"text": "..."}, or a pair, {"text":'),
        ("sentiment", b'{"inputs": ["a", 7]}', 400, "inputs[1]: 7 is not a text"),
        ("sentiment", b'{"inputs": [["a"]]}', 400, 'inputs[0]: ["a"] is not a text'),
        ("sentiment", b'{"inputs": {"text": "a", "id": 1}}', 400, 'inputs: {"text": "a", "id": 1} is not a text'),
        ("sentiment", b'{"inputs": {"tokens": ["a"]}}', 400, 'inputs: {"tokens": ["a"]} is not a text'),
        ("sentiment", b'{"inputs": "\\ud800"}', 400, "inputs: it has half of a surrogate pair"),
        ("pairs", b'{"inputs": "a"}', 400, 'inputs: "a" is not a pair of texts; send {"text": "...", "text_pair": '),
        ("single", b'{"inputs": {"text": "a", "text_pair": "b"}}', 400, "inputs: {"),
        ("ner", b'{"inputs": {"tokens": ["a", 1]}}', 400, 'inputs: {"tokens": ["a", 1]} is not a text'),
        ("ner", b'{"inputs": {"tokens": "a b"}}', 400, 'inputs: {"tokens": "a b"} is not a text, or {"text": '),
        ("next_word", b'{"inputs": "a", "parameters": []}', 400, "parameters: [] is not an object"),
        ("next_word", b'{"inputs": "a", "parameters": {"n": 1}}', 400, 'a next_word model has no "n"; there are: g'),
        ("next_word", b'{"inputs": "a", "parameters": {"generate": 0}}', 400, "generate: 0 is not an integer from 1"),
        ("next_word", b'{"inputs": "a", "parameters": {"generate": 6}}', 400, "generate: 6 is not an integer from 1"),
        ("next_word", b'{"inputs": "a", "parameters": {"generate": true}}', 400, "generate: true is not an integer"),
        ("translation", b'{"inputs": "a", "parameters": {"beams": 5}}', 400, "beams: 5 is not an integer from 1 to 4"),
        ("translation", b'{"inputs": "a", "parameters": {"length_penalty": "x"}}', 400, 'y: "x" is not a number'),
        ("translation", b'{"inputs": "a", "parameters": {"length_penalty": NaN}}', 400, "NaN is not a number from -10"),
        ("translation", b'{"inputs": "a", "parameters": {"length_penalty": 1e999}}', 400, "Infinity is not a number"),
        ("translation", b'{"inputs": "a", "parameters": {"length_penalty": true}}', 400, "true is not a number from"),
        ("translation", b'{"inputs": "a", "parameters": {"attention": 1}}', 400, "attention: 1 is not true or false"),
        ("ner", b'{"inputs": "a", "parameters": {"format": "conll"}}', 400, 'a ner model has no "format"; leave'),
        ("sentiment", b'{"inputs": ["a", "b", "c", "d"]}', 413, "inputs: 4 texts are too many; send at most 3"),
        ("sentiment", b'{"inputs": ["a", "0123456789-"]}', 413, "inputs[1]: 11 characters are too many; send at most"),
        ("sentiment", b'{"inputs": {"text": "01234", "text_pair": "56789"}}', 413, "inputs: 11 characters"),
        ("ner", b'{"inputs": {"tokens": ["012", "", "4567", "9"]}}', 413, "inputs: 11 characters"),
    ],
)  # fmt: skip
def test_anything_else_is_refused_with_its_place_and_what_to_send(task, body, status, message):
    found = refusal(task, body)
    assert found[0] == status
    assert message in found[1]


def test_a_queue_that_holds_no_full_request_is_refused():
    with pytest.raises(UserError, match="max_texts: 256 texts never fit into a queue of 10; set max_queue"):
        Limits(max_queue=10)
