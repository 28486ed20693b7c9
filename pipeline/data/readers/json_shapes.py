"""The forms of a table in one JSON object: pandas' orients, splits, a list under a name.

| form | who writes it |
| --- | --- |
| {"text": {"0": ..., "1": ...}, "label": {...}} | `DataFrame.to_json`, its default (orient="columns") |
| {"0": {"text": ..., "label": ...}, "1": {...}} | orient="index" |
| {"columns": [...], "index": [...], "data": [[...]]} | orient="split" |
| {"schema": {...}, "data": [{...}]} | orient="table" |
| {"text": [...], "label": [...]} | `DataFrame.to_dict("list")`, `Dataset.to_dict` |
| {"train": [{...}], "test": [{...}]} | a table for each split, in any of these forms |
| {"version": ..., "data": [{...}]} | a list under any name |
| {"features": [...], "rows": [{"row": {...}}]} | the Hub's server of rows |
| {"classes": [...], "annotations": [["...", {"entities": ...}]]} | the NER Annotator for spaCy |
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pipeline.config.files.detection import HEADERS
from pipeline.config.files.split_names import split_called
from pipeline.data.readers.common import Row
from pipeline.data.readers.json_values import as_object, is_annotated
from pipeline.errors import UserError

# The column that says which split of {"train": ..., "test": ...} a row comes from.
SPLIT = "split"
FORMS = (
    'expected a list of objects, such as [{"text": ..., "label": ...}], or a form that DataFrame.to_json writes; write'
    ' it with orient="records"'
)


def rows_of(file: Path, value: Any) -> Iterator[Row]:
    """The rows of a table in one of the forms above. Rows of several splits also get the column `SPLIT`.

    Raises:
        UserError: it is in none of these forms.
    """
    if not isinstance(value, dict) or not value:
        raise UserError(f"{file}: {FORMS}")
    if all(split_called(name) and isinstance(table, (list, dict)) for name, table in value.items()):
        for name, part in value.items():
            rows = _objects(file, part) if isinstance(part, list) else rows_of(file, part)
            yield from ({**row, SPLIT: name} for row in rows)
        return
    yield from _one_table(file, value)


def _one_table(file: Path, value: dict[str, Any]) -> Iterator[Row]:
    if {"columns", "data"} <= value.keys() and isinstance(value["columns"], list):
        columns = [str(name) for name in value["columns"]]
        return (_zipped(file, number, columns, row) for number, row in enumerate(value["data"], 1))
    if "data" in value and isinstance(value.get("schema"), dict):
        index = value["schema"].get("primaryKey") == ["index"]
        rows = _objects(file, value["data"])
        return ({name: row[name] for name in row if not (index and name == "index")} for row in rows)
    if all(isinstance(column, dict) for column in value.values()):
        return _nested(file, value)
    lists = {name: column for name, column in value.items() if isinstance(column, list)}
    if {"classes", "annotations"} <= lists.keys():  # null for a text that is not annotated yet
        lists = {"annotations": [pair for pair in lists["annotations"] if pair is not None]}
    if len(lists) == len(value) > 1 and not any(_is_table(column) for column in lists.values()):
        return _columns(file, lists)
    tables = [column for column in lists.values() if _is_table(column)]
    named = [column for name, column in lists.items() if name in ("data", "rows") and column in tables]
    if len(tables) != 1 and not named:
        raise UserError(f"{file}: {FORMS}")
    rows = _objects(file, (named or tables)[0])
    return (row["row"] if row.keys() >= {"row", "row_idx"} else row for row in rows)


def _is_table(values: list[Any]) -> bool:
    return bool(values) and (isinstance(values[0], dict) or is_annotated(values[0]))


def _objects(file: Path, values: list[Any]) -> Iterator[Row]:
    return (as_object(file, number, value) for number, value in enumerate(values, start=1))


def _columns(file: Path, columns: Mapping[str, list[Any]]) -> Iterator[Row]:
    sizes = {name: len(column) for name, column in columns.items()}
    if len(set(sizes.values())) > 1:
        (shortest, least), (longest, most) = (f(sizes.items(), key=lambda item: item[1]) for f in (min, max))
        raise UserError(f"{file}: the column {shortest!r} has {least} values, but {longest!r} has {most}")
    return (dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True))


def _nested(file: Path, value: Mapping[str, dict[str, Any]]) -> Iterator[Row]:
    """Columns of rows, or rows of columns: rows are numbered, or there are more of them than columns."""
    inner = list(dict.fromkeys(name for column in value.values() for name in column))
    if _are_rows([*value], inner):
        return iter(value.values())
    if _are_rows(inner, [*value]):
        return ({name: column.get(row) for name, column in value.items()} for row in inner)
    raise UserError(
        f'{file}: it is not clear which names are columns and which are rows; write it with orient="records"'
    )


def _are_rows(names: list[str], others: list[str]) -> bool:
    if all(name.isdecimal() for name in names) != all(name.isdecimal() for name in others):
        return all(name.isdecimal() for name in names)
    if bool(HEADERS & {*names}) != bool(HEADERS & {*others}):
        return bool(HEADERS & {*others})
    return len(names) > len(others)


def table(file: Path, values: Iterable[Any], header: bool | None) -> Iterator[Row]:
    """The rows of a list of lists (orient="values"), whose columns have numbers from 1, or names in the first row.

    Args:
        header: whether the first row names the columns; None: if it consists of usual names.

    Raises:
        UserError: a row is not a list, or has more or fewer values than the first.
    """
    rows = iter(values)
    first = next(rows)
    texts = [str(name) for name in first]
    has_names = bool(HEADERS & {text.lower() for text in texts}) if header is None else header
    names = texts if has_names else [str(number) for number in range(1, len(first) + 1)]
    rest = rows if has_names else itertools.chain([first], rows)
    return (_zipped(file, number, names, row) for number, row in enumerate(rest, 1 + has_names))


def _zipped(file: Path, number: int, names: list[str], row: Any) -> Row:
    if not isinstance(row, list) or len(row) != len(names):
        found = f"{len(row)} values" if isinstance(row, list) else "no list"
        raise UserError(f"{file}: row {number}: {found}, but there are {len(names)} columns")
    return dict(zip(names, row, strict=True))
