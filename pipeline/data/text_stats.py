"""Statistics of texts that need no model: which of them are equal, and in which scripts they are written."""

from __future__ import annotations

import functools
import re
import string
import unicodedata
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.data.rows import arrow_column, numpy_column, whole

if TYPE_CHECKING:
    from datasets import Dataset

_PUNCTUATION = str.maketrans(dict.fromkeys(string.punctuation, " "))
# The same and blanks, for ASCII texts: what str.split splits at.
_SEPARATORS = rf"[{re.escape(string.punctuation)}\x09-\x0d\x1c-\x20]+"
# Unicode's classes of right-to-left letters: Hebrew and related scripts, Arabic and related scripts (UAX 9).
RIGHT_TO_LEFT = ("R", "AL")
SMALLEST_SHARE = 0.01
EXACT, LOOSE = "exact_digest", "loose_digest"
"""Columns of the digests of texts: of the texts themselves, and of their normal form."""
BLANK = 0
"""Digest of a text without words. hash() returns it for the empty string."""


def normalised(text: str) -> str:
    """`text` in compatibility form (NFKC), case-folded, without ASCII punctuation, with single blanks."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().translate(_PUNCTUATION).split())


def digests(texts: pa.Array, exact: bool = False) -> np.ndarray:
    """(N,) int64, equal for equal texts, after normalisation unless `exact`; `BLANK` for texts of blanks.

    They are only comparable within a process. Among 10 million texts, two different ones get the same number with a
    probability of 3 in a million.
    """
    numbers = np.fromiter(map(hash, (texts if exact else _normal_forms(texts)).to_pylist()), np.int64, len(texts))
    numbers[pc.equal(pc.utf8_trim_whitespace(texts), "").to_numpy(zero_copy_only=False)] = BLANK
    return numbers


def _normal_forms(texts: pa.Array) -> pa.Array:
    """`normalised` of each text, or the text itself if nothing is left of it; ASCII texts all at once."""
    is_ascii = pc.string_is_ascii(texts)
    lowered = pc.ascii_lower(texts)
    plain = pc.ascii_trim_whitespace(pc.replace_substring_regex(lowered, _SEPARATORS, " "))
    plain = pc.if_else(pc.equal(plain, ""), texts, plain)
    if pc.all(is_ascii).as_py():
        return plain
    others = [normalised(text) or text for text in texts.filter(pc.invert(is_ascii)).to_pylist()]
    return pc.replace_with_mask(plain, pc.invert(is_ascii), pa.array(others, texts.type))


def digest_column(rows: Dataset, name: str) -> np.ndarray:
    """(N,) the column `EXACT` or `LOOSE` of a split, computed from its texts if it has no such column."""
    if name in rows.column_names:
        return numpy_column(rows, name)
    return text_digests(rows, exact=name == EXACT)


def text_digests(rows: Dataset, exact: bool = False) -> np.ndarray:
    """(N,) `digests` of the texts of a split, also where its columns are those of pairs of texts."""
    parts = [digests(whole(part), exact) for part in arrow_column(rows, "text")]
    return np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64)


def script_shares(texts: Iterable[str]) -> dict[str, float]:
    """Script -> its share of the letters, most common first; scripts below `SMALLEST_SHARE` are left out."""
    characters: Counter[str] = Counter()
    for text in texts:
        characters.update(text)
    counts: Counter[str] = Counter()
    for character, count in characters.items():
        if character.isalpha():
            counts[script(character)] += count
    total = sum(counts.values())
    return {name: count / total for name, count in counts.most_common() if count / total >= SMALLEST_SHARE}


def right_to_left_share(texts: Iterable[str]) -> float:
    """Share of the letters that are written from right to left; 0 if there are no letters."""
    letters = [unicodedata.bidirectional(character) for text in texts for character in text if character.isalpha()]
    return sum(kind in RIGHT_TO_LEFT for kind in letters) / len(letters) if letters else 0.0


@functools.cache
def script(letter: str) -> str:
    """The script of a letter. The first word of its Unicode name says it: HEBREW LETTER ALEF."""
    words = unicodedata.name(letter, "unknown").removeprefix("HALFWIDTH ").removeprefix("FULLWIDTH ").split()
    return "Han" if words[0] == "CJK" else words[0].split("-")[0].capitalize()
