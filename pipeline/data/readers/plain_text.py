"""Plain text (.txt): each line is a row; a line that is very long, such as all of text8, is cut into many."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.config.data import Data
from pipeline.data.readers.common import LINE, chunks

# Longer lines of a running text are cut at blanks, into rows of up to `ROW` characters.
LONG_LINE, ROW = 8192, 2048


def read(file: Path, data: Data, warnings: list[str]) -> Iterator[pa.RecordBatch]:
    """Every line as a batch with the columns `text` (large_string) and `LINE`. Blank lines count in a running text.

    With data.separate, lines are documents, which are not cut.

    Raises:
        UserError: the file is not text in the encoding that it should have.
        OSError: the file cannot be read.
    """
    longest = None if data.separate else LONG_LINE
    line, continues, is_cut = 1, False, False
    for chunk, goes_on in _with_ends(chunks(file, data, longest)):
        content = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        texts = _split(content.removesuffix(b" " if goes_on else b"\n"))
        numbers = list(range(line, line + len(texts)))
        line += len(texts) - goes_on
        if continues and not texts[0].as_py():  # the line ended where it was cut
            texts, numbers = texts[1:], numbers[1:]
        cut = _long(texts, longest) | ({0} if continues else set()) | ({len(texts) - 1} if goes_on else set())
        if cut:
            texts, numbers = _cut_all(texts.to_pylist(), numbers, cut)
            is_cut = True
        continues = goes_on
        if len(texts):
            yield pa.RecordBatch.from_arrays([texts, pa.array(numbers, pa.int64())], names=["text", LINE])
    if is_cut:
        rows = f"rows of up to {ROW} characters"
        warnings.append(f"{file}: lines of more than {longest} bytes are cut at blanks, into {rows}")


def _with_ends(found: Iterator[bytes]) -> Iterator[tuple[bytes, bool]]:
    """Each chunk, and whether its last line goes on in the next."""
    chunk = next(found, b"")
    for following in found:
        yield chunk, not chunk.endswith((b"\n", b"\r"))
        chunk = following
    if chunk:
        yield chunk, False


def _long(texts: pa.Array, longest: int | None) -> set[int]:
    """Which of `texts` have more than `longest` bytes."""
    if longest is None or not len(texts):
        return set()
    return set(np.flatnonzero(pc.binary_length(texts).to_numpy() > longest).tolist())


def _split(content: bytes) -> pa.Array:
    return pc.split_pattern(pa.array([content], pa.large_binary()).cast(pa.large_string()), "\n").values


def _cut_all(texts: Sequence[str], numbers: Sequence[int], cut: set[int]) -> tuple[pa.Array, list[int]]:
    """Rows of up to `ROW` characters in place of the texts whose numbers are in `cut`, and the line of each row."""
    rows, lines = [], []
    for place, (text, number) in enumerate(zip(texts, numbers, strict=True)):
        own = list(_cut(text)) if place in cut else [text]
        rows += own
        lines += [number] * len(own)
    return pa.array(rows, pa.large_string()), lines


def _cut(text: str) -> Iterator[str]:
    start = 0
    while len(text) - start > ROW:
        blank = text.rfind(" ", start + 1, start + ROW + 1)
        end = blank if blank > 0 else start + ROW
        yield text[start:end]
        start = end + 1 if blank > 0 else end
    if text[start:].strip() or start == 0:
        yield text[start:]
