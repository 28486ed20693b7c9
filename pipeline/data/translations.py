"""Rows of translations: the texts of a row by language, and splits that nobody has translated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pyarrow as pa

from pipeline.data.column_choice import Choice, same_column
from pipeline.data.rows import Column, Peeked, RowBatch

# The column of Hub datasets that holds the text in each language, as in {"en": "the house", "de": "das Haus"}.
COLUMN = "translation"


def by_language(rows: Peeked) -> Peeked:
    """The same rows with a column for each language, if they have one of objects with the text in each language."""
    sample = [value for value in rows.column(COLUMN) if value is not None] if COLUMN in rows.names else []
    if not sample or not isinstance(sample[0], dict):
        return rows
    languages = [*dict.fromkeys(str(name) for value in sample for name in value)]
    return rows.map(lambda batch: _divided(batch, languages))


def _divided(batch: RowBatch, languages: list[str]) -> RowBatch:
    found = batch.columns.get(COLUMN)
    values = found.to_pylist() if isinstance(found, pa.Array) else found or [None] * len(batch)
    columns: dict[str, Column] = {name: own for name, own in batch.columns.items() if name != COLUMN}
    for language in languages:
        columns[language] = [value.get(language) if isinstance(value, dict) else None for value in values]
    return replace(batch, columns=columns)


def without_target(columns: Choice, tables: Mapping[str, Peeked]) -> list[str]:
    """The splits that lack the column of translations, such as the test split of a shared task, unless all do."""
    target = columns.columns.get("target")
    lacking = [split for split, rows in tables.items() if target and same_column(target, rows.names) is None]
    return lacking if len(lacking) < len(tables) else []
