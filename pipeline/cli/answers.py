"""Where the answers of `finetune predict` go: to standard output, or to a file that is complete or absent."""

from __future__ import annotations

import csv
import itertools
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pipeline import storage
from pipeline.config import paths
from pipeline.errors import UserError, reason, writing

Answers = Iterable[dict[str, Any]]

ROWS_PER_BATCH = 2048


def check(output: str | None, input: str, format: str | None) -> None:
    """Refuse a file that cannot be written, before anything is imported.

    Raises:
        UserError: as above.
    """
    if output is None:
        return
    file = paths.local(output, "output")
    if file.is_dir() or not file.parent.is_dir():
        wrong = f"{output} is a folder" if file.is_dir() else f"there is no folder {file.parent}"
        raise UserError(f"output: {wrong}; name a file in an existing folder")
    if input != "-" and file.exists() and file.samefile(paths.local(input, "input")):
        raise UserError(f"output: {output} is also the input; name another file")
    if format is None and file.suffix.lower() not in WRITERS:
        raise UserError(f"output: {output} must end with {' or '.join(WRITERS)}")
    if format is not None and file.suffix.lower() in (".csv", ".parquet"):
        raise UserError(f"output: {format} is not written as {file.suffix}; name a file with another suffix")


def write(answers: Answers, output: str | None, format: str | None, flush: bool) -> None:
    """Write `answers` to the file `output`, or print them.

    Args:
        format: of an annotation tool, see data/annotations/export.py; None: as `output` ends, JSON lines if printed.
        flush: whether each printed answer is passed on at once.

    Raises:
        UserError: the answers have no such format, or the disk is full.
    """
    if output is None:
        for text in _texts(answers, format):
            sys.stdout.write(text)
            if flush:
                sys.stdout.flush()
        return
    file = Path(output).expanduser()
    with writing("output", file), storage.published(file) as aside:
        if format is None:
            WRITERS[file.suffix.lower()](answers, aside)
        else:
            _write_texts(_texts(answers, format), aside)


def _texts(answers: Answers, format: str | None) -> Iterator[str]:
    if format is None:
        return (json.dumps(answer, ensure_ascii=False) + "\n" for answer in answers)
    from pipeline.data.annotations import export

    return export.write_rows(answers, format)


def _write_texts(texts: Iterable[str], file: Path) -> None:
    with file.open("w", encoding="utf-8", newline="\n") as stream:
        stream.writelines(texts)


def _write_jsonl(answers: Answers, file: Path) -> None:
    _write_texts(_texts(answers, None), file)


def _write_csv(answers: Answers, file: Path) -> None:
    with file.open("w", encoding="utf-8", newline="") as stream:
        writer = None
        for row in map(_flat, answers):
            if writer is None:
                writer = csv.DictWriter(stream, list(row), lineterminator="\n")
                writer.writeheader()
            writer.writerow(row)


def _write_parquet(answers: Answers, file: Path) -> None:
    """With the types of the first rows: whole numbers, numbers, or strings."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    writer, rows = None, map(_flat, answers)
    try:
        while batch := list(itertools.islice(rows, ROWS_PER_BATCH)):
            if writer is None:
                schema = pa.schema({name: _type(batch, name) for name in batch[0]})
                writer = pq.ParquetWriter(file, schema)
                texts = [field.name for field in schema if field.type == pa.string()]
            for row in batch:
                row |= {name: str(row[name]) for name in texts if row[name] is not None}
            writer.write_table(pa.Table.from_pylist(batch, schema=schema))
        if writer is None:
            pq.write_table(pa.table({}), file)
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise UserError(
            f"output: an id is of another kind than those of the first rows ({reason(error)}); write to .jsonl or .csv"
        ) from error
    finally:
        if writer is not None:
            writer.close()


def _type(rows: list[dict[str, Any]], name: str) -> Any:
    import pyarrow as pa

    kinds = {type(row[name]) for row in rows} - {type(None)}
    return pa.int64() if kinds == {int} else pa.float64() if kinds and kinds <= {int, float} else pa.string()


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """An answer as columns: inner objects become columns such as `scores.good`, and lists become JSON."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = json.dumps(value, ensure_ascii=False) if isinstance(value, list) else value
    return flat


WRITERS: dict[str, Callable[[Answers, Path], None]] = {
    ".jsonl": _write_jsonl,
    ".csv": _write_csv,
    ".parquet": _write_parquet,
}
