"""The rows of an evaluation in a Parquet file: what each one is, what the model made of it, and what that cost.

A run writes `predictions/<split>.parquet` in its folder, and `finetune evaluate --rows FILE` writes one anywhere. The
rows are in the order of their split, and nothing in the file depends on the machine, the clock, the number of processes
or the order of the batches.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import run_folder, storage
from pipeline.errors import UserError, reason

if TYPE_CHECKING:
    import pyarrow as pa

SUFFIX = ".parquet"
ROWS_PER_GROUP = 4096
# In the metadata of the schema, under this key, is the JSON of a `PredictionInfo`.
KEY = b"finetune"


@dataclass(frozen=True)
class PredictionInfo:
    """What a file of rows does not say row by row.

    Attributes:
        task: sentiment, ner, next_word, translation, or module:Class.
        problem_type: what the labels of texts are, in the terms of transformers' configurations; None: there are none.
        split: train, validation or test.
        labels: names of the classes in the order of `scores`; of ner: the tags that the model has learned; otherwise
            none.
        settings: what scoring needs beside the rows: the `thresholds` of several labels, one for each class; the
            `context` and `stride` of next_word, whether its rows are lines of one `running` text, and the `cache` with
            which they were scored, if there was one.
    """

    task: str
    problem_type: str | None
    split: str
    labels: list[str]
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Predictions:
    """A file of rows.

    Attributes:
        table: a row per text, sentence, document or line; all have `id`, the number of the row in its split, and
            built-in tasks `place`, `tokens` and `nll` or `squared_error` as well.
    """

    table: pa.Table
    info: PredictionInfo


def write(file: Path, info: PredictionInfo, batches: Iterable[pa.RecordBatch]) -> None:
    """Write `batches`, of at least one row, to `file`, which is complete or absent; memory does not grow with the rows.

    Args:
        batches: all with the columns of the first. Each becomes a row group, so ROWS_PER_GROUP is a good size.
    """
    import pyarrow.parquet as pq

    remaining = iter(batches)
    first = next(remaining)
    schema = first.schema.with_metadata({KEY: json.dumps(dataclasses.asdict(info), ensure_ascii=False).encode()})
    file.parent.mkdir(exist_ok=True)
    with storage.published(file) as aside, pq.ParquetWriter(aside, schema, **_options(schema)) as writer:
        writer.write_batch(first.replace_schema_metadata(schema.metadata))
        for batch in remaining:
            writer.write_batch(batch.replace_schema_metadata(schema.metadata))


def _options(schema: pa.Schema) -> dict[str, Any]:
    """Numbers hardly repeat, so a dictionary of them costs time and saves no space; tags and labels do."""
    import pyarrow as pa

    repeated = {name for name in ("gold", "prediction") if name in schema.names}
    names = [f"{name}.list.element" if pa.types.is_list(schema.field(name).type) else name for name in repeated]
    spans = [f"{name}.list.element.type" for name in ("gold_spans", "predicted_spans") if name in schema.names]
    return {"compression": "zstd", "use_dictionary": sorted([*names, *spans]), "write_statistics": False}


def read(file: Path) -> Predictions:
    """The rows that `write` has written.

    Raises:
        UserError: there is no such file, or it is another.
    """
    import pyarrow.parquet as pq

    if not file.is_file():
        raise UserError(f"{file}: there is no such file; runs and finetune evaluate --rows FILE write the rows")
    try:
        table = pq.read_table(file)
        info = PredictionInfo(**json.loads((table.schema.metadata or {})[KEY]))
    except (OSError, ValueError, TypeError, LookupError) as error:
        raise UserError(
            f"{file}: not the rows of an evaluation ({reason(error)}); finetune evaluate --rows {file} writes them"
        ) from error
    return Predictions(table.replace_schema_metadata(None), info)


def check_target(name: str, setting: str) -> Path:
    """The file `name`, to which rows can be written.

    Raises:
        UserError: it is a folder, its suffix is not .parquet, or its folder is missing or cannot be written to.
    """
    file = Path(name).expanduser()
    if file.is_dir():
        raise UserError(f"{setting}: {name} is a folder; name a file in it, such as {file / 'rows.parquet'}")
    if file.suffix != SUFFIX:
        raise UserError(f"{setting}: {name} does not end in {SUFFIX}; rows are written as Parquet, so name it so")
    folder = file.parent
    if folder.name == run_folder.PREDICTIONS and (folder.parent / run_folder.RECIPE).is_file() and not folder.exists():
        folder = folder.parent  # a run of an older version has no such folder yet; `write` makes it
    if not folder.is_dir():
        raise UserError(f"{setting}: there is no folder {folder}; make it, or name a file in another")
    if not os.access(folder, os.W_OK):
        raise UserError(f"{setting}: {folder} cannot be written to; name a file in another folder")
    return file


def batches_of(rows: Callable[[], Iterable[Mapping[str, Any]]]) -> Iterator[pa.RecordBatch]:
    """Rows of any columns in batches of ROWS_PER_GROUP. A column that Arrow has no type for, such as one of numbers and
    strings, holds the JSON of its values.

    Args:
        rows: gives the rows, whose values are JSON-serializable; it is called twice.
    """
    import pyarrow as pa

    schema = _schema_of(rows())
    for part in _parts(rows()):
        columns = [
            pa.array(
                [json.dumps(row.get(name), ensure_ascii=False) for row in part]
                if schema.field(name).metadata
                else [row.get(name) for row in part],
                schema.field(name).type,
            )
            for name in schema.names
        ]
        yield pa.RecordBatch.from_arrays(columns, schema=schema.remove_metadata())


def _parts(rows: Iterable[Mapping[str, Any]]) -> Iterator[list[Mapping[str, Any]]]:
    remaining = iter(rows)
    while part := list(islice(remaining, ROWS_PER_GROUP)):
        yield part


def _schema_of(rows: Iterable[Mapping[str, Any]]) -> pa.Schema:
    """The type of each column; one with metadata holds JSON."""
    import pyarrow as pa

    fields: dict[str, pa.Field] = {}
    for part in _parts(rows):
        for name in dict.fromkeys(name for row in part for name in row):
            try:
                found = pa.field(name, pa.array([row.get(name) for row in part]).type)
                known = [pa.schema([fields[name]])] if name in fields else []
                fields[name] = pa.unify_schemas([*known, pa.schema([found])], promote_options="permissive").field(0)
            except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError):
                fields[name] = pa.field(name, pa.string(), metadata={"is": "json"})
    return pa.schema(fields.values())
