"""The rows of a source, from files, a packaged sample or the Hub, read into Arrow files on disk."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from pipeline.config import sources
from pipeline.config.data import Data
from pipeline.config.sources import ResolvedSource
from pipeline.data import hub_source
from pipeline.data.columns import ColumnKind, ColumnValue, LabelNames, Roles, assign, kind_of
from pipeline.data.readers import registry
from pipeline.data.readers.common import WORD_LINES, NumberedRow
from pipeline.errors import UserError

if TYPE_CHECKING:
    from datasets import Dataset

# Of the column that holds the labels, or by column; None or empty if the source names none.
ClassNames = list[str] | Mapping[str, list[str]] | None

ROWS_PER_BATCH = 1000


@dataclass(frozen=True)
class LoadedSource:
    """The rows of each split, on disk.

    Attributes:
        splits: columns are the roles, `text` (of tokens: joined by blanks) and `line`, the line of the row in its
            file; with tags also `lines`, the line of each tag, or None.
        names: split -> file or dataset, for messages.
        label_names: names of the classes in the order of their ids, if the source or data.label_names gives them.
        empty: split -> lines that had no text and were left out.
        warnings: what a user should know about the files.
        ids_read: tags that were read as ids of an existing model's labels.
    """

    splits: dict[str, Dataset]
    names: dict[str, str]
    label_names: list[str] | None = None
    empty: dict[str, list[int]] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    ids_read: set[int] = field(default_factory=set)


def locate(data: Data) -> ResolvedSource:
    """The source that `data` names; a Hub dataset is resolved to a commit.

    Raises:
        UserError: it does not exist, or a setting does not apply to it.
    """
    source = sources.resolve(data)
    return source.at(hub_source.resolve(data)) if source.kind == "hub" else source


def load(
    source: ResolvedSource, roles: Roles, folder: Path, keep_empty: bool = False, known_labels: Sequence[str] = ()
) -> LoadedSource:
    """Read the rows of every split into Arrow files in `folder`; memory does not grow with their number.

    Args:
        keep_empty: whether rows without text are kept, like the blank lines of a running text.
        known_labels: labels of an existing model, which need no name in data.label_names.

    Raises:
        UserError: a file or a row is malformed; the message has file and line.
    """
    names: dict[str, str] = {}
    tables: dict[str, Iterator[NumberedRow]] = {}
    classes: dict[str, ClassNames] = {}
    warnings = [source.sample.warning] if source.sample and source.sample.warning else []
    if source.kind == "hub":
        for split, (rows, hub_names) in hub_source.load(source.data, source.commit).items():
            names[split], tables[split], classes[split] = f"{source.data.source}[{split}]", rows, hub_names
    for split, file in source.files.items():
        names[split], tables[split] = str(file), _rows_of(source, split, warnings)
        own = source.sample.label_names if source.sample else None
        classes[split] = own or registry.class_names(file, source.formats[split])
    splits, empty, label_names, ids_read = {}, {}, None, set[int]()
    for split, rows in tables.items():
        writer = _Writer(source.data, roles, names[split], classes[split], keep_empty, known_labels)
        splits[split] = writer.write(rows, folder / f"{split}.arrow")
        empty[split] = writer.empty
        label_names = writer.labels.in_order or label_names
        ids_read |= writer.labels.ids_read or set()
    return LoadedSource(splits, names, label_names, empty, list(dict.fromkeys(warnings)), ids_read)


def _rows_of(source: ResolvedSource, split: str, warnings: list[str]) -> Iterator[NumberedRow]:
    rows = registry.read(source.files[split], source.formats[split], warnings)
    if source.sample is None or split not in source.sample.only:
        return rows
    column, value = source.sample.only[split]
    return ((line, row) for line, row in rows if row.get(column) == value)


class _Writer:
    """Picks the columns of a split's rows and writes them to an Arrow file."""

    def __init__(
        self, data: Data, roles: Roles, name: str, classes: ClassNames, keep_empty: bool, known_labels: Sequence[str]
    ):
        self.roles, self.name, self.classes, self.keep_empty = roles, name, classes, keep_empty
        self.kinds: dict[str, ColumnKind] = {role: kind_of(role) for role in roles}
        self.chosen = {role: getattr(data, kind.setting, None) for role, kind in self.kinds.items()}
        self.empty: list[int] = []
        self.columns: dict[str, str] = {}
        self.labels = LabelNames(
            given=data.names_of_labels, known=known_labels, ids_read=set() if known_labels else None
        )
        types = {"text": pa.large_string(), **{role: kind.type for role, kind in self.kinds.items()}}
        types |= {"line": pa.int64(), **({"lines": pa.list_(pa.int64())} if "tags" in roles else {})}
        self.schema = pa.schema(types)

    def write(self, rows: Iterator[NumberedRow], file: Path) -> Dataset:
        from datasets import Dataset

        written = 0
        with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_stream(sink, self.schema) as stream:
            while batch := list(itertools.islice(rows, ROWS_PER_BATCH)):
                if not self.columns:
                    self.columns = assign(self.roles, _names_in(batch), self.chosen, self.name)
                    self.labels = self.labels._replace(classes=self._names_of_classes())
                kept = [row for row in (self._pick(line, row) for line, row in batch) if row]
                stream.write_batch(pa.RecordBatch.from_pylist(kept, schema=self.schema))
                written += len(kept)
        if not written:
            raise UserError(f"{self.name}: it has no rows{' with a text' if self.empty else ''}")
        return Dataset.from_file(str(file))

    def _names_of_classes(self) -> list[str] | None:
        if not isinstance(self.classes, Mapping):
            return self.classes
        named = [self.classes[column] for column in self.columns.values() if column in self.classes]
        return named[0] if named else None

    def _pick(self, line: int, row: dict[str, Any]) -> dict[str, Any] | None:
        """The row by roles; None if it has no text and is left out."""
        where = f"{self.name}:{line}"
        picked: dict[str, Any] = {"line": line, "lines": row.get(WORD_LINES)}
        places = [f"{self.name}:{number}" for number in picked["lines"] or ()]
        for role, column in self.columns.items():
            if column not in row:
                raise UserError(f"{where}: the row has no field {column!r}")
            picked[role] = self.kinds[role].read(ColumnValue(row[column], where, self.labels, places))
        if len({len(picked[role]) for role, kind in self.kinds.items() if kind.is_list}) > 1:
            tokens, tags = len(picked["tokens"]), len(picked["tags"])
            raise UserError(f"{where}: {tokens} tokens but {tags} tags; give each token its tag")
        text = picked.setdefault("text", " ".join(picked.get("tokens", ())))
        if not text.strip() and not self.keep_empty:
            self.empty.append(line)
            return None
        return picked


def _names_in(batch: list[NumberedRow]) -> list[str]:
    """Columns of the first rows; rows of a jsonl file may leave some out."""
    return list(dict.fromkeys(str(name) for _, row in batch[:100] for name in row if name != WORD_LINES))
