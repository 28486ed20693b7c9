"""Finds out which tool wrote the rows of a source, and has its module turn them into rows that a task can use."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import ModuleType

from pipeline.config.data import Data
from pipeline.data.annotations import (
    label_studio,
    list_strings,
    prodigy,
    spacy,
    span_rows,
    token_spans,
    word_rows,
)
from pipeline.data.readers.common import NumberedRow, Row
from pipeline.data.rows import Places
from pipeline.errors import UserError

# Name -> module, in the order in which they are asked: a tool's own columns say more than the shape of a column.
ADAPTERS: dict[str, ModuleType] = {
    "label-studio": label_studio,
    "prodigy": prodigy,
    "spacy": spacy,
    "tokens with spans": token_spans,
    "doccano": span_rows,
}
# Of rows with labels of whole texts.
LABEL_ADAPTERS: dict[str, ModuleType] = {"label-studio": label_studio, "prodigy": prodigy, "spacy": spacy}
# What a tool named by data.format may have written instead of the rows of its own module.
SAME_ROWS = {"label-studio": span_rows, "spacy": span_rows, "prodigy": span_rows}
EXAMPLES = {
    "doccano": '{"text": "Ann left", "label": [[0, 3, "PER"]]}',
    "label-studio": '{"data": {"text": ...}, "annotations": [{"result": [...]}]}',
    "prodigy": '{"text": "Ann left", "spans": [{"start": 0, "end": 3, "label": "PER"}], "answer": "accept"}',
    "spacy": '{"text": "Ann left", "entities": [[0, 3, "PER"]]}',
}

Roles = Mapping[str, Sequence[str]]
Convert = Callable[[Iterator[NumberedRow], Places, list[str]], Iterator[NumberedRow]]
"""Rows of a split, where they are, and what gets warnings -> rows with the columns that a task needs."""


def choose(names: Sequence[str], first_rows: Sequence[Row], where: Places, data: Data, roles: Roles) -> Convert | None:
    """What turns the rows of a source into rows with the columns of a task; None: they have them already.

    For a task with tags, these are `tokens` and `tags`; with a label, `text` and `label`; otherwise `text`.
    Warnings are complete once all rows are read.

    Args:
        names: columns of the rows.
        first_rows: the first rows of the training split, or of the only one: they decide for all splits.
        where: the training split, for messages.
        roles: of the task, with the usual names of their columns.

    Raises:
        UserError: data.format names a tool that has not written such rows; in what is returned: a row is malformed.
    """
    first = [row for row in first_rows if row]
    if not first:
        return None
    if "tags" not in roles:
        return _choose_labels(names, first, data, roles)
    if data.format not in EXAMPLES and _are_lists(names, first, data, roles):
        return None
    if module := _module(names, first, data, where):
        return lambda rows, where, warnings: module.convert(rows, first, where, data, warnings)
    if columns := list_strings.columns(first, data, roles):
        return lambda rows, where, warnings: list_strings.convert(rows, columns, where, warnings)
    if word_rows.matches(names, first, data):
        return lambda rows, where, warnings: word_rows.convert(rows, first, where, data, warnings)
    return None


def choose_unlabelled(names: Sequence[str], first_rows: Sequence[Row], data: Data, roles: Roles) -> Convert | None:
    """The same for rows to predict from: what makes texts of them or, for a task with tags, words that are not in lists
    yet. Spans and tags are not needed, and those that are there say nothing."""
    first = [row for row in first_rows if row]
    if label_studio.matches(names, first, data):
        return lambda rows, where, _: label_studio.texts(rows, first, where, data)
    if "tags" not in roles or any(module.matches(names, first, data) for module in ADAPTERS.values()):
        return None
    if columns := list_strings.columns(first, data, roles):
        return lambda rows, where, warnings: list_strings.convert(rows, columns, where, warnings)
    if word_rows.matches(names, first, data):
        return lambda rows, where, warnings: word_rows.convert(rows, first, where, data, warnings)
    return None


def _choose_labels(names: Sequence[str], first: Sequence[Row], data: Data, roles: Roles) -> Convert | None:
    if "label" not in roles:
        is_tasks = label_studio.matches(names, first, data)
        return (lambda rows, where, _: label_studio.texts(rows, first, where, data)) if is_tasks else None
    for module in LABEL_ADAPTERS.values():
        if module.matches_labels(names, first, data):
            return functools.partial(_labels, module, first, data)
    return None


def _labels(
    module: ModuleType,
    first: Sequence[Row],
    data: Data,
    rows: Iterator[NumberedRow],
    where: Places,
    warnings: list[str],
) -> Iterator[NumberedRow]:
    return module.convert_labels(rows, first, where, data, warnings)


def _module(names: Sequence[str], first: Sequence[Row], data: Data, where: Places) -> ModuleType | None:
    """The module that reads rows with spans like the first ones."""
    named = data.format if data.format in EXAMPLES else None
    modules = ADAPTERS.items() if named is None else [(named, ADAPTERS[named]), ("", SAME_ROWS.get(named))]
    for _, module in modules:
        if module is not None and module.matches(names, first, data):
            return module
    if named is not None and not {"tokens", "tags"} <= {*names}:
        raise UserError(f"{where}: no rows of {named}; expected rows such as {EXAMPLES[named]}, or remove data.format")
    return None


def _are_lists(names: Sequence[str], rows: Sequence[Row], data: Data, roles: Roles) -> bool:
    """Whether there are columns of words and of tags already: lists, in columns with usual names."""

    def has_list(role: str, chosen: str | None) -> bool:
        usual = [name for name in names if (name == chosen if chosen else name.strip().lower() in roles[role])]
        return any(_is_plain_list(row.get(name)) for name in usual for row in rows)

    return has_list("tokens", data.token_column) and has_list("tags", data.tag_column)


def _is_plain_list(value: object) -> bool:
    return isinstance(value, list) and bool(value) and not isinstance(value[0], (list, dict))
