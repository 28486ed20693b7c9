"""Finds out which tool wrote the rows of a source, and has its module turn them into rows that a task can use."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from types import ModuleType
from typing import NamedTuple

from pipeline.config.data import Data
from pipeline.data.annotations import (
    label_studio,
    list_strings,
    prodigy,
    spacy,
    span_rows,
    span_tables,
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


class Adapter(NamedTuple):
    """How rows of a source become rows with the columns of a task.

    Attributes:
        origin: what the columns are made of, for the user.
        convert: does it; the warnings are complete once all rows are read.
    """

    origin: str
    convert: Convert

    def settings(self, data: Data) -> Data:
        """`data` for the rows that are made. Their columns have usual names, so no setting needs to name them."""
        return replace(data, text_column=None, label_column=None, token_column=None, tag_column=None)


def choose(names: Sequence[str], first_rows: Sequence[Row], where: Places, data: Data, roles: Roles) -> Adapter | None:
    """What turns the rows of a source into rows with the columns of a task; None: they have them already.

    For a task with tags, these are `tokens` and `tags`; with a label, `text` and `label`; otherwise `text`.

    Args:
        names: columns of the rows.
        first_rows: the first rows of the training split, or of the only one: they decide for all splits.
        where: the training split, for messages.
        roles: of the task, with the usual names of their columns.

    Raises:
        UserError: data.format names a tool that has not written such rows.
    """
    first = [row for row in first_rows if row]
    if not first or "target" in roles:  # no tool writes translations
        return None
    found = (_for_tags if "tags" in roles else _for_texts)(names, first, where, data, roles)
    if found is None:
        return None
    made_of, convert = found
    chosen = ", ".join(f"{role} = {column}" for role, column in made_of.items())
    return Adapter(f"{chosen} (of: {', '.join(names)})", convert)


def choose_inputs(
    names: Sequence[str], first_rows: Sequence[Row], where: Places, data: Data, roles: Roles
) -> Adapter | None:
    """What turns rows that need no labels into rows with `text` or `tokens`; None: they have them already.

    Args:
        roles: of the task, with the usual names of their columns.
    """
    first = [row for row in first_rows if row]
    if first and label_studio.matches(names, first, data):
        column = label_studio.made_of(first, where, data)["tokens"]
        return Adapter(
            f"text = {column} (of: {', '.join(names)})",
            lambda rows, where, _: label_studio.texts(rows, first, where, data),
        )
    if not first or "tokens" not in roles:
        return None
    if word_rows.matches_words(names, first, data):
        return Adapter("", _with(word_rows.convert_words, first, data))
    if spacy.matches(names, first, data):
        return Adapter("", _with(spacy.convert, first, data))
    if words := list_strings.word_column(first, data, roles):
        return Adapter("", lambda rows, where, _: list_strings.convert_words(rows, words, where))
    return None


Found = tuple[Mapping[str, str], Convert]
"""What each column is made of, and what makes it."""


def _for_tags(names: Sequence[str], first: Sequence[Row], where: Places, data: Data, roles: Roles) -> Found | None:
    if data.format not in EXAMPLES and _are_lists(names, first, data, roles):
        return None
    if module := _module(names, first, data, where):
        made_of = module.made_of(first, where, data)
        return made_of, _with(module.convert, first, data)
    if columns := list_strings.columns(first, data, roles):
        made_of = dict(zip(("tokens", "tags"), columns, strict=True))
        return made_of, lambda rows, where, warnings: list_strings.convert(rows, columns, where, warnings)
    if span_tables.matches(names, first, data):
        return span_tables.made_of(first, where, data), _with(span_tables.convert, first, data)
    span_rows.refuse_without_offsets(first, where, data)
    if word_rows.matches(names, first, data):
        made_of = word_rows.made_of(first, where, data)
        return made_of, _with(word_rows.convert, first, data)
    return None


def _for_texts(names: Sequence[str], first: Sequence[Row], where: Places, data: Data, roles: Roles) -> Found | None:
    if "label" not in roles:
        if not label_studio.matches(names, first, data):
            return None
        made_of = {"text": label_studio.made_of(first, where, data)["tokens"]}
        return made_of, lambda rows, where, _: label_studio.texts(rows, first, where, data)
    for module in LABEL_ADAPTERS.values():
        if module.matches_labels(names, first, data):
            made_of = module.labels_made_of(first, where, data)
            if not _names_others(data, made_of):
                return made_of, _with(module.convert_labels, first, data)
    return None


def _names_others(data: Data, made_of: Mapping[str, str]) -> bool:
    """Whether settings name other columns than those in which a tool keeps the text and the label."""
    pairs = ((data.text_column, made_of["text"]), (data.label_column, made_of["label"]))
    return any(chosen not in (None, own, own.removeprefix("data.")) for chosen, own in pairs)


def _with(convert: Callable[..., Iterator[NumberedRow]], first: Sequence[Row], data: Data) -> Convert:
    return lambda rows, where, warnings: convert(rows, first, where, data, warnings)


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
