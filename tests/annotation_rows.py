"""Rows of annotation tools, as they are read from a file, turned into the rows of a task."""

from __future__ import annotations

from typing import Any

from pipeline.config.data import Data
from pipeline.data.annotations.registry import choose
from pipeline.data.rows import Places
from pipeline.tasks.ner import Ner
from pipeline.tasks.next_word import NextWord
from pipeline.tasks.sentiment import Sentiment

ROLES = {"ner": Ner.columns, "sentiment": Sentiment.columns, "next_word": NextWord.columns}


def adapted(
    rows: list[dict[str, Any]], task: str = "ner", lines: list[int] | None = None, **settings: Any
) -> tuple[list[dict[str, Any]], list[str]]:
    """Rows and warnings of a file with `rows` on lines 1, 2 ... or `lines`, for a task and settings of the data."""
    numbered = list(zip(lines or range(1, len(rows) + 1), rows, strict=True))
    names = list(dict.fromkeys(name for row in rows for name in row))
    warnings: list[str] = []
    places = Places(("file",), "file")
    adapter = choose(names, rows, places, Data("file", **settings), ROLES[task])
    assert adapter is not None, "no module knows these rows"
    return [row for _, row in adapter.convert(iter(numbered), places, warnings)], warnings


def tagged(rows: list[dict[str, Any]], **settings: Any) -> list[str]:
    """Each sentence as its words, those with a tag as word/tag; there must be no warning."""
    found, warnings = adapted(rows, **settings)
    assert warnings == []
    return [sentence(row) for row in found]


def sentence(row: dict[str, Any]) -> str:
    """The words of a row, those with a tag as word/tag."""
    pairs = zip(row["tokens"], row["tags"], strict=True)
    return " ".join(word if tag == "O" else f"{word}/{tag}" for word, tag in pairs)
