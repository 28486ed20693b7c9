"""Parquet files: their rows, and the names of classes that `datasets` keeps in their metadata."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.config.data import Data
from pipeline.data.readers.common import NumberedRow
from pipeline.errors import UserError, reason

ROWS_PER_BATCH = 1024


def read(file: Path, data: Data, warnings: list[str]) -> Iterator[NumberedRow]:
    """Rows, numbered from 1; `ROWS_PER_BATCH` of them are in memory at once.

    Raises:
        UserError: the file is damaged, or two columns have the same name.
    """
    number = 0
    try:
        with pq.ParquetFile(file) as table:
            names = table.schema_arrow.names
            doubled = [name for name in names if names.count(name) > 1]
            if doubled:
                raise UserError(f"{file}: two columns are called {doubled[0]!r}; rename one")
            for batch in table.iter_batches(ROWS_PER_BATCH):
                for row in _times_as_text(batch).to_pylist():
                    number += 1
                    yield number, row
    except UserError:
        raise
    except (pa.ArrowException, ValueError, OSError) as error:  # Arrow raises OSError for damaged bytes, too
        raise UserError(f"{file}: not a readable parquet file after row {number}: {reason(error)}") from error


def _times_as_text(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Timestamps and durations as Arrow writes them: Python's own types cannot hold all of them."""
    columns = [column.cast(pa.string()) if pa.types.is_temporal(column.type) else column for column in batch.columns]
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)


def class_names(file: Path) -> dict[str, list[str]]:
    """Column -> names of its classes, if `datasets` wrote the file and stored its features in the metadata."""
    try:
        noted = (pq.read_schema(file).metadata or {}).get(b"huggingface", b"{}")
        features = json.loads(noted).get("info", {}).get("features", {})
    except (pa.ArrowException, ValueError, OSError):
        return {}  # reading the rows reports what is wrong with the file
    kinds = {column: kind.get("feature", kind) for column, kind in features.items() if isinstance(kind, dict)}
    return {column: kind["names"] for column, kind in kinds.items() if kind.get("_type") == "ClassLabel"}
