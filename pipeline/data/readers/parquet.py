"""Parquet files: their rows in batches, and the names of classes that `datasets` keeps in their metadata."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.config.data import Data
from pipeline.data.readers import features
from pipeline.data.readers.common import NumberedRow
from pipeline.data.readers.record_batches import ROWS_PER_BATCH, of_table
from pipeline.errors import UserError, reason

# About the size of a batch; the texts of 5000 rows may be large.
BATCH_BYTES = 16 << 20


def read(file: Path, data: Data, warnings: list[str]) -> Iterator[pa.RecordBatch | NumberedRow]:
    """Rows, numbered from 1, in batches of about `BATCH_BYTES`.

    Raises:
        UserError: the file is damaged, two columns have the same name, or a value of the type Json is not JSON.
    """
    number = 0
    try:
        with pq.ParquetFile(file) as table:
            check_names(file, table.schema_arrow)
            for batch in table.iter_batches(_rows_per_batch(table.metadata)):
                yield from of_table(file, batch, number + 1)
                number += batch.num_rows
    except UserError:
        raise
    except (pa.ArrowException, ValueError, OSError) as error:  # Arrow raises OSError for damaged bytes, too
        raise UserError(f"{file}: not a readable parquet file after row {number}: {reason(error)}") from error


def _rows_per_batch(metadata: pq.FileMetaData) -> int:
    size = sum(metadata.row_group(group).total_byte_size for group in range(metadata.num_row_groups))
    return max(1, min(ROWS_PER_BATCH, BATCH_BYTES * metadata.num_rows // max(size, 1)))


def check_names(file: Path, schema: pa.Schema) -> None:
    """Refuse a table in which two columns have the same name.

    Raises:
        UserError: as above.
    """
    doubled = [name for name in schema.names if schema.names.count(name) > 1]
    if doubled:
        raise UserError(f"{file}: two columns are called {doubled[0]!r}; rename one")


def class_names(file: Path) -> dict[str, list[str]]:
    """Column -> names of its classes, if `datasets` wrote the file and stored its features in the metadata."""
    try:
        return features.in_metadata(pq.read_schema(file).metadata)
    except (pa.ArrowException, ValueError, OSError):
        return {}  # reading the rows reports what is wrong with the file
