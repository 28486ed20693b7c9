"""JSON (.json: a list of objects; .jsonl: an object on each line)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline.config.data import Data
from pipeline.data.readers.common import NumberedRow, Row, lines, text_of
from pipeline.errors import UserError, reason


def read_jsonl(file: Path, data: Data, warnings: list[str]) -> Iterator[NumberedRow]:
    """The object on each line; blank lines are skipped.

    Raises:
        UserError: a line is not a JSON object.
    """
    for number, line in lines(file, data):
        if line.strip():
            yield number, as_object(file, number, parse(file, number, line.strip()))


def read_json(file: Path, data: Data, warnings: list[str]) -> Iterator[NumberedRow]:
    """The objects of a list, numbered from 1; the list may be the only one in an object, as in {"data": [...]}.

    Raises:
        UserError: it is not JSON, or not a list of objects.
    """
    values = _only_list(parse(file, 1, text_of(file, data), whole=True))
    if not isinstance(values, list):
        raise UserError(f'{file}: expected a list of objects, such as [{{"text": ..., "label": ...}}]')
    for number, value in enumerate(values, start=1):
        yield number, as_object(file, number, value)


def _only_list(values: Any) -> Any:
    lists = [value for value in values.values() if isinstance(value, list)] if isinstance(values, dict) else []
    return lists[0] if len(lists) == 1 else values


def parse(file: Path, number: int, text: str, whole: bool = False) -> Any:
    """The JSON value in `text`, which begins at line `number`; `whole`: it is the whole file.

    Raises:
        UserError: it is not JSON.
    """
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        place = f"{file}:{number + error.lineno - 1}"
        extra = ""
        if error.msg == "Extra data" and whole:
            extra = "; if each line is a separate object, rename the file to .jsonl or set data.format to jsonl"
        raise UserError(f"{place}: not JSON at column {error.colno}: {error.msg}{extra}") from error
    except RecursionError as error:
        raise UserError(f"{file}:{number}: JSON nested too deeply") from error
    except ValueError as error:  # a number of thousands of digits
        raise UserError(f"{file}:{number}: not JSON: {reason(error)}") from error


def as_object(file: Path, number: int, value: Any) -> Row:
    """`value` if it is an object.

    Raises:
        UserError: it is not.
    """
    if not isinstance(value, dict):
        raise UserError(f"{file}:{number}: expected an object with named fields, found {json.dumps(value)[:40]}")
    return value
