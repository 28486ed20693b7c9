"""Arrow files (.arrow, .feather): the stream that `datasets` writes, and the file that others write."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from pipeline.config.data import Data
from pipeline.config.files.hub_folders import info_beside
from pipeline.data.readers import features
from pipeline.data.readers.common import NumberedRow
from pipeline.data.readers.parquet import check_names
from pipeline.data.readers.record_batches import ROWS_PER_BATCH, of_table
from pipeline.errors import UserError, reason

FILE, FEATHER_1 = b"ARROW1", b"FEA1"


def read(file: Path, data: Data, warnings: list[str]) -> Iterator[pa.RecordBatch | NumberedRow]:
    """Rows, numbered from 1; the file is mapped into memory, and `ROWS_PER_BATCH` of them are used at once.

    Raises:
        UserError: the file is damaged, two columns have the same name, or a value of the type Json is not JSON.
    """
    number = 0
    try:
        with pa.memory_map(str(file)) as source:
            schema, batches = _opened(file, source)
            check_names(file, schema)
            for batch in batches:
                for start in range(0, batch.num_rows, ROWS_PER_BATCH):
                    piece = batch.slice(start, ROWS_PER_BATCH)
                    yield from of_table(file, piece, number + 1)
                    number += piece.num_rows
    except UserError:
        raise
    except (pa.ArrowException, ValueError, OSError) as error:
        raise UserError(f"{file}: not a readable Arrow file after row {number}: {reason(error)}") from error


def _opened(file: Path, source: pa.NativeFile) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    start = source.read(len(FILE))
    source.seek(0)
    if start.startswith(FEATHER_1):
        from pyarrow import feather  # imports pandas

        table = feather.read_table(file)
        return table.schema, iter(table.to_batches())
    if start == FILE:
        opened = pa.ipc.open_file(source)
        return opened.schema, (opened.get_batch(place) for place in range(opened.num_record_batches))
    stream = pa.ipc.open_stream(source)
    return stream.schema, iter(stream)


def class_names(file: Path) -> dict[str, list[str]]:
    """Column -> names of its classes, from the metadata, or from dataset_info.json next to the file."""
    try:
        with pa.memory_map(str(file)) as source:
            found = features.in_metadata(_opened(file, source)[0].metadata)
    except (pa.ArrowException, ValueError, OSError):
        return {}  # reading the rows reports what is wrong with the file
    for beside in () if found else info_beside(file):
        with contextlib.suppress(OSError, ValueError):
            info = json.loads(beside.read_text(encoding="utf-8"))
            return features.in_features(info.get("features") if isinstance(info, dict) else None)
    return found
