"""A text and its translations in files of the same name, line by line, each with a column of its own."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

from pipeline.config.data import Data
from pipeline.config.files.parallel import beside, language_of
from pipeline.data.readers.common import NumberedRow, lines
from pipeline.errors import UserError, listing


def read(file: Path, data: Data, warnings: list[str]) -> Iterator[NumberedRow]:
    """What is on each line of `file` and of the files beside it, by language. If settings name both columns, only their
    files are read.

    Raises:
        UserError: there is no file beside it, or it has more or fewer lines.
    """
    files = {str(language_of(found)): found for found in (file, *beside(file))}
    if len(files) < 2:
        raise UserError(f"{file}: there is no file in another language beside it, such as train.de for train.en")
    if {data.text_column, data.target_column} <= files.keys():
        files = {
            language: found for language, found in files.items() if language in (data.text_column, data.target_column)
        }
    for number, texts in enumerate(itertools.zip_longest(*(lines(found, data) for found in files.values())), start=1):
        if None in texts:
            short = [found.name for found, text in zip(files.values(), texts, strict=True) if text is None]
            long = next(found for found, text in zip(files.values(), texts, strict=True) if text is not None)
            raise UserError(
                f"{long}:{number}: {listing(short)} has only {number - 1} lines; line by line, the files must be"
                " translations of each other"
            )
        yield number, {language: text[1].strip("\r\n") for language, text in zip(files, texts, strict=True)}
