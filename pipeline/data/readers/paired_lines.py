"""Texts in one file and their labels in another, line by line, and the names of the labels in mapping.txt."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

from pipeline.config.data import Data
from pipeline.config.files.paired_lines import labels_of, names_of
from pipeline.data.readers.common import NumberedRow, lines
from pipeline.errors import UserError

LINES_LOOKED_AT = 1000


def read(file: Path, data: Data, warnings: list[str]) -> Iterator[NumberedRow]:
    """The text on each line of `file`, and its label; if the first lines have a label for each word, words and tags.

    Raises:
        UserError: there is no file of labels, or it has more or fewer lines.
    """
    labels = labels_of(file)
    if labels is None:
        raise UserError(f"{file}: there is no file of labels next to it, such as train_labels.txt for train_text.txt")
    rows = _rows(file, labels, data)
    first = list(itertools.islice(rows, LINES_LOOKED_AT))
    words = [(len(row["text"].split()), len(row["label"].split())) for _, row in first]
    has_tags = all(texts == tags for texts, tags in words) and max(words, default=(0, 0)) > (1, 1)
    for number, row in itertools.chain(first, rows):
        yield number, {"tokens": row["text"].split(), "tags": row["label"].split()} if has_tags else row


def _rows(file: Path, labels: Path, data: Data) -> Iterator[NumberedRow]:
    pairs = itertools.zip_longest(lines(file, data), lines(labels, data))
    for number, (text, label) in enumerate(pairs, start=1):
        left = [line for line in (text, label) if line]
        if len(left) < 2 and not left[0][1].strip():
            continue  # a blank line at the end
        if text is None or label is None:
            longer, shorter = (labels, file) if text is None else (file, labels)
            raise UserError(f"{longer}:{number}: {shorter.name} has only {number - 1} lines; each text needs its label")
        yield number, {"text": text[1].strip("\r\n"), "label": label[1].strip()}


def class_names(file: Path) -> dict[str, list[str]]:
    """The names of the labels 0, 1, ... in mapping.txt, if it is there."""
    mapping = names_of(file)
    pairs = [line.split(maxsplit=1) for _, line in lines(mapping) if line.strip()] if mapping else []
    names = {pair[0]: pair[1].strip() for pair in pairs if len(pair) == 2}
    ids = [str(number) for number in range(len(names))]
    return {"label": [names[number] for number in ids]} if names and set(names) == set(ids) else {}
