"""The message catalogues that sample:plone_LANG packages: the .po files of a language, as written by GNU gettext."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

from pipeline.config.data import Data
from pipeline.data.readers.common import NumberedRow, lines
from pipeline.errors import UserError

ENGLISH = "en"
# A line that begins a string, or goes on with one: msgid "Save" or "Save".
_STRING = re.compile(r'(?:(msgid|msgstr) )?(".*")')
# The English text of a message whose id says nothing: #. Default: "Save"
_DEFAULT = re.compile(r'#\. Default: (".*")')
# Such an id: label_save.
_ID = re.compile(r"[\w.-]*_[\w.-]*")


def read(folder: Path, data: Data, warnings: list[str]) -> Iterator[NumberedRow]:
    """The messages in the folder of a language (he/LC_MESSAGES): the columns `en` and that language. Messages without a
    translation, with one that is marked as a guess (fuzzy), or without an English text are left out. Placeholders such
    as ${name} stay as they are.

    Raises:
        UserError: a file is not a catalogue.
    """
    language = folder.parent.name
    for file in sorted(folder.glob("*.po")):
        for line, english, translation in _messages(file):
            if english and translation:
                yield line, {ENGLISH: english, language: translation}


def _messages(file: Path) -> Iterator[tuple[int, str, str]]:
    """The line of each message that is not a guess, its English text, empty if there is none, and its translation."""
    parts, default, begins, is_guess, name = dict[str, str](), "", 0, False, ""
    for number, text in lines(file):
        line = text.strip()
        if not line:  # ends a message
            if parts and not is_guess:
                yield begins, _english(parts["msgid"], default), _one_line(parts.get("msgstr", ""))
            parts, default, is_guess = {}, "", False
        elif found := _DEFAULT.fullmatch(line):
            default = _unquoted(found[1], file, number)
        elif line.startswith("#,"):
            is_guess |= "fuzzy" in line
        elif line.startswith("#"):
            continue
        elif found := _STRING.fullmatch(line):
            name, begins = found[1] or name, number if found[1] == "msgid" else begins
            parts[name] = parts.get(name, "") + _unquoted(found[2], file, number)
        else:
            raise UserError(f"{file}:{number}: not a message catalogue; install the package plone.app.locales again")
    if parts and not is_guess:
        yield begins, _english(parts["msgid"], default), _one_line(parts.get("msgstr", ""))


def _english(name: str, default: str) -> str:
    return _one_line(default or ("" if _ID.fullmatch(name) else name))


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _unquoted(text: str, file: Path, number: int) -> str:
    try:
        return str(json.loads(text, strict=False))  # the escapes of C that catalogues use are those of JSON
    except ValueError as error:
        raise UserError(f"{file}:{number}: cannot read the string {text[:40]}: {error}") from error
