"""Chooses the files of each split by their names: one file, or the numbered parts of one table."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from pipeline.config.files.split_names import (
    MISMATCHED,
    OF,
    SPLITS,
    in_order,
    other_words,
    split_called,
    split_in,
    without_numbers,
)
from pipeline.config.formats import BY_SUFFIX, FORMATS, stem_of, suffix_of
from pipeline.errors import UserError

_PART = re.compile(r"(?<![a-z])(part|shard|chunk)(?![a-z])", re.IGNORECASE)


def choose(folder: Path, files: Iterable[Path], chosen: str | None, others: Iterable[Path]) -> dict[str, list[Path]]:
    """Split -> its files among `files`, in the order of their numbers.

    A file takes precedence over those whose names have all of its words and more: train.csv over train_old.csv, and
    ptb.train.txt over ptb.char.train.txt. So does one with a suffix of data (with `chosen`, with one of the format's),
    and the matched split of MultiNLI over the mismatched one.

    Args:
        others: all files in the folder that may be data.

    Raises:
        UserError: several files belong to a split that are not parts of one table, or a part is missing.
    """
    candidates: dict[str, list[Path]] = {}
    for file in files:
        if split := split_in(file.name):
            candidates.setdefault(split, []).append(file)
    found = {split: _of_split(folder, split, candidates[split], chosen) for split in SPLITS if split in candidates}
    # In a folder of articles, some have a title like test_pilot.txt.
    if not any(map(_is_exact, (file for of_split in found.values() for file in of_split))):
        used = [file for of_split in found.values() for file in of_split]
        suffixes = set(map(suffix_of, used))
        unused = [file for file in others if file not in used and suffix_of(file) in suffixes]
        if len(unused) > len(used):
            return {}
    return found


def _of_split(folder: Path, split: str, files: Sequence[Path], chosen: str | None) -> list[Path]:
    own = FORMATS[chosen].suffixes if chosen else ()
    for preferred in (
        [file for file in files if suffix_of(file) in own],
        [file for file in files if suffix_of(file) in BY_SUFFIX],
    ):
        files = preferred or files
    words = {file: other_words(stem_of(file)) for file in files}
    files = [file for file in files if MISMATCHED not in words[file]] or files
    files = [file for file in files if all(words[file] <= words[other] for other in files)] or files
    if not numbered(files):
        first = files[0]
        second = next(file for file in files if not numbered([first, file]))
        raise UserError(f"{folder}: both {first.name} and {second.name} are the {split} split; remove one")
    return ordered(files)


def _is_exact(file: Path) -> bool:
    return split_called(stem_of(file)) is not None


def numbered(files: Sequence[Path]) -> bool:
    """Whether the names of `files` differ only in their numbers."""
    return len({without_numbers(file.name) for file in files}) == 1


def are_shards(files: Sequence[Path]) -> bool:
    """Whether `files` are parts of one table or text by their names, and not documents that are numbered."""
    name = files[0].name
    is_part = OF.search(name) or split_in(name) or _PART.search(name)
    return bool(is_part) and numbered(files)


def ordered(files: Sequence[Path]) -> list[Path]:
    """`files` in the order of their numbers and names."""
    return sorted(files, key=lambda file: in_order(file.name))


def missing(files: Sequence[Path]) -> str | None:
    """What to say about parts that are not there, if the names of the others say how many there should be."""
    numbers = [found for found in (OF.search(file.name) for file in files) if found]
    totals = {int(number[2]) for number in numbers}
    if len(numbers) < len(files) or len(totals) != 1:
        return None
    absent = sorted(set(range(max(totals))) - {int(number[1]) for number in numbers})
    if not absent:
        return None
    place = numbers[0].start(1)
    name = f"{files[0].name[:place]}{str(absent[0]).zfill(len(numbers[0][1]))}{files[0].name[numbers[0].end(1) :]}"
    return f"{len(absent)} of {max(totals)} parts are not there, such as {name}"
