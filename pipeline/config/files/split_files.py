"""Chooses the files of each split by their names: one file, or the numbered parts of one table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from pipeline.config.files.split_names import OF, SPLITS, in_order, split_called, split_in, without_numbers
from pipeline.config.formats import BY_SUFFIX, FORMATS, stem_of, suffix_of
from pipeline.errors import UserError


def choose(folder: Path, files: Iterable[Path], chosen: str | None, others: Iterable[Path]) -> dict[str, list[Path]]:
    """Split -> its files among `files`, in the order of their numbers.

    A file called after the split alone (train.csv) takes precedence over one whose name has more words
    (train_old.csv), and one with a suffix of data over others; with `chosen`, one of the format's own suffixes.

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
    files = [file for file in files if _is_exact(file)] or files
    if not numbered(files):
        first = files[0]
        second = next(file for file in files if not numbered([first, file]))
        raise UserError(f"{folder}: both {first.name} and {second.name} are the {split} split; remove one")
    return ordered(folder, files)


def _is_exact(file: Path) -> bool:
    return split_called(stem_of(file)) is not None


def numbered(files: Sequence[Path]) -> bool:
    """Whether the names of `files` differ only in their numbers."""
    return len({without_numbers(file.name) for file in files}) == 1


def ordered(folder: Path, files: Sequence[Path]) -> list[Path]:
    """`files` in the order of their numbers and names.

    Raises:
        UserError: one of them is missing: their names say how many there are.
    """
    _check_complete(folder, files)
    return sorted(files, key=lambda file: in_order(file.name))


def _check_complete(folder: Path, files: Sequence[Path]) -> None:
    numbers = [OF.search(file.name) for file in files]
    if not all(numbers):
        return
    found = {int(number[1]) for number in numbers if number}
    totals = {int(number[2]) for number in numbers if number}
    missing = sorted(set(range(max(totals))) - found)
    if len(totals) == 1 and missing and len(found) > 1:
        example = next(number for number in numbers if number)
        name = files[0].name.replace(example[1], str(missing[0]).zfill(len(example[1])), 1)
        raise UserError(
            f"{folder}: {len(missing)} of {max(totals)} parts are missing, such as {name}; fetch them again"
        )
