"""Word vectors: a GloVe, word2vec or fastText text file, or the packaged GloVe, into an embedding matrix."""

from __future__ import annotations

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
    """Vectors of the words of a vocabulary.

    Attributes:
        matrix: (V, E) float32; rows of words without a vector are drawn from a normal distribution with the mean and
            spread of the found ones, so that they are of like size.
        found: share of the vocabulary with a vector, in [0, 1].
    """

    matrix: torch.Tensor
    found: float


def load_vectors(name: str, vocabulary: Mapping[str, int], seed: int) -> Vectors:
    """Vectors for `vocabulary` (word -> id) out of `name`, matched as they are written, else in lower case.

    Raises:
        UserError: the file is missing or malformed, with its line, or knows none of the words.
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
        raise UserError(f"{SETTING}: {name} has a vector for none of the {len(vocabulary)} words of the vocabulary")
    return Vectors(_matrix(rows, max(vocabulary.values()) + 1, seed), len(rows) / len(vocabulary))


def words(name: str) -> Iterator[str]:
    """The words of `name`, in the order of the file, which is that of their frequency in the published ones.

    Raises:
        UserError: the file is missing or malformed, with its line.
    """
    path = paths.vectors(name, SETTING)
    return _sample_words(path) if path.is_dir() else _first_fields(path)


def fingerprint(name: str) -> str:
    """What changes when the vectors `name` do: their place, size and time."""
    path = paths.vectors(name, SETTING)
    told = path.stat()
    return f"{path}:{told.st_size}:{told.st_mtime_ns}"


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
    """Words of a text file; a line that is none is refused when its vector is read."""
    with file.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            fields = _decode(line, file, number).rstrip().split(" ")
            if fields[0] and not (number == 1 and len(fields) == 2):
                yield fields[0]


def _text_file(file: Path) -> Iterator[tuple[str, np.ndarray]]:
    """Lines `word x1 ... xE`; a first line of two numbers is the header of word2vec and fastText."""
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
            f"{file}:{number}: not UTF-8 at byte {error.start} of the line; convert the file, or give the text form"
            " of the vectors rather than the binary one"
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
