"""The rows of a source, from files, a packaged sample or the Hub, read into Arrow files on disk."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.config import sources
from pipeline.config.data import Data
from pipeline.config.formats import Part
from pipeline.config.sources import ResolvedSource
from pipeline.data import hub_source, labels, split_column, translations
from pipeline.data.annotations import registry as annotation_tools
from pipeline.data.column_choice import SAMPLE_ROWS, Choice, as_trained, choose, same_column
from pipeline.data.columns import Roles, kind_of
from pipeline.data.readers import registry
from pipeline.data.rows import Peeked, Places, RowBatch, batches, peek
from pipeline.data.split_writer import SplitWriter
from pipeline.errors import UserError, listing

if TYPE_CHECKING:
    from datasets import Dataset

# Of the column that holds the labels, or by column; None or empty if the source names none.
ClassNames = list[str] | Mapping[str, list[str]] | None


@dataclass(frozen=True)
class LoadedSource:
    """The rows of each split, on disk.

    Attributes:
        splits: columns are the roles, `text` (of tokens: joined by blanks) and `line`, the place of the row (see
            `Places`); with tags also `lines`, the place of each tag, or None; and the digests of the texts.
        names: split -> places of its rows, for messages.
        columns: which column plays which role.
        classes: names of the classes of the column of labels or tags in the order of their ids, if the source has them.
        label_names: the same, but with the names that data.label_names gives.
        empty: split -> places of rows that had no text and were left out.
        unlabelled: splits that have no labels and were left out.
        warnings: what a user should know about the files.
    """

    splits: dict[str, Dataset]
    names: dict[str, Places]
    columns: Choice
    classes: list[str] | None = None
    label_names: list[str] | None = None
    empty: dict[str, list[int]] = field(default_factory=dict)
    unlabelled: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


@dataclass
class Table:
    """The rows of a split before its columns are chosen.

    Attributes:
        rows: the first of them are in memory.
        places: where they are.
        classes: names of classes that the source has.
    """

    rows: Peeked
    places: Places
    classes: ClassNames = None


def locate(data: Data, task: str | None = None) -> ResolvedSource:
    """The source that `data` names, for `task` if it is known; a Hub dataset is resolved to a commit.

    Raises:
        UserError: it does not exist, or a setting does not apply to it.
    """
    source = sources.resolve(data, task)
    return source.at(hub_source.resolve(data)) if source.kind == "hub" else source


def locate_again(source: ResolvedSource, task: str) -> ResolvedSource:
    """The same source for `task`, which may read files in another format; a Hub dataset stays as it is."""
    return sources.resolve(source.data, task) if source.kind == "files" else source


def load(
    source: ResolvedSource,
    roles: Roles,
    folder: Path,
    *,
    pairs: Sequence[tuple[str, str]] = (),
    keep_empty: bool = False,
    known_labels: Sequence[str] | None = None,
    problem_type: str | None = None,
    trained: Data | None = None,
) -> LoadedSource:
    """Read the rows of every split into Arrow files in `folder`; memory does not grow with their number.

    Args:
        roles: role -> usual names of its column.
        pairs: usual names of two columns that hold pairs of texts.
        keep_empty: whether rows without text are kept, like the blank lines of a running text.
        known_labels: labels of an existing model, in the order of their ids, empty if its task has no classes; None:
            there is no model yet.
        problem_type: that of an existing model, which new labels follow.
        trained: settings of the data of an existing model; its columns come first.

    Raises:
        UserError: a file or a row is malformed; the message has file and line.
    """
    warnings = [*source.warnings, *([source.sample.warning] if source.sample and source.sample.warning else [])]
    tables = open_tables(source, warnings)
    first = _first_of(tables)
    if not first.rows.first:
        raise UserError(f"{first.places}: it has no rows")
    data = as_trained(source.data, trained, first.rows.names)
    tables, data, origin = _adapted(tables, first, data, roles, warnings)
    first = _first_of(tables)
    divided_by = _split_column(source, tables)
    sample = first.rows.without(divided_by) if divided_by else first.rows
    columns = choose(roles, sample, data, str(first.places), pairs, problem_type, labelled=known_labels is None)
    columns = replace(columns, origin=origin)
    if known_labels is not None and not columns.has_target:
        _refuse_without_target(roles, f"{first.places}: it has no labels ({columns})")
    classes = _names_of_classes(first.classes, columns)
    tables = _comparable(tables, first, columns, roles, warnings)
    untranslated = translations.without_target(columns, {split: table.rows for split, table in tables.items()})
    writers: dict[str, SplitWriter] = {}
    for split in (split for split in tables if split not in untranslated):
        make = functools.partial(SplitWriter, columns, roles, tables[split].places, keep_empty)
        writers |= _write(tables[split], split, divided_by, folder, make)
    splits = {split: writer.finish() for split, writer in writers.items()}
    if divided_by:
        sizes = ", ".join(f"{len(rows)} {split}" for split, rows in splits.items())
        warnings.append(f"{first.places}: the column {divided_by!r} divides the rows: {sizes}")
    names = {split: writer.places for split, writer in writers.items()}
    empty = {split: writer.empty for split, writer in writers.items()}
    loaded = LoadedSource(splits, names, columns, classes, None, empty, untranslated, [*columns.reasons])
    if "label" in roles:
        loaded = _with_clean_labels(loaded, source.data, folder, known_labels or ())
    return replace(loaded, warnings=list(dict.fromkeys([*warnings, *loaded.warnings])))


def _refuse_without_target(roles: Roles, problem: str) -> None:
    """Refuse what cannot be scored, unless the task needs no column for that."""
    settings = [f"data.{kind_of(role).setting}" for role in roles if kind_of(role).is_target]
    if settings:
        named = " or ".join(settings)
        raise UserError(
            f"{problem}, so there is nothing to score; name their column with {named}, or use finetune predict"
        )


def _first_of(tables: Mapping[str, Table]) -> Table:
    """The training split or, without one, any: its first rows decide for all splits."""
    return tables.get("train") or next(iter(tables.values()))


def open_tables(source: ResolvedSource, warnings: list[str], unlabelled: bool = False) -> dict[str, Table]:
    """Split -> its rows, whose first ones have been read.

    Args:
        warnings: gets what a user should know about the files; complete once all rows are read.
        unlabelled: whether splits of a Hub dataset that nobody has labelled are among them.
    """
    tables: dict[str, Table] = {}
    if source.kind == "hub":
        for split, (found, classes) in hub_source.load(source.data, source.commit, warnings, unlabelled).items():
            name = f"{source.data.source}[{split}]"
            tables[split] = Table(peek(found, SAMPLE_ROWS), Places((name,), name), classes)
    files = [part for parts in source.parts.values() for part in parts]
    data = registry.same_columns(files[0], source.data) if len(files) > 1 else source.data
    for split, parts in source.parts.items():
        own = source.sample.label_names if source.sample else None
        places = Places(tuple(str(part.file) for part in parts), _common_name(parts))
        found = _rows_of(source, split, data, warnings)
        tables[split] = Table(peek(found, SAMPLE_ROWS), places, own or registry.class_names(parts[0]) or source.classes)
    return {split: replace(table, rows=translations.by_language(table.rows)) for split, table in tables.items()}


def _adapted(
    tables: dict[str, Table], first: Table, data: Data, roles: Roles, warnings: list[str]
) -> tuple[dict[str, Table], Data, str]:
    """The tables with the columns that the roles need, if an annotation tool has written them; the settings that apply
    to these, and what they are made of."""
    sample = first.rows.rows(SAMPLE_ROWS)
    adapter = annotation_tools.choose(first.rows.names, sample, first.places, data, roles)
    if adapter is None:
        return tables, data, ""
    made = {split: adapted(table, adapter, warnings) for split, table in tables.items()}
    return made, adapter.settings(data), adapter.origin


def adapted(table: Table, adapter: annotation_tools.Adapter, warnings: list[str]) -> Table:
    """The rows of an annotation tool as rows with the columns that a task needs; `warnings` are complete once all rows
    are read."""
    rows = (row for batch in table.rows for row in batch.rows())
    return replace(table, rows=peek(batches(adapter.convert(rows, table.places, warnings)), SAMPLE_ROWS))


def _common_name(parts: Sequence[Part]) -> str:
    return str(parts[0].file if len(parts) == 1 else parts[0].file.parent)


def _rows_of(source: ResolvedSource, split: str, data: Data, warnings: list[str]) -> Iterator[RowBatch]:
    for number, part in enumerate(source.parts[split]):
        rows = batches(registry.read(part, data, warnings))
        if source.sample and split in source.sample.only:
            column, value = source.sample.only[split]
            rows = (batch.where(column, value) for batch in rows)
        yield from (batch.shifted(number) for batch in rows)


def _comparable(
    tables: dict[str, Table], first: Table, columns: Choice, roles: Roles, warnings: list[str]
) -> dict[str, Table]:
    """The tables without those that have neither texts nor labels in the columns of the `first` one, such as the test
    split of CoLA, which is a table of another form."""
    usual = {name for role, own in roles.items() if kind_of(role).is_target for name in own}
    chosen = [*columns.columns.values(), *columns.label_columns]
    kept = {}
    for split, table in tables.items():
        names = table.rows.names
        if table is first or not names or any(same_column(column, names) for column in chosen):
            kept[split] = table
        elif all(name.isdecimal() for name in names) or any(name.strip().lower() in usual for name in names):
            kept[split] = table  # may have labels; what is missing is said with the place
        else:
            warnings.append(
                f"{table.places}: it has none of the columns that are read in {first.places}"
                f" ({listing([*map(repr, chosen)])}), so {split} is left out (of: {', '.join(names)})"
            )
    return kept


def _names_of_classes(classes: ClassNames, columns: Choice) -> list[str] | None:
    if columns.label_columns:
        return list(columns.label_columns)
    if not isinstance(classes, Mapping):
        return classes
    targets = [column for role, column in columns.columns.items() if kind_of(role).is_target]
    return next((classes[column] for column in targets if column in classes), None)


def _with_clean_labels(loaded: LoadedSource, data: Data, folder: Path, known: Sequence[str]) -> LoadedSource:
    cleaned = labels.clean(loaded.splits, loaded.names, loaded.classes, data, folder, known)
    return replace(
        loaded,
        splits=cleaned.splits,
        label_names=cleaned.label_names,
        unlabelled=cleaned.unlabelled,
        warnings=[*loaded.warnings, *cleaned.warnings],
    )


def _split_column(source: ResolvedSource, tables: Mapping[str, Table]) -> str | None:
    """The column that says which split a row of the only table belongs to."""
    if source.kind != "files" or [*tables] != ["train"]:
        return None
    column = split_column.matches(tables["train"].rows)
    data = source.data
    return None if column in (data.text_column, data.label_column, data.text_pair_column) else column


def _write(
    table: Table, split: str, divided_by: str | None, folder: Path, make: Callable[[Path], SplitWriter]
) -> dict[str, SplitWriter]:
    """Split -> the writer of its rows: all rows of `table` are of `split`, unless a column divides them."""
    writers = {} if divided_by else {split: make(folder / f"{split}.arrow")}
    for batch in table.rows:
        parts: Mapping[str, RowBatch] = {split: batch}
        if divided_by:
            parts = split_column.divide(batch, divided_by, table.places)
        for own, rows in parts.items():
            if own not in writers:
                writers[own] = make(folder / f"{own}.arrow")
            writers[own].add(rows)
    return {own: writers[own] for own in sources.SPLITS if own in writers}
