"""Rows of new data to predict from: a text, two texts or the words of a sentence, with the row's id, in file order."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, NamedTuple, Protocol

from pipeline.config.data import Data
from pipeline.config.formats import FORMATS
from pipeline.config.sources import ResolvedSource
from pipeline.data import sources, split_column
from pipeline.data.annotations import registry as annotation_tools
from pipeline.data.column_choice import SAMPLE_ROWS, Choice, as_trained, choose
from pipeline.data.columns import as_list, is_missing, kind_of
from pipeline.data.rows import MISSING, Column, RowBatch, peek, values
from pipeline.data.sources import Table
from pipeline.errors import UserError, shorten

Content = str | tuple[str, ...] | list[str]
"""A text, a pair of texts, or the words of a sentence."""

# Usual names of a text for tasks that are trained on words, most likely first.
TEXTS = ("text", "sentence", "content", "document", "tweet", "review", "comment", "paragraph", "body")
# Usual names of a row's id without blanks, hyphens and underscores, most likely first.
IDS = (
    *("id", "idx", "index", "guid", "uid", "uuid", "key", "rowid", "exampleid", "sampleid", "itemid", "recordid"),
    *("textid", "sentenceid", "sentid", "phraseid", "docid", "documentid", "reviewid", "commentid", "tweetid"),
    *("postid", "messageid", "articleid", "pairid", "questionid", "qid"),
)
# Rows whose words are looked at.
LOOKED_AT = 100
# Splits whose rows a model is scored on.
SCORED = ("validation", "test")


class Reads(Protocol):
    """What this module needs of a task (see tasks/base.py)."""

    columns: ClassVar[Mapping[str, Sequence[str]]]
    pairs: ClassVar[Sequence[tuple[str, str]]]
    reads_pairs: bool | None


class NewRow(NamedTuple):
    """A row: what a model reads of it, and its id: None if it has none, MISSING if no row has one."""

    content: Content
    id: Any


class NewRows:
    """The rows of a split, one after another; memory does not grow with their number.

    Attributes:
        columns: those that are read.
        id_column: None if there is none.
    """

    def __init__(self, table: Table, columns: Choice, id_column: str | None):
        self._table, self.columns, self.id_column = table, columns, id_column

    def __iter__(self) -> Iterator[NewRow]:
        roles = [role for role in ("text", "text_pair", "tokens") if role in self.columns.columns]
        for batch in self._table.rows:
            contents = [self._read(role, batch) for role in roles]
            ids = [MISSING] * len(batch)
            if self.id_column is not None:
                ids = [_plain(value) for value in values(_column(batch, self.id_column))]
            for *parts, own in zip(*contents, ids, strict=True):
                yield NewRow(parts[0] if len(parts) == 1 else tuple(parts), own)

    def _read(self, role: str, batch: RowBatch) -> list[Any]:
        def at(index: int) -> str:
            return self._table.places.at(batch.places[index])

        column = self.columns.columns[role]
        found = _column(batch, column)
        if role == "tokens":
            found = list(map(_words, values(found)))
        if isinstance(found, list) and MISSING in found:
            raise UserError(f"{at(found.index(MISSING))}: the row has no field {column!r}")
        return kind_of(role).read(found, at).to_pylist()


def read(
    source: ResolvedSource,
    task: Reads,
    trained: Data | None = None,
    split: str | None = None,
    report: Callable[[str], None] = lambda line: None,
) -> Iterator[NewRow]:
    """The rows of a source.

    Columns are chosen as for training, the labels apart, which are not needed; but the columns that the model was
    trained on come first, if the data has them.

    Args:
        trained: settings of the data that the model was trained on.
        split: which one to read; needed only if they are in several files.
        report: called with the columns that are read, and with what a user should know about the files.

    Raises:
        UserError: there is no such split, no column can be chosen, or a row is malformed.
    """
    warnings = [*source.warnings]
    tables = sources.open_tables(source, warnings)
    table = _of_split(split, tables, source.data.source)
    rows = _rows_of(table, source, task, trained, warnings)
    if [*rows.columns.found] != ["text"]:
        report(str(rows.columns) + (f", id = {rows.id_column}" if rows.id_column is not None else ""))
    yield from rows
    for warning in dict.fromkeys(warnings):
        report(warning)


def read_unscored(
    source: ResolvedSource,
    task: Reads,
    trained: Data | None = None,
    report: Callable[[str], None] = lambda line: None,
) -> Iterator[NewRow]:
    """The rows of a source that a model may learn from although they have no labels: those for training, and those that
    are marked as unlabelled. A source with a single split is for this, whatever the split is called.

    Args and errors are those of `read`.
    """
    warnings = [*source.warnings]
    tables = sources.open_tables(source, warnings, unlabelled=True)
    if kept := {split: table for split, table in tables.items() if split not in SCORED}:
        tables = kept
    for table in tables.values():
        if (column := split_column.matches(table.rows)) is not None:
            table = _unscored(table, column)
        rows = _rows_of(table, source, task, trained, warnings)
        if [*rows.columns.found] != ["text"]:
            report(str(rows.columns))
        yield from rows
    for warning in dict.fromkeys(warnings):
        report(warning)


def _unscored(table: Table, column: str) -> Table:
    """The rows of `table` that `column` assigns to no split that is scored."""
    parts = (split_column.unscored(batch, column, table.places) for batch in table.rows)
    return replace(table, rows=peek(filter(len, parts), SAMPLE_ROWS))


def _rows_of(table: Table, source: ResolvedSource, task: Reads, trained: Data | None, warnings: list[str]) -> NewRows:
    """The rows of `table`, whose columns are chosen."""
    if not table.rows.first:
        raise UserError(f"{table.places}: it has no rows")
    data = as_trained(source.data, trained, table.rows.names)
    if data.target_column in table.rows.names:
        table = replace(table, rows=table.rows.without(str(data.target_column)))
    table, data, origin = _adapted(task, table, data, warnings)
    columns = replace(_choose(task, table, data), origin=origin)
    _check_header(source, table, columns)
    return NewRows(table, columns, _id_column(columns))


def _of_split(split: str | None, tables: Mapping[str, Table], name: str) -> Table:
    """The rows of `split`, or all of them; of a single table, those that its column of splits assigns to `split`."""
    if split is not None and split in tables:
        return tables[split]
    if len(tables) > 1:
        wanted = "has several splits" if split is None else f"has no {split} split"
        raise UserError(f"split: {name} {wanted}; set it to {' or '.join(tables)}")
    (table,) = tables.values()
    if split is None:
        return table
    column = split_column.matches(table.rows)
    if column is None:
        raise UserError(f"split: {name} has no {split} split, only {next(iter(tables))}; leave it out")
    parts = (split_column.divide(batch, column, table.places) for batch in table.rows)
    return replace(table, rows=peek((part[split] for part in parts if split in part), SAMPLE_ROWS))


def _adapted(task: Reads, table: Table, data: Data, warnings: list[str]) -> tuple[Table, Data, str]:
    """The rows of annotation tools, and tables with a word in each row, with a column of texts or of words; the
    settings that apply to these, and what they are made of."""
    first = table.rows.rows(SAMPLE_ROWS)
    adapter = annotation_tools.choose_inputs(table.rows.names, first, table.places, data, task.columns)
    if adapter is None:
        return table, data, ""
    return sources.adapted(table, adapter, warnings), adapter.settings(data), adapter.origin


def _choose(task: Reads, table: Table, data: Data) -> Choice:
    if data.text_pair_column is not None and (task.reads_pairs is False or not task.pairs):
        raise UserError("data.text_pair_column: the model reads single texts; leave it out")
    if data.target_column is not None and "target" not in task.columns:
        raise UserError("data.target_column: the model does not translate; leave it out")
    if data.token_column is not None and "tokens" not in task.columns:
        raise UserError("data.token_column: the model reads texts, not words; name their column with data.text_column")
    roles = {role: usual for role, usual in task.columns.items() if not kind_of(role).is_target}
    if "tokens" in roles and not _has_words(roles["tokens"], table, data):
        roles = {"text": TEXTS}
    columns = choose(roles, table.rows, data, str(table.places), () if task.reads_pairs is False else task.pairs)
    check_pairs(task, data, columns, str(table.places))
    return columns


def check_pairs(task: Reads, data: Data, columns: Choice, where: str) -> None:
    """Refuse single texts for a model of pairs, and pairs for one of single texts.

    Raises:
        UserError: as above.
    """
    if task.reads_pairs is False and data.text_pair_column:
        data.refuse("text_pair_column", "the model reads single texts; remove this setting")
    if task.reads_pairs and "text_pair" not in columns.columns:
        raise UserError(
            f"{where}: the model reads pairs of texts, and there is one text ({columns}); name the two columns with"
            " data.text_column and data.text_pair_column"
        )


def _has_words(usual: Sequence[str], table: Table, data: Data) -> bool:
    """Whether rows hold lists of words, or words with blanks between them, rather than texts."""
    if data.text_column is not None and data.token_column is None:
        return False
    named = [name for name in table.rows.names if name == data.token_column or name.strip().lower() in usual]
    samples = [value for name in named for value in table.rows.column(name) if not is_missing(value)]
    if any(as_list(value) is not None for value in samples[:LOOKED_AT]):
        return True
    has_text = any(name.strip().lower() in TEXTS for name in table.rows.names)
    return not has_text and any(len(str(value).split()) > 1 for value in samples)


def _words(value: Any) -> Any:
    """A list of words, also if it is written as a string or as words with blanks between them; else `value`."""
    listed = as_list(value)
    if listed is None and isinstance(value, str):
        return value.split()
    return value if listed is None else listed


def _check_header(source: ResolvedSource, table: Table, columns: Choice) -> None:
    """Refuse a table of a single column whose first line may be a text as well as the column's name.

    Raises:
        UserError: as above.
    """
    is_table = any(part.format in (FORMATS["csv"], FORMATS["tsv"]) for parts in source.parts.values() for part in parts)
    name = columns.found[0]
    if is_table and source.data.header is None and len(columns.found) == 1 and len(name.split()) > 1:
        raise UserError(
            f"{table.places}: is the first line, {shorten(repr(name), 60)}, a text or the name of the only column? Set"
            " data.header to False if it is a text, else to True"
        )


def _id_column(columns: Choice) -> str | None:
    by_name: dict[str, str] = {}
    for column in columns.found:
        if column not in columns.columns.values():
            by_name.setdefault(column.casefold().translate(str.maketrans("", "", " _-")), column)
    return next((by_name[name] for name in IDS if name in by_name), None)


def _column(batch: RowBatch, name: str) -> Column:
    return batch.columns[name] if name in batch.columns else [MISSING] * len(batch)


def _plain(value: Any) -> Any:
    """An id as JSON can hold it; None if there is none."""
    if value is MISSING or value is None or value != value:
        return None
    if isinstance(value, float):
        return int(value) if value.is_integer() else value
    if isinstance(value, (datetime.date, datetime.time)):
        return value.isoformat()
    return value if isinstance(value, (str, int)) else str(value)
