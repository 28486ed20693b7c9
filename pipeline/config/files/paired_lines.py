"""Texts and labels in two files: train_text.txt and train_labels.txt (TweetEval), x_train.txt and y_train.txt."""

from __future__ import annotations

import re
from pathlib import Path

# What the name of a file of texts contains -> what that of its labels contains instead. The names are those of
# TweetEval, of WiLI-2018, and of people who count in singular or plural.
_KINDS = {"text": ("labels", "label"), "texts": ("labels", "label"), "sentences": ("labels", "label"), "x": ("y",)}
_WORD = re.compile(r"(?<![A-Za-z])(texts?|sentences|x)(?![A-Za-z])", re.IGNORECASE)
_SUFFIXES = ("", ".txt", ".text", ".label", ".labels")
NAMES = "mapping.txt"


def labels_of(file: Path) -> Path | None:
    """The file with the labels of the texts in `file`, if there is one next to it."""
    stem = file.stem if file.suffix.lower() in _SUFFIXES else None
    found = _WORD.search(stem) if stem else None
    if stem is None or found is None:
        return None
    kinds = _KINDS[found[0].lower()]
    for name in [*kinds, *map(str.upper, kinds)]:
        labels = file.with_name(f"{stem[: found.start()]}{name}{stem[found.end() :]}{file.suffix}")
        if labels.is_file():
            return labels
    return None


def names_of(file: Path) -> Path | None:
    """The file with the names of the classes (`0<tab>negative`), if there is one next to `file`."""
    names = file.with_name(NAMES)
    return names if names.is_file() else None


def beside(file: Path) -> list[Path]:
    """The files that belong to the texts in `file`."""
    return [found for found in (labels_of(file), names_of(file)) if found]
