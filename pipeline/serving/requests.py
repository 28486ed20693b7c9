"""Reads a request into what a task predicts from, or refuses it with a status and a reason."""

from __future__ import annotations

import inspect
import json
from dataclasses import dataclass
from typing import Any

from pipeline.config.schema import LARGEST_PENALTY
from pipeline.errors import listing, shorten, suggest
from pipeline.serving.limits import Limits
from pipeline.tasks.base import Task

# Parameters that are counts -> the limit that holds for them.
COUNTS = {"generate": "max_generate", "beams": "max_beams", "n_best": "max_beams"}
# Arguments that all tasks' `predict` have, and the format of annotation tools, which is one of files.
NOT_PARAMETERS = ("self", "texts", "model", "tokenizer", "labels", "format")
FIELDS = ("inputs", "parameters")


class Refusal(Exception):
    """A request that is not answered.

    Args:
        status: of HTTP.
        message: names the place in the request, what was found there, and what to do.
        headers: of the response.
    """

    def __init__(self, status: int, message: str, headers: dict[str, str] | None = None):
        super().__init__(message)
        self.status, self.message, self.headers = status, message, headers or {}


@dataclass(frozen=True)
class Request:
    """The rows of a request, each a text, a pair of texts or a list of words, and the options for all of them.

    Attributes:
        is_list: whether the client has sent a list of rows, and gets a list of answers.
    """

    contents: list[Any]
    options: dict[str, Any]
    is_list: bool


def read(body: bytes, task: Task, limits: Limits) -> Request:
    """Read the JSON `{"inputs": row or list of rows, "parameters": {...}}`.

    Raises:
        Refusal: it is something else, or exceeds a limit.
    """
    fields = _fields(body)
    inputs = fields["inputs"]
    is_list = isinstance(inputs, list)
    rows = inputs if is_list else [inputs]
    if len(rows) > limits.max_texts:
        raise Refusal(413, f"inputs: {len(rows):,} texts are too many; send at most {limits.max_texts:,} a request")
    places = [f"inputs[{number}]" if is_list else "inputs" for number in range(len(rows))]
    contents = [_content(row, place, task, limits) for row, place in zip(rows, places, strict=True)]
    return Request(contents, _options(fields.get("parameters", {}), task, limits), is_list)


def _fields(body: bytes) -> dict[str, Any]:
    try:
        fields = json.loads(body.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise Refusal(400, f"the body is not UTF-8 at byte {error.start}") from error
    except json.JSONDecodeError as error:
        found = error.msg.removesuffix(" at")
        raise Refusal(400, f"the body is not JSON: {found} at line {error.lineno}, column {error.colno}") from error
    except (RecursionError, ValueError) as error:  # a number of thousands of digits
        raise Refusal(400, "the body is not JSON that can be read: too deep, or a number too long") from error
    if not isinstance(fields, dict) or "inputs" not in fields:
        raise Refusal(400, 'expected an object such as {"inputs": "a text"} or {"inputs": ["a text", "another"]}')
    for name in fields:
        if name not in FIELDS:
            raise Refusal(400, f"{_shown(name)}: no such field{suggest(name, FIELDS)}")
    return fields


def _content(row: Any, place: str, task: Task, limits: Limits) -> Any:
    """A row as `predict` takes it: a text, a tuple of two or a list of words."""
    fields = {"text": row} if isinstance(row, str) else row
    names = set(fields) if isinstance(fields, dict) else set()
    content: Any
    if names == {"tokens"} and "tokens" in task.columns and _is_words(fields["tokens"]):
        content = fields["tokens"]
    elif names == {"text"} and not task.reads_pairs and isinstance(fields["text"], str):
        content = fields["text"]
    elif names == {"text", "text_pair"} and _may_be_pairs(task) and _is_words([*fields.values()]):
        content = (fields["text"], fields["text_pair"])
    else:
        raise Refusal(400, f"{place}: {_shown(row)} is not {_expected(task)}")
    _check_text(content, place, limits)
    return content


def _may_be_pairs(task: Task) -> bool:
    return "text_pair" in task.columns and task.reads_pairs is not False


def _is_words(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(word, str) for word in value)


def _expected(task: Task) -> str:
    if task.reads_pairs:
        return 'a pair of texts; send {"text": "...", "text_pair": "..."}'
    forms = ['a text, or {"text": "..."}']
    forms += ['words, {"tokens": ["...", "..."]}'] if "tokens" in task.columns else []
    forms += ['a pair, {"text": "...", "text_pair": "..."}'] if _may_be_pairs(task) else []
    return ", or ".join(forms)


def _check_text(content: Any, place: str, limits: Limits) -> None:
    parts = [content] if isinstance(content, str) else content
    length = sum(map(len, parts)) + len(parts) - 1  # with a blank between words
    if length > limits.max_length:
        raise Refusal(413, f"{place}: {length:,} characters are too many; send at most {limits.max_length:,} a text")
    try:
        "".join(parts).encode()
    except UnicodeEncodeError as error:
        raise Refusal(400, f"{place}: it has half of a surrogate pair, which is no character; remove it") from error


def _options(given: Any, task: Task, limits: Limits) -> dict[str, Any]:
    """Arguments of the task's `predict`."""
    if not isinstance(given, dict):
        raise Refusal(400, f"parameters: {_shown(given)} is not an object")
    known = [name for name in inspect.signature(task.predict).parameters if name not in NOT_PARAMETERS]
    for name, value in given.items():
        if name not in known:
            others = f"; there are: {listing(known)}" if known else "; leave it out"
            raise Refusal(400, f"parameters: a {task.name} model has no {_shown(name)}{others}")
        if problem := _problem(name, value, limits):
            raise Refusal(400, f"parameters.{name}: {_shown(value)} is not {problem}")
    return given


def _problem(name: str, value: Any, limits: Limits) -> str | None:
    """What the value of a parameter should be and is not; None: it may be what it is."""
    if name in COUNTS:
        largest = getattr(limits, COUNTS[name])
        return None if _is_count(value, largest) else f"an integer from 1 to {largest}"
    if name == "length_penalty":
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        fits = is_number and abs(value) <= LARGEST_PENALTY  # NaN, which json.loads reads, is not
        return None if fits else f"a number from -{LARGEST_PENALTY:g} to {LARGEST_PENALTY:g}"
    if name == "attention":
        return None if isinstance(value, bool) else "true or false"
    return None


def _is_count(value: Any, largest: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= largest


def _shown(value: Any) -> str:
    """The start of a value as JSON, in ASCII."""
    return shorten(json.dumps(value), 60)
