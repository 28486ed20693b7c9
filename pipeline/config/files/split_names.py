"""Which split a file, a folder or a value belongs to, by its name, and which files are parts of the same table."""

from __future__ import annotations

import re
from collections.abc import Iterable

SPLITS = ("train", "validation", "test")
ALIASES = {
    **dict.fromkeys(("train", "training", "trn"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev", "devel", "development"), "validation"),
    **dict.fromkeys(("eval", "evaluation", "testa"), "validation"),  # eng.testa: CoNLL-2003
    **dict.fromkeys(("test", "testing", "tst", "testb"), "test"),
}
# Of rows that nobody has labelled, such as unsup in aclImdb.
UNLABELLED = {"unsup", "unsupervised", "unlabeled", "unlabelled"}
# Of MultiNLI's second validation and test split, whose texts are of other genres than the training rows.
MISMATCHED = "mismatched"
# Words that say nothing about the split, in one word with its name: traindata, testset.
_GENERAL = re.compile(r"(?:data|set|dataset|file)s?$")
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
# A quick look, because a folder may contain 50,000 files.
_MAY_BE_SPLIT = re.compile("|".join(ALIASES), re.IGNORECASE)
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE)
_NUMBER = re.compile(r"\d+")
OF = re.compile(r"(\d+)-of-(\d+)")


def split_called(name: str) -> str | None:
    """The split that `name` is a usual name of, in any case: dev is validation."""
    return ALIASES.get(name.strip().lower())


def split_in(name: str) -> str | None:
    """The split that the name of a file or folder mentions: ptb.train.txt, trainData.csv, train-00000-of-00002.

    None if it mentions none, several, or that the rows are unlabelled.
    """
    if not _MAY_BE_SPLIT.search(name):
        return None
    words = [word.lower() for word in _WORD.findall(name)]
    if UNLABELLED & set(words):
        return None
    found = {ALIASES.get(word) or ALIASES.get(_GENERAL.sub("", word)) for word in words} - {None}
    return found.pop() if len(found) == 1 else None


def assigned(names: Iterable[str]) -> dict[str, str | None]:
    """The split that each name in a list of splits stands for; None for those that stand for none.

    Its own name takes precedence over another usual one (dev), and that over one that only mentions the split, such as
    validation_matched, which counts if no other name does.
    """
    names = list(names)
    taken: dict[str, str] = {}
    for name in sorted(names, key=lambda name: name not in SPLITS):
        if split := split_called(name):
            taken.setdefault(split, name)
    for split in SPLITS:
        alike = [name for name in names if split_in(name) == split and MISMATCHED not in other_words(name)]
        if split not in taken and len(alike) == 1:
            taken[split] = alike[0]
    of_name = {name: split for split, name in taken.items()}
    return {name: of_name.get(name) for name in names}


def other_words(name: str) -> frozenset[str]:
    """The words in `name` that are no names of splits, in lower case: ptb and char in ptb.char.train."""
    words = {word.lower() for word in _WORD.findall(name)}
    return frozenset(word for word in words if not (ALIASES.get(word) or ALIASES.get(_GENERAL.sub("", word))))


def without_numbers(name: str) -> str:
    """`name` with each number as #, and without the random part of a name that Spark writes: equal for the parts of
    one table."""
    return _NUMBER.sub("#", _UUID.sub("", name))


def in_order(name: str) -> tuple[tuple[int, int, str], ...]:
    """Key to sort names by: numbers by their value, so that part-10 comes after part-9."""
    pieces = re.split(r"(\d+)", name)
    return tuple((0, int(piece), "") if piece.isdecimal() else (1, 0, piece) for piece in pieces)
