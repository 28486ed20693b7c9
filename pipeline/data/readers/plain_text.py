"""Plain text (.txt): each line is a row; a line that is very long, such as all of text8, is cut into many."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

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
    for chunk in chunks(file, data, longest):
        content = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        is_whole = content.endswith(b"\n")
        is_cut = is_cut or continues
        if longest and not is_whole and len(content) - content.rfind(b"\n") > longest:
            content = content.removesuffix(b" ")  # where the line is cut
        texts = _split(content.removesuffix(b"\n"))
        numbers = list(range(line, line + len(texts)))
        line += len(texts) if is_whole else len(texts) - 1
        if continues and not texts[0].as_py():  # the line ended where it was cut
            texts, numbers = texts[1:], numbers[1:]
        if longest and len(texts) and pc.max(pc.binary_length(texts)).as_py() > longest:
            texts, numbers = _cut_all(texts.to_pylist(), numbers, longest)
            is_cut = True
        continues = not is_whole
        if len(texts):
            yield pa.RecordBatch.from_arrays([texts, pa.array(numbers, pa.int64())], names=["text", LINE])
    if is_cut:
        warnings.append(
            f"{file}: lines of more than {longest} bytes are cut at blanks, into rows of up to {ROW} characters"
        )


def _split(content: bytes) -> pa.Array:
    return pc.split_pattern(pa.array([content], pa.large_binary()).cast(pa.large_string()), "\n").values


def _cut_all(texts: Sequence[str], numbers: Sequence[int], longest: int) -> tuple[pa.Array, list[int]]:
    """Rows of up to `ROW` characters in place of each text of more than `longest` bytes, and the line of each."""
    rows, lines = [], []
    for text, number in zip(texts, numbers, strict=True):
        own = list(_cut(text)) if len(text.encode()) > longest else [text]
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
