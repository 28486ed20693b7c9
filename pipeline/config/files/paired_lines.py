"""Texts and labels in two files: train_text.txt and train_labels.txt (TweetEval), x_train.txt and y_train.txt."""

from __future__ import annotations

import re
from pathlib import Path

# What the name of a file of texts contains -> what that of its labels contains instead. The names are those of
# TweetEval, of WiLI-2018, and of people who count in singular or plural.
_KINDS = {"text": ("labels", "label"), "texts": ("labels", "label"), "sentences": ("labels", "label"), "x": ("y",)}
_WORD = re.compile(r"(?<![A-Za-z])(texts?|sentences|x)(?![A-Za-z])", re.IGNORECASE)
_LABELS = re.compile(r"(?<![A-Za-z])(labels?|y)(?![A-Za-z])", re.IGNORECASE)
# What the labels of train.txt end with instead.
_ENDS = ("_labels", "_label", ".labels", ".label")
_SUFFIXES = ("", ".txt", ".text")
NAMES = "mapping.txt"


def labels_of(file: Path) -> Path | None:
    """The file with the labels of the texts in `file`, if there is one next to it."""
    if file.suffix.lower() not in _SUFFIXES or _LABELS.search(file.stem):
        return None
    stem, names = file.stem, [f"{file.stem}{end}" for end in _ENDS]
    if found := _WORD.search(stem):
        kinds = _KINDS[found[0].lower()]
        names = [f"{stem[: found.start()]}{name}{stem[found.end() :]}" for name in [*kinds, *map(str.upper, kinds)]]
    candidates = (file.with_name(name + suffix) for name in names for suffix in dict.fromkeys((file.suffix, "")))
    return next((labels for labels in candidates if labels.is_file()), None)


def names_of(file: Path) -> Path | None:
    """The file with the names of the classes (`0<tab>negative`), if there is one next to `file`."""
    names = file.with_name(NAMES)
    return names if names.is_file() else None


def beside(file: Path) -> list[Path]:
    """The files that belong to the texts in `file`."""
    return [found for found in (labels_of(file), names_of(file)) if found]
