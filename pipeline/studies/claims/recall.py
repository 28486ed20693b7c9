"""The memory task: a symbol, then noise, then the question which symbol it was (Hochreiter & Schmidhuber 1997, section 5).

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


def texts(length: int, count: int, rng: random.Random) -> list[tuple[str, str]]:
    """`count` texts with `length` words of noise, and their labels, every label equally often but for the rest."""
    rows = []
    for number in range(count):
        symbol = f"k{number % SYMBOLS}"
        noise = [f"n{rng.randrange(NOISE)}" for _ in range(length)]
        rows.append((" ".join([symbol, *noise, "?"]), symbol))
    return rows


def write(folder: Path, lengths: Sequence[int], counts: Mapping[str, int], seed: int = 0) -> None:
    """Write one csv file for each split, with `counts[split]` texts of each of the `lengths`."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = random.Random(seed)
    for split, count in counts.items():
        rows = [row for length in lengths for row in texts(length, count, rng)]
        rng.shuffle(rows)
        storage.write(folder / f"{split}.csv", "".join(f"{text},{label}\n" for text, label in [("text", "label"), *rows]))


def read(file: Path) -> tuple[list[str], list[str]]:
    """The texts and labels of a file that `write` has written."""
    with file.open(encoding="utf-8", newline="") as opened:
        _, *rows = csv.reader(opened)
    return [text for text, _ in rows], [label for _, label in rows]


def noise_length(text: str) -> int:
    """How many words of noise a text has."""
    return len(text.split()) - 2


def correct_by_length(texts: Sequence[str], correct: Sequence[bool]) -> dict[int, np.ndarray]:
    """Length -> (N,) whether each of its texts was answered correctly, in the order of the rows."""
    found: dict[int, list[bool]] = {}
    for text, is_correct in zip(texts, correct, strict=True):
        found.setdefault(noise_length(text), []).append(bool(is_correct))
    return {length: np.array(found[length]) for length in sorted(found)}


def longest_recalled(lower_bounds: Mapping[int, float]) -> int:
    """The longest length up to which the lower bound of the accuracy never falls under `RECALLED`; 0 if none."""
    longest = 0
    for length in sorted(lower_bounds):
        if lower_bounds[length] < RECALLED:
            break
        longest = length
    return longest
