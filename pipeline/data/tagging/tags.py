"""Tag schemes, sentence by sentence: IOB1, IOB2 and BIOES in its spellings, converted via spans.

`tag_codes` does the same for many sentences at once, and `unified_tags` for all splits.

Spans are read as conlleval reads them (the script of the CoNLL-2000 and CoNLL-2003 shared tasks): a tag continues an
entity only if one of its type is open, and begins a new one otherwise. So every sequence can be read; those that are
invalid in their scheme are corrected, and a data warning counts them.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

TAG = re.compile(r"O|[BIESLUMW]-.+", re.DOTALL)
# BILOU, BMES and BMEWO are BIOES in other letters: Last, Unit, Middle, Word.
SPELLINGS = {"L": "E", "U": "S", "M": "I", "W": "S"}
OPEN, GOES_ON = "BI", "IE"

Span = tuple[str, int, int]
"""Type, first word, and the word after the last."""


@functools.lru_cache(maxsize=4096)
def split(tag: str) -> tuple[str, str]:
    """Prefix, in the letters of BIOES, and type of a tag; the type of O is empty."""
    prefix, _, kind = tag.partition("-")
    return SPELLINGS.get(prefix, prefix), kind


def spans(tags: Iterable[str]) -> list[Span]:
    """Entities of a sequence of tags of any scheme, in order."""
    found: list[Span] = []
    before, start, end = ("O", ""), 0, 0
    for end, tag in enumerate((*tags, "O")):  # the O after the end closes an entity that is open there
        prefix, kind = split(tag)
        goes_on = prefix in GOES_ON and before[0] in OPEN and kind == before[1]
        if before[0] != "O" and not goes_on:
            found.append((before[1], start, end))
        if not goes_on:
            start = end
        before = (prefix, kind)
    return found


def types(tags: Iterable[str]) -> set[str]:
    """Types of the entities in a set or sequence of tags."""
    return {split(tag)[1] for tag in tags if tag != "O"}


def write(entities: Iterable[Span], length: int, scheme: str) -> list[str]:
    """Tags of `length` words with these entities in `scheme`, iob2 or bioes."""
    tags = ["O"] * length
    for kind, start, end in entities:
        for place in range(start, end):
            tags[place] = f"{PREFIXES[scheme](place - start, end - start)}-{kind}"
    return tags


def convert(tags: Sequence[str], scheme: str) -> list[str]:
    """The same entities in `scheme`."""
    return write(spans(tags), len(tags), scheme)


# scheme -> prefix of a word by its place within an entity of some length
PREFIXES: dict[str, Callable[[int, int], str]] = {
    "iob2": lambda place, length: "I" if place else "B",
    "bioes": lambda place, length: "S" if length == 1 else "B" if place == 0 else "E" if place == length - 1 else "I",
}
NAMES = {"iob2": "IOB2", "bioes": "BIOES"}


def scheme_of(tags: Iterable[str]) -> str:
    """iob2 or bioes: which of them a set of tags, such as the labels of a model, belongs to."""
    return "bioes" if any(split(tag)[0] in "ES" for tag in tags) else "iob2"


def _joined(before: str, tag: str) -> bool:
    """Whether an entity of the tag's type is open before it."""
    return split(before)[0] in OPEN and split(before)[1] == split(tag)[1]


def _breaks_iob1(before: str, tag: str) -> bool:
    return split(tag)[0] == "B" and not _joined(before, tag)


def _breaks_iob2(before: str, tag: str) -> bool:
    return split(tag)[0] == "I" and not _joined(before, tag)


def _breaks_bioes(before: str, tag: str) -> bool:
    goes_on = split(tag)[0] in GOES_ON
    return not (goes_on and _joined(before, tag)) if split(before)[0] in OPEN else goes_on


BREAKS = {"IOB1": _breaks_iob1, "IOB2": _breaks_iob2}


def breaks(tags: Sequence[str], scheme: str) -> Iterator[tuple[int, str, str]]:
    """Place, tag and tag before it, for each pair that is invalid in `scheme`; the end counts as an O."""
    broken = BREAKS.get(scheme, _breaks_bioes)
    before = "O"
    for place, tag in enumerate((*tags, "O")):
        if broken(before, tag):
            yield min(place, len(tags) - 1), tag if place < len(tags) else "the end", before
        before = tag


def scheme_in_data(letters: Iterable[str], invalid: Mapping[str, int]) -> str:
    """The scheme of data: IOB1, IOB2, BIOES, BILOU, BMES or BMEWO.

    Args:
        letters: prefixes that occur.
        invalid: for each of `BREAKS`, how many tags are invalid in it; if there are only B and I, the one with fewer is
            chosen.
    """
    found = set(letters)
    for own, name in (("LU", "BILOU"), ("W", "BMEWO"), ("M", "BMES"), ("ES", "BIOES")):
        if found & set(own):
            return name
    return min(("IOB2", "IOB1"), key=lambda name: invalid[name])
