"""What the rows of a split are, and where they stand: kept beside the encoded rows, so that nothing is read again."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from pipeline.config.sources import ResolvedSource
from pipeline.data.columns import kind_of
from pipeline.data.rows import Places, arrow_batches, read_stream

if TYPE_CHECKING:
    from datasets import Dataset

PLACE = "place"
# Names of the columns of roles, if they differ: `tokens` are something else in the results of an evaluation.
COLUMNS = {"tokens": "words"}


def shown(places: Places, source: ResolvedSource) -> Places:
    """`places` with names that do not depend on the machine: that of the sample, or those of files as the user wrote
    them."""
    given = source.data.source
    parts = places.parts
    if source.kind == "sample":
        parts = (given,) * len(parts)
    elif given.startswith("~"):
        begin, _, _ = given.partition("/")
        home = str(Path(begin).expanduser())
        inside = f"{home}{os.sep}"  # not in the folder of someone whose name begins like that of this user
        parts = tuple(begin + part[len(home) :] if part.startswith(inside) else part for part in parts)
    return replace(places, parts=parts)


def write(rows: Dataset, roles: Iterable[str], places: Places, file: Path) -> None:
    """Write the place of each row and what a model reads of it to an Arrow file.

    Args:
        rows: not yet encoded, with a column for each role.
        roles: of the task; those of labels are left out.
    """
    kept = [role for role in roles if role in rows.column_names and not kind_of(role).is_target]
    names = [PLACE, *(COLUMNS.get(role, role) for role in kept)]
    with pa.OSFile(str(file), "wb") as sink:
        stream = None
        for table in arrow_batches(rows, ["line", *kept]):
            where = pa.array(map(places.at, table["line"].to_pylist()), pa.string())
            own = pa.table([where, *(table[role] for role in kept)], names=names)
            stream = stream or pa.ipc.new_stream(sink, own.schema)
            stream.write_table(own)
        if stream:
            stream.close()


def count(file: Path) -> int:
    """Number of rows that `write` has written."""
    with pa.memory_map(str(file)) as source, pa.ipc.open_stream(source) as stream:
        return sum(len(batch) for batch in stream)


def beside(batches: Iterable[pa.RecordBatch], file: Path, size: int) -> Iterator[pa.RecordBatch]:
    """`batches` with the columns of `file` behind their first one, which is the number of the row.

    Args:
        batches: of the first rows of the file, or all of them; each but the last has `size` rows.
    """
    for batch, table in zip(batches, read_stream(str(file), None, size), strict=False):
        own = table.slice(0, len(batch)).combine_chunks().to_batches()[0]
        yield _joined(batch, own)


def _joined(batch: pa.RecordBatch, own: pa.RecordBatch) -> pa.RecordBatch:
    added = [name for name in own.schema.names if name not in batch.schema.names]
    names: Sequence[str] = [batch.schema.names[0], *added, *batch.schema.names[1:]]
    return pa.RecordBatch.from_arrays([(own if name in added else batch).column(name) for name in names], names=names)


def contents(file: Path) -> list[str | tuple[str, str] | list[str]]:
    """What a model reads of each row: texts, pairs of texts or lists of words."""
    with pa.memory_map(str(file)) as source, pa.ipc.open_stream(source) as stream:
        return _contents(stream.read_all())


def sample(file: Path, count: int) -> list[str | tuple[str, str] | list[str]]:
    """What a model reads of `count` rows, or of all if there are fewer, spread over the split: texts, pairs of texts or
    lists of words."""
    with pa.memory_map(str(file)) as source, pa.ipc.open_stream(source) as stream:
        table = stream.read_all()
        if count < len(table):
            table = table.take([number * len(table) // count for number in range(count)])
        return _contents(table)


def _contents(table: pa.Table) -> list[str | tuple[str, str] | list[str]]:
    if "words" in table.column_names:
        return table["words"].to_pylist()
    if "text_pair" in table.column_names:
        return list(zip(table["text"].to_pylist(), table["text_pair"].to_pylist(), strict=True))
    return table["text"].to_pylist()
