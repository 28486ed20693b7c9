"""The surprisal of each word, -log2 of its probability: the sum over its tokens, so that models with other tokenizers
can be compared."""

from __future__ import annotations

import bisect
import itertools
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import run_folder
from pipeline.compare.page.html import Html, join, number, tag

if TYPE_CHECKING:
    from tokenizers import Tokenizer

STEPS = (1, 2, 4, 6, 9, 12, 16)  # bits from which the next colour begins
END = "↵"  # the token after the text


class Tokenizers:
    """The tokenizers of runs, each read once."""

    def __init__(self) -> None:
        self._read: dict[Path, Tokenizer | None] = {}

    def of(self, folder: Path) -> Tokenizer | None:
        """That of the run in `folder`; None if it cannot be read."""
        if folder not in self._read:
            self._read[folder] = _read(folder / run_folder.MODEL / "tokenizer.json")
        return self._read[folder]


def _read(file: Path) -> Tokenizer | None:
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception:  # the library raises Exception itself, for a missing file as for one of a newer version
        return None
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def word_bits(text: str, token_nll: Sequence[float], tokenizer: Any) -> list[tuple[str, float]] | None:
    """Each word of `text`, and the end, with its bits; None if the tokens are not those of `token_nll`.

    Args:
        token_nll: of each token of the text, and of the end token after it.
    """
    if tokenizer is None:
        return None
    offsets = tokenizer.encode(text, add_special_tokens=False).offsets
    found = list(re.finditer(r"\S+", text))
    if len(offsets) + 1 != len(token_nll) or not found:
        return None
    starts, bits = [word.start() for word in found], [0.0] * len(found)
    for (start, end), nll in zip(offsets, token_nll, strict=False):
        while start < end - 1 and text[start].isspace():  # byte-level tokens begin with the blank before the word
            start += 1
        place = max(bisect.bisect_right(starts, start) - 1, 0)
        if start >= found[place].end() and place + 1 < len(found):
            place += 1  # a token of blanks belongs to the word after it
        bits[place] += nll / math.log(2)
    return [*((word[0], own) for word, own in zip(found, bits, strict=True)), (END, token_nll[-1] / math.log(2))]


def coloured(bits: Sequence[tuple[str, float]], most: int) -> Html:
    """The first `most` words on a background that is the stronger the more surprising they are."""
    shown = join(
        (
            tag("i", word, class_=f"s{bisect.bisect_right(STEPS, own)}", title=number(own, 1))
            for word, own in bits[:most]
        ),
        " ",
    )
    return tag("p", shown, " …" if len(bits) > most else "", dir="auto", class_="text")


def legend() -> Html:
    """What the colours mean."""
    names = [f"under {STEPS[0]}", *(f"{a}–{b}" for a, b in itertools.pairwise(STEPS)), f"{STEPS[-1]} or more"]
    items = (tag("li", tag("i", name, class_=f"s{place}")) for place, name in enumerate(names))
    said = tag("li", f"bits of surprisal of a word; {END} is the end of a row")
    return tag("ul", *items, said, class_="legend text", aria_label="Bits of surprisal")
