"""The format of a file by its content, where the suffix does not tell: .txt, .tsv, .json, .jsonl, unknown or none."""

from __future__ import annotations

import codecs
import csv
import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from pipeline.config.archives import open_binary
from pipeline.config.formats import BY_SUFFIX
from pipeline.config.looks_like_conll import looks_like_conll
from pipeline.errors import UserError

HEAD_BYTES = 1 << 16
# Share of the lines that have the same number of fields: a table with a few broken rows is still one, and its reader
# names the line of the first.
MOST = 0.9
LONGEST_LABEL, MOST_LABELS = 40, 50
# Names of columns that a line of prose does not consist of.
HEADERS = {
    *("text", "texts", "sentence", "sentences", "review", "content", "tweet", "comment", "message", "question"),
    *("label", "labels", "sentiment", "class", "category", "target", "tokens", "tags", "ner_tags", "words"),
}
_FASTTEXT = re.compile(r"(?:.*\s)?__label__\S+(\s|$)")
_TREE = re.compile(r"\(\d+ (\(\d+ |[^\s()]+\))")
# A class as a number, or as the Text Retrieval Conference names the kinds of questions.
_LABEL = re.compile(r"[+-]?\d{1,2}|[A-Z]{2,}:[A-Za-z]+|pos|neg|positive|negative|neutral")
_PYTHON = re.compile(r"\[?\s*\{\s*'[^'\n]*'\s*:")
_BOMS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",  # before UTF-16, which begins with the same two bytes
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
BINARY = {b"PAR1": "parquet", b"ARROW1": "arrow", b"FEA1": "arrow", b"\xff\xff\xff\xff": "arrow"}
LFS = b"version https://git-lfs.github.com/spec/"


class Head(NamedTuple):
    """What a file begins with.

    Attributes:
        binary: name of the binary format that it has, if any.
        text: of its first 64 KB.
        whole: whether that is all of it.
    """

    binary: str | None
    text: str
    whole: bool

    @property
    def lines(self) -> list[str]:
        """Lines with something in them; the last one is left out if it may be cut off."""
        lines = re.split(r"\r\n|\n|\r", self.text)
        return [line for line in (lines if self.whole or len(lines) == 1 else lines[:-1]) if line.strip()]


def head_of(file: Path, encoding: str | None = None) -> Head:
    """What `file` begins with, decompressed.

    Raises:
        UserError: it cannot be read, is damaged, or stands for a file that git has not fetched.
    """
    try:
        with open_binary(file) as stream:
            start = stream.read(HEAD_BYTES + 1)
    except OSError as error:
        raise UserError(f"{file}: cannot be read: {error.strerror or error}") from error
    if start.startswith(LFS):
        raise UserError(f"{file}: git has not fetched this file, only its address; run: git lfs pull")
    binary = next((name for magic, name in BINARY.items() if start.startswith(magic)), None)
    if binary:
        return Head(binary, "", False)
    named = next((name for bom, name in _BOMS.items() if start.startswith(bom)), encoding or "utf-8")
    try:
        text = start[:HEAD_BYTES].decode(named, errors="replace")
    except LookupError:
        text = ""  # reading refuses the encoding
    return Head(None, text.removeprefix("\ufeff"), len(start) <= HEAD_BYTES)


def format_in(head: Head, suffix: str, task: str | None) -> str | None:
    """Name of the format that a file beginning with `head` has for certain; None: it may be anything.

    Args:
        suffix: that of the file, which decides between forms of JSON that have the same beginning.
        task: name of a built-in task, or None if it is unknown; a text for next_word may look like anything.
    """
    lines = head.lines
    if head.binary or not lines:
        return head.binary
    found = json_in(head, suffix)
    if found or BY_SUFFIX.get(suffix) in ("json", "jsonl"):
        return found
    if all(map(_FASTTEXT.match, lines)):
        return "fasttext"
    if all(map(_TREE.match, lines)):
        return "tree"
    if task == "next_word":
        return None
    if task != "translation" and looks_like_conll(head.text if head.whole else head.text.rpartition("\n")[0]):
        return "conll"
    if BY_SUFFIX.get(suffix) == "tsv":
        return None
    return _table_format(lines) or (
        "label-first" if task not in ("ner", "translation") and _begin_with_labels(lines) else None
    )


def json_in(head: Head, suffix: str) -> str | None:
    """json or jsonl if a file that begins with `head` and has this suffix is one of them, or Python's print of one."""
    text = head.text.lstrip()
    if _PYTHON.match(text):
        return "jsonl" if suffix != ".json" else "json"  # whose reader says what is wrong with it
    if text[:1] not in ("{", "["):
        return None
    try:
        value, end = json.JSONDecoder().raw_decode(text)
    except json.JSONDecodeError as error:
        return _unfinished(head, suffix, text, error)
    except (ValueError, RecursionError):
        return None
    is_pair = isinstance(value, list) and [type(item) for item in value] == [str, dict]  # spaCy's text and annotations
    rest = text[end:].lstrip(" \t")
    if rest.strip() and rest[0] not in "\r\n":
        return None
    has_more_lists = isinstance(value, list) and rest.lstrip()[:1] == "["
    is_table = isinstance(value, dict) or all(isinstance(item, (dict, list)) for item in value)
    if not (is_pair or is_table or has_more_lists):
        return None
    on_one_line = not re.search(r"[\r\n]", text[:end].strip())
    if rest.strip() and on_one_line:
        return "jsonl" if rest.lstrip()[0] == text[0] else None
    if is_pair:
        return "jsonl"
    return "jsonl" if on_one_line and suffix in (".jsonl", ".ndjson", ".jsonlines") and text[0] == "{" else "json"


def _unfinished(head: Head, suffix: str, text: str, error: json.JSONDecodeError) -> str | None:
    """The form of JSON that the head of a file is the beginning of, if it is one."""
    is_cut = not head.whole and ("Unterminated" in error.msg or error.pos > len(text) - 10)
    if not is_cut:
        return None
    is_first_line = not re.search(r"[\r\n]", text)
    return "jsonl" if is_first_line and text[0] == "{" and suffix != ".json" else "json"


def _table_format(lines: Sequence[str]) -> str | None:
    """tsv or csv if the lines are those of a table."""
    if len(lines) > 1 and _width([line.split("\t") for line in lines]) > 1:
        return "tsv"
    for separator in ",;|":
        rows = list(_fields(lines, separator))
        width = _width(rows)
        if len(rows) > 1 and width > 1 and _has_labels([row for row in rows if len(row) == width]):
            return "csv"
    return None


def _begin_with_labels(lines: Sequence[str]) -> bool:
    """Whether each line is a label and a text, as in `1 a fine day` and `DESC:manner How does it work ?`."""
    split = [line.split(maxsplit=1) for line in lines]
    if not all(len(parts) == 2 and _LABEL.fullmatch(parts[0]) for parts in split):
        return False
    return 1 < len({parts[0] for parts in split}) <= min(MOST_LABELS, len(lines) / 2)


def _fields(lines: Sequence[str], separator: str) -> Iterator[list[str]]:
    try:
        yield from csv.reader(lines, delimiter=separator)
    except csv.Error:
        return


def _width(rows: Sequence[list[str]]) -> int:
    """Number of fields of nearly all rows; 0: they differ."""
    width, count = Counter(map(len, rows)).most_common(1)[0] if rows else (0, 0)
    return width if count >= MOST * len(rows) else 0


def _has_labels(rows: Sequence[list[str]]) -> bool:
    """Whether the first row names usual columns, or the first or last column has few short values that repeat."""
    if {name.strip().lower() for name in rows[0]} & HEADERS:
        return True
    for column in (0, -1):
        values = Counter(row[column].strip() for row in rows)
        repeat = 1 < len(values) <= min(MOST_LABELS, len(rows) / 2)
        if repeat and "" not in values and max(map(len, values)) <= LONGEST_LABEL:
            return True
    return False
