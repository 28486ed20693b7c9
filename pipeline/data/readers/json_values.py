"""JSON values in a text of any length, one after the other, and one line for everything that is wrong with them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from pipeline.data.readers.common import Row
from pipeline.errors import UserError, reason

BLANKS = re.compile(r"[ \t\r\n]*")
# What Python prints for a dictionary, as opposed to JSON.
PYTHON = re.compile(r"[\[{,(]\s*'|\[\s*\(|:\s*(None|True|False|')")
_DECODER = json.JSONDecoder()


def parse(file: Path, number: int, text: str) -> Any:
    """The JSON value in `text`, which begins at line `number`.

    Raises:
        UserError: it is not JSON.
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _refusal(file, number, 0, text, error) from error


def is_annotated(value: Any) -> bool:
    """Whether `value` is a text and an object with its annotations, as spaCy writes it."""
    return isinstance(value, list) and [type(item) for item in value] == [str, dict]


def as_object(file: Path, number: int, value: Any) -> Row:
    """`value` if it is an object; a text with its annotations becomes one with the field `text`.

    Raises:
        UserError: it is not.
    """
    if is_annotated(value):
        return {"text": value[0], **value[1]}
    if not isinstance(value, dict):
        found = json.dumps(value, ensure_ascii=False)[:40]
        raise UserError(f"{file}:{number}: expected an object with named fields, found {found}")
    return value


def _refusal(file: Path, line: int, column: int, text: str, error: ValueError | RecursionError) -> UserError:
    """One line for what is wrong with `text`, which begins in `column` (from 0) of `line`."""
    if isinstance(error, RecursionError):
        return UserError(f"{file}:{line}: JSON nested too deeply")
    if not isinstance(error, json.JSONDecodeError):  # a number of thousands of digits
        return UserError(f"{file}:{line}: not JSON: {reason(error)}")
    place = f"{file}:{line + error.lineno - 1}"
    around = text[max(0, error.pos - 20) : error.pos + 20]
    if PYTHON.search(around) or re.match(r"'|None\b|True\b|False\b", text[error.pos :]):
        return UserError(
            f"{place}: this is a Python dictionary, not JSON; write each with json.dumps(row), or all with"
            " DataFrame.to_json(file, orient='records', lines=True)"
        )
    at = error.colno + (column if error.lineno == 1 else 0)
    return UserError(f"{place}: not JSON at column {at}: {error.msg}")


def as_text(file: Path, number: int, value: Any) -> Row:
    """The row of a text alone.

    Raises:
        UserError: `value` is something else.
    """
    if not isinstance(value, str):
        found = json.dumps(value, ensure_ascii=False)[:40]
        raise UserError(f"{file}:{number}: expected a text like the first, found {found}")
    return {"text": value}


class Values:
    """JSON values in a text that comes in pieces: whole values are taken from the front, more text is added as needed.

    Args:
        pieces: of the text of `file`, in order.
    """

    def __init__(self, file: Path, pieces: Iterable[str]):
        self.file, self._pieces = file, iter(pieces)
        self._text, self._at, self._is_all = "", 0, False
        self._line, self._column = 1, 0  # where `_text` begins

    def skip(self) -> str:
        """The next character that is not a blank, which stays; empty at the end."""
        while True:
            found = BLANKS.match(self._text, self._at)
            self._at = found.end() if found else self._at
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._more():
                return ""

    def take(self, expected: str) -> str:
        """Remove the next character, one of `expected`, and return it.

        Raises:
            UserError: it is another one.
        """
        found = self.skip()
        if not found or found not in expected:
            message = f"Expecting {' or '.join(map(repr, expected))}"
            raise self._refused(json.JSONDecodeError(message, self._text, self._at))
        self._at += 1
        return found

    def value(self) -> Any:
        """Remove the next value and return it.

        Raises:
            UserError: it is not JSON.
        """
        self.skip()
        while True:
            try:
                found, self._at = _DECODER.raw_decode(self._text, self._at)
                return found
            except (ValueError, RecursionError) as error:
                if isinstance(error, RecursionError) or self._is_all:
                    raise self._refused(error) from error
                # A value may go on in the next piece. Each time, the text that is tried again is twice as long.
                self._is_all = not self._more(len(self._text) - self._at)

    def _more(self, wanted: int = 1) -> bool:
        """Drop what has been taken, and add at least `wanted` characters; whether there was any."""
        taken, rest = self._text[: self._at], [self._text[self._at :]]
        self._line += taken.count("\n")
        self._column = len(taken) - taken.rfind("\n") - 1 + (self._column if "\n" not in taken else 0)
        before = len(rest[0])
        while wanted > 0 and (piece := next(self._pieces, "")):
            rest.append(piece)
            wanted -= len(piece)
        self._text, self._at = "".join(rest), 0
        return len(self._text) > before

    def _refused(self, error: ValueError | RecursionError) -> UserError:
        return _refusal(self.file, self._line, self._column, self._text, error)

    def of_list(self) -> Iterator[Any]:
        """The values of a list that comes next, without holding all of them.

        Raises:
            UserError: it is not JSON.
        """
        self.take("[")
        if self.skip() == "]":
            self.take("]")
            return
        while True:
            yield self.value()
            if self.take(",]") == "]":
                return

    def end(self) -> None:
        """Refuse further text.

        Raises:
            UserError: there is some.
        """
        if self.skip():
            raise self._refused(json.JSONDecodeError("Extra data", self._text, self._at))
