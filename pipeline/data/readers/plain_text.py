"""Plain text (.txt): each line is a row."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.config.data import Data
from pipeline.data.readers.common import LINE, chunks


def read(file: Path, data: Data, warnings: list[str]) -> Iterator[pa.RecordBatch]:
    """Every line as a batch with the columns `text` (large_string) and `LINE`. Blank lines count in a running text.

    Raises:
        UserError: the file is not text in the encoding that it should have.
        OSError: the file cannot be read.
    """
    line = 1
    for chunk in chunks(file, data):
        content = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n").removesuffix(b"\n")
        texts = pc.split_pattern(pa.array([content], pa.large_binary()).cast(pa.large_string()), "\n").values
        numbers = np.arange(line, line + len(texts))
        yield pa.RecordBatch.from_arrays([texts, pa.array(numbers, pa.int64())], names=["text", LINE])
        line += len(texts)
