"""Rows of a run's validation split, as they were read: what an export is tried on and scored with."""

from __future__ import annotations

from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from pipeline import predictions, run_folder
from pipeline.data.source_rows import COLUMNS
from pipeline.errors import UserError

SPLIT = "validation"
TARGET = "target"
# At most this many rows, and about this many characters in all: a transformer as large as BERT reads them in minutes.
ROWS, CHARACTERS = 1000, 400_000
# And at most this many for which a text has to be written.
WRITTEN_ROWS = 200


class ValidationRows(NamedTuple):
    """Some or all rows of the split.

    Attributes:
        contents: of each row what `Task.predict` takes: a text, two texts or a list of words.
        columns: role -> the value of each row, as `Task.encode` takes them.
        running: whether the rows are lines of one text.
    """

    contents: list[Any]
    columns: dict[str, list[Any]]
    running: bool

    def __len__(self) -> int:
        return len(self.contents)


def read(folder: Path) -> ValidationRows:
    """The rows of the finished run in `folder`, evenly spread over the split; of a running text, its beginning.

    Raises:
        UserError: the run has not kept them, as those of earlier versions.
    """
    file = run_folder.predictions_of(folder, SPLIT)
    if not file.is_file():
        raise UserError(
            f"model: {folder} has no {file.relative_to(folder)}, on which an export is tried; write it with: finetune"
            f" evaluate {folder} --data SOURCE --split {SPLIT} --rows {file}"
        )
    found = predictions.read(file)
    names = ("text", "text_pair", COLUMNS["tokens"])
    read_columns = [name for name in names if name in found.table.column_names and _is_read(found.table.schema, name)]
    if not read_columns:
        raise UserError(f"model: {file} does not say what the model has read, so an export cannot be tried on it")
    wanted = [name for name in ("gold", TARGET) if name in found.table.column_names]
    rows = found.table.select([*read_columns, *wanted]).to_pylist()
    running = bool(found.info.settings.get("running"))
    rows = _some(rows, read_columns, running, WRITTEN_ROWS if TARGET in wanted else ROWS)
    contents = [_content([row[name] for name in read_columns]) for row in rows]
    return ValidationRows(contents, _by_role(rows, read_columns), running)


def _is_read(schema: pa.Schema, name: str) -> bool:
    """Whether the column holds texts or words: in rows of next_word, `words` is their number."""
    kind = schema.field(name).type
    return pa.types.is_string(kind) or pa.types.is_list(kind)


def _some(rows: list[dict[str, Any]], names: list[str], running: bool, most: int = ROWS) -> list[dict[str, Any]]:
    """At most `most` rows with about CHARACTERS characters, at least one."""
    sizes = [sum(len("".join(row[name])) for name in names) for row in rows]
    if running:
        fitting = sum(size <= CHARACTERS for size in accumulate(sizes[:most]))
        return rows[: max(1, fitting)]
    # How many is decided first: of a split that is sorted, no end may be left out.
    count = max(1, min(len(rows), most, len(rows) * CHARACTERS // max(1, sum(sizes))))
    return [rows[number * len(rows) // count] for number in range(count)]


def _content(values: list[Any]) -> Any:
    return values[0] if len(values) == 1 else tuple(values)


def _by_role(rows: list[dict[str, Any]], names: list[str]) -> dict[str, list[Any]]:
    roles = {column: role for role, column in COLUMNS.items()}
    columns = {roles.get(name, name): [row[name] for row in rows] for name in names}
    if TARGET in rows[0]:
        return columns | {TARGET: [row[TARGET] for row in rows]}
    target = "tags" if "tokens" in columns else "label"
    return columns | ({target: [row["gold"] for row in rows]} if "gold" in rows[0] else {})
