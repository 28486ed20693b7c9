"""Reads a small file as its reader does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from pipeline.config.data import Data
from pipeline.data.readers import delimited, plain_text
from pipeline.data.readers.common import LINE

READERS = {".csv": delimited.read_csv, ".tsv": delimited.read_tsv, ".txt": plain_text.read}


class Read(NamedTuple):
    """What a reader has found: pairs (line, values), the names of the columns, and warnings without the folder."""

    rows: list[tuple[int, tuple[str, ...]]]
    names: list[str]
    warnings: list[str]

    @property
    def values(self) -> list[tuple[str, ...]]:
        return [values for _, values in self.rows]


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., Read]:
    """Writes a file and reads it: read(name, content, **settings of the data)."""

    def read(name: str, content: str | bytes, **settings: Any) -> Read:
        file = tmp_path / name
        file.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
        rows, names, warnings = [], [], []
        suffix = next(suffix for suffix in READERS if suffix in file.suffixes)
        for batch in READERS[suffix](file, Data(source=str(file), **settings), warnings):
            names = [name for name in batch.schema.names if name != LINE]
            columns = [batch.column(name).to_pylist() for name in (LINE, *names)]
            rows += [(line, values) for line, *values in zip(*columns, strict=True)]
        found = [(line, tuple(values)) for line, values in rows]
        return Read(found, names, [warning.replace(f"{tmp_path}/", "") for warning in warnings])

    return read
