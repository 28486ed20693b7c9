"""How tags are written in files: which form they have, and the same tag as O or a prefix, a hyphen and a type."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

# Spellings of O; the last two are the Greek and the Cyrillic letter.
OUTSIDE = frozenset({"O", "o", "0", "<O>", "<o>", "[O]", "Ο", "О"})
# What stands for O next to tags with prefixes; the words, also if nothing else does and most words have it.
MARKS = frozenset({"_", "-"})
OUTSIDE_IF_COMMON = frozenset({"none", "null", "nil", "other", "out", "outside", "na", "n/a"})
LETTERS = "BIESLUMW"
PREFIXED = re.compile(rf"([{LETTERS}{LETTERS.lower()}])[-_:](.+)", re.DOTALL)
SUFFIXED = re.compile(rf"(.+)[-_:]([{LETTERS}])", re.DOTALL)
# The type of entities whose tags have none.
UNNAMED = "ENT"
# More types than this are not types, but words, lemmas or numbers.
MOST_TYPES = 500

Kind = Literal["prefix", "suffix", "letters", "types"]


@dataclass(frozen=True)
class Form:
    """How the tags of some data are written.

    Attributes:
        kind: prefix (B-PER), suffix (PER-B), letters (B, I and O) or types (PER; runs of one type are an entity).
        outside: the spellings of O that occur.
        unnamed: the type of the entities if the tags are letters.
    """

    kind: Kind
    outside: frozenset[str]
    unnamed: str = UNNAMED

    def standard(self, tag: str) -> str | None:
        """`tag` as O, or as a prefix, a hyphen and a type; None if it is not a tag of this form."""
        if tag in OUTSIDE or tag in self.outside:
            return "O"
        if self.kind == "prefix":
            return f"{match[1].upper()}-{match[2]}" if (match := PREFIXED.fullmatch(tag)) else None
        if self.kind == "suffix":
            return f"{match[2]}-{match[1]}" if (match := SUFFIXED.fullmatch(tag)) else None
        if self.kind == "letters":
            return f"{tag.upper()}-{self.unnamed}" if _is_letter(tag) else None
        return f"I-{tag}" if tag.strip() and not tag.isdecimal() else None


def form_of(counts: Mapping[str, int]) -> Form | None:
    """The form that most tags have, or None if they are not tags of entities.

    Args:
        counts: tag -> how often it occurs. Numbers need to be replaced by their names before.
    """
    outside = outside_of(counts)
    inside = {tag: count for tag, count in counts.items() if tag not in outside}
    kind = _kind_of(inside)
    if kind == "types" and not (outside and len(inside) <= MOST_TYPES and not any(tag.isdecimal() for tag in inside)):
        return None
    return Form(kind, outside)


def outside_of(counts: Mapping[str, int]) -> frozenset[str]:
    """The tags in `counts` that stand for O."""
    found = OUTSIDE & counts.keys()
    rare = {tag for tag in counts if tag.casefold() in OUTSIDE_IF_COMMON | MARKS}
    others = {tag: count for tag, count in counts.items() if tag not in found and tag not in rare}
    if others and _kind_of(others) in ("prefix", "suffix"):
        return frozenset(found | rare)
    total = sum(counts.values())
    common = {tag for tag in rare - MARKS if counts[tag] > total / 2} if not found else set()
    return frozenset(found | common)


def _kind_of(counts: Mapping[str, int]) -> Kind:
    """What at least half of the words with these tags have."""
    total = sum(counts.values())
    fitting: dict[Kind, Callable[[str], object]] = {
        "prefix": PREFIXED.fullmatch,
        "suffix": SUFFIXED.fullmatch,
        "letters": _is_letter,
    }
    for kind, fits in fitting.items():
        if 2 * sum(count for tag, count in counts.items() if fits(tag)) >= total:
            return kind
    return "types"


def _is_letter(tag: str) -> bool:
    return len(tag) == 1 and tag.upper() in LETTERS
