"""Load pretrained word vectors into an embedding matrix, from the text format of GloVe, word2vec and fastText."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch

from pipeline.config import paths
from pipeline.errors import UserError

SETTING = "model.vectors"


@dataclass(frozen=True)
class Vectors:
    """Vectors for the words of a vocabulary.

    Attributes:
        matrix: (V, E) float32. Rows of words without a vector are drawn from a normal distribution with the mean and
            the standard deviation of the vectors found.
        found: share of the vocabulary with a vector, in [0, 1].
    """

    matrix: torch.Tensor
    found: float


def load_vectors(name: str, vocabulary: Mapping[str, int], seed: int) -> Vectors:
    """Load the vectors of the words of `vocabulary`. A word without a vector gets that of its lowercase form.

    Args:
        name: a text file, or the name of the packaged GloVe vectors.
        vocabulary: word -> id.
        seed: for the words without a vector.

    Raises:
        UserError: the file is missing or malformed (the message names the line), or has none of the words.
    """
    wanted = dict(vocabulary)
    for word, index in vocabulary.items():
        wanted.setdefault(word.lower(), index)
    path = paths.vectors(name, SETTING)
    entries = _sample(path) if path.is_dir() else _text_file(path)
    rows: dict[int, np.ndarray] = {}
    exact: set[int] = set()
    for word, vector in _selected(entries, wanted):
        index = wanted[word]
        if index not in exact:
            rows[index] = vector
        if vocabulary.get(word) == index:
            exact.add(index)
    if not rows:
        raise UserError(f"{SETTING}: {name} has no vector for any of the {len(vocabulary)} words of the vocabulary")
    return Vectors(_matrix(rows, max(vocabulary.values()) + 1, seed), len(rows) / len(vocabulary))


def words(name: str) -> Iterator[str]:
    """The words of `name` in the order of the file. Published vectors are sorted by falling frequency.

    Raises:
        UserError: the file is missing or malformed (the message names the line).
    """
    path = paths.vectors(name, SETTING)
    return _sample_words(path) if path.is_dir() else _first_fields(path)


def check_digits(name: str) -> None:
    """Refuse vectors that tell numbers apart for a tokenizer that does not: all but a few would never be read.

    Raises:
        UserError: a word has a digit other than 0, or the file is missing or malformed.
    """
    word = next((word for word in words(name) if re.search("[1-9]", word)), None)
    if word is not None:
        raise UserError(
            f"data.zero_digits: {SETTING} {name} has a vector for {word}, which would be read as"
            f" {re.sub('[0-9]', '0', word)}; remove it, or use vectors that were trained with 0 for each digit"
        )


def fingerprint(name: str) -> str:
    """A text that changes when the file of the vectors `name` does: its path, size and modification time."""
    path = paths.vectors(name, SETTING)
    status = path.stat()
    return f"{path}:{status.st_size}:{status.st_mtime_ns}"


def _selected(entries: Iterator[tuple[str, np.ndarray]], wanted: Mapping[str, int]) -> Iterator[tuple[str, np.ndarray]]:
    return ((word, vector) for word, vector in entries if word in wanted)


def _matrix(rows: dict[int, np.ndarray], size: int, seed: int) -> torch.Tensor:
    found = np.stack(list(rows.values())).astype(np.float32)
    generator = np.random.Generator(np.random.PCG64(seed))
    matrix = generator.normal(found.mean(), found.std(), (size, found.shape[1])).astype(np.float32)
    matrix[list(rows)] = found
    return torch.from_numpy(matrix)


def _sample(folder: Path) -> Iterator[tuple[str, np.ndarray]]:
    return zip(_sample_words(folder), np.load(folder / "glove_6B_50d_emb.npy", mmap_mode="r"), strict=True)


def _sample_words(folder: Path) -> Iterator[str]:
    return iter(pq.read_table(folder / "glove_6B_index.parquet")["index"].to_pylist())


def _first_fields(file: Path) -> Iterator[str]:
    """The words of a text file. Lines are only checked when their vectors are read."""
    with file.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            fields = _decode(line, file, number).rstrip().split(" ")
            if fields[0] and not (number == 1 and len(fields) == 2):
                yield fields[0]


def _text_file(file: Path) -> Iterator[tuple[str, np.ndarray]]:
    """Word and vector of each line, `word x1 ... xE`. word2vec and fastText start with a header of two numbers."""
    width = None
    with file.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            fields = _decode(line, file, number).rstrip().split(" ")
            if fields == [""]:
                continue
            if number == 1 and len(fields) == 2 and fields[1].isdecimal():
                width = int(fields[1])
                continue
            width = width or max(len(fields) - 1, 1)
            yield _entry(fields, width, file, number)


def _decode(line: bytes, file: Path, number: int) -> str:
    try:
        return line.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{file}:{number}: not UTF-8 at byte {error.start} of the line; convert the file, or use the text"
            " format of the vectors, not the binary one"
        ) from error


def _entry(fields: list[str], width: int, file: Path, number: int) -> tuple[str, np.ndarray]:
    # Some words of the large GloVe files contain spaces: the vector is the last `width` fields.
    word, values = " ".join(fields[:-width]), fields[-width:]
    try:
        vector = np.array(values, dtype=np.float32)
    except ValueError as error:
        raise UserError(f"{file}:{number}: {' '.join(values[:3])} ... is not a vector of {width} numbers") from error
    if not word or len(values) != width or not np.isfinite(vector).all():
        raise UserError(f"{file}:{number}: expected a word and {width} finite numbers")
    return word, vector
