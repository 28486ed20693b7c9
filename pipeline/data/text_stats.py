"""A number for each text: equal for texts that are equal after normalising."""

from __future__ import annotations

import hashlib
import string
import unicodedata
from collections.abc import Iterable

import numpy as np

_PUNCTUATION = str.maketrans(dict.fromkeys(string.punctuation, " "))


def normalised(text: str) -> str:
    """`text` in compatibility form, without case and ASCII punctuation, its blanks single."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().translate(_PUNCTUATION).split())


def digests(texts: Iterable[str], exact: bool = False) -> np.ndarray:
    """(N,) uint64 of the texts, normalised unless `exact`; eight bytes a row are all that is kept in memory."""
    numbers = (_digest(text if exact else normalised(text) or text) for text in texts)
    return np.fromiter(numbers, dtype=np.uint64)


def _digest(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8"), digest_size=8).digest(), "little")
