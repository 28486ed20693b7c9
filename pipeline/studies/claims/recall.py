"""The memory task: a symbol, then noise, then the question which symbol it was.

It is of the kind of Hochreiter & Schmidhuber (1997, section 5).
A text is `k3 n17 n4 ... n25 ?` and its label `k3`. All words but the first say nothing about the label.
"""

from __future__ import annotations

import csv
import random
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from pipeline import storage

SYMBOLS, NOISE = 8, 50
# A length is recalled if the interval of the accuracy lies above this; chance is 1 / SYMBOLS.
RECALLED = 0.9


def texts(longest: int, count: int, rng: random.Random) -> list[tuple[str, str]]:
    """`count` texts and their labels, every label equally often but for the rest.

    Args:
        longest: most words of noise; each text has a random number above half of it, because a recurrent network can
            also learn to answer after a fixed number of words.
    """
    return [text_of(rng.randint(longest // 2 + 1, longest), number, rng) for number in range(count)]


def text_of(noise: int, number: int, rng: random.Random) -> tuple[str, str]:
    """A text with `noise` words of noise, and its label, which is the `number`-th of the symbols, in turn."""
    symbol = f"k{number % SYMBOLS}"
    return " ".join([symbol, *(f"n{rng.randrange(NOISE)}" for _ in range(noise)), "?"]), symbol


def write(folder: Path, lengths: Sequence[int], counts: Mapping[str, int], seed: int = 0) -> None:
    """Write one csv file for each split, with `counts[split]` texts in all, the same share for each of the lengths.

    Args:
        lengths: most words of noise in a text, see `texts`; powers of two.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rng = random.Random(seed)
    for split, count in counts.items():
        rows = [row for length in lengths for row in texts(length, count // len(lengths), rng)]
        rng.shuffle(rows)
        storage.write(
            folder / f"{split}.csv", "".join(f"{text},{label}\n" for text, label in [("text", "label"), *rows])
        )


def read(file: Path) -> tuple[list[str], list[str]]:
    """The texts and labels of a file that `write` has written."""
    with file.open(encoding="utf-8", newline="") as opened:
        _, *rows = csv.reader(opened)
    return [text for text, _ in rows], [label for _, label in rows]


def length_of(text: str) -> int:
    """The power of two that is the most words of noise of texts such as this."""
    return int(1 << (len(text.split()) - 3).bit_length())


def correct_by_length(texts: Sequence[str], correct: Sequence[bool]) -> dict[int, np.ndarray]:
    """Length -> (N,) whether each of its texts was answered correctly, in the order of the rows."""
    found: dict[int, list[bool]] = {}
    for text, is_correct in zip(texts, correct, strict=True):
        found.setdefault(length_of(text), []).append(bool(is_correct))
    return {length: np.array(found[length]) for length in sorted(found)}


def longest_recalled(lower_bounds: Mapping[int, float]) -> int:
    """The longest length up to which the lower bound of the accuracy never falls under `RECALLED`; 0 if none."""
    longest = 0
    for length in sorted(lower_bounds):
        if lower_bounds[length] < RECALLED:
            break
        longest = length
    return longest
