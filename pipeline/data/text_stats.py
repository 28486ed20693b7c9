"""Statistics of texts that need no model: which of them are equal, and in which scripts they are written."""

from __future__ import annotations

import hashlib
import string
import unicodedata
from collections import Counter
from collections.abc import Iterable

import numpy as np

_PUNCTUATION = str.maketrans(dict.fromkeys(string.punctuation, " "))
# Unicode's classes of right-to-left letters: Hebrew and related scripts, Arabic and related scripts (UAX 9).
RIGHT_TO_LEFT = ("R", "AL")
SMALLEST_SHARE = 0.01


def normalised(text: str) -> str:
    """`text` in compatibility form (NFKC), case-folded, without ASCII punctuation, with single blanks."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().translate(_PUNCTUATION).split())


def digests(texts: Iterable[str], exact: bool = False) -> np.ndarray:
    """(N,) uint64, equal for equal texts, after normalisation unless `exact`. Only eight bytes per row are kept."""
    numbers = (_digest(text if exact else normalised(text) or text) for text in texts)
    return np.fromiter(numbers, dtype=np.uint64)


def _digest(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8"), digest_size=8).digest(), "little")


def script_shares(texts: Iterable[str]) -> dict[str, float]:
    """Script -> its share of the letters, most common first; scripts below `SMALLEST_SHARE` are left out."""
    counts = Counter(_script(character) for text in texts for character in text if character.isalpha())
    total = sum(counts.values())
    return {name: count / total for name, count in counts.most_common() if count / total >= SMALLEST_SHARE}


def right_to_left_share(texts: Iterable[str]) -> float:
    """Share of the letters that are written from right to left; 0 if there are no letters."""
    letters = [unicodedata.bidirectional(character) for text in texts for character in text if character.isalpha()]
    return sum(kind in RIGHT_TO_LEFT for kind in letters) / len(letters) if letters else 0.0


def _script(letter: str) -> str:
    """The first word of a letter's Unicode name names its script: HEBREW LETTER ALEF."""
    return unicodedata.name(letter, "unknown").split()[0].split("-")[0].capitalize()
