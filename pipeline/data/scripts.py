"""Which scripts texts are written in, and whether they run from right to left."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable

# Unicode's classes of letters that run from right to left: Hebrew's and others', Arabic's and its kin's (UAX 9).
RIGHT_TO_LEFT = ("R", "AL")
SMALLEST_SHARE = 0.01


def shares(texts: Iterable[str]) -> dict[str, float]:
    """Script -> share of the letters that are of it, the commonest first, of those that have a hundredth or more."""
    counts = Counter(_script(character) for text in texts for character in text if character.isalpha())
    total = sum(counts.values())
    return {name: count / total for name, count in counts.most_common() if count / total >= SMALLEST_SHARE}


def right_to_left_share(texts: Iterable[str]) -> float:
    """Share of the letters that run from right to left; 0 where there are none."""
    letters = [unicodedata.bidirectional(character) for text in texts for character in text if character.isalpha()]
    return sum(kind in RIGHT_TO_LEFT for kind in letters) / len(letters) if letters else 0.0


def _script(letter: str) -> str:
    """The first word of a letter's name is that of its script: HEBREW LETTER ALEF."""
    return unicodedata.name(letter, "unknown").split()[0].split("-")[0].capitalize()
