"""Where rows come from: a Hub id, a file or folder, or a packaged sample; read into Arrow files on disk."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
from datasets import Dataset

from pipeline.config import paths, samples
from pipeline.config.data import Data
from pipeline.data import hub_source
from pipeline.data.columns import Cell, Kind, Roles, assign, kind_of
from pipeline.data.readers import files, treebank
from pipeline.data.readers.conll import LINES, Columns
from pipeline.errors import UserError

Rows = Iterator[tuple[int, dict[str, Any]]]
# Of the column that holds the labels, or by column; nothing where the source names none.
ClassNames = list[str] | Mapping[str, list[str]] | None

ROWS_PER_BATCH = 1000


@dataclass(frozen=True)
class Packaged:
    """How a packaged sample is read.

    Attributes:
        only: split -> column and value of its rows, where a file holds more than one; else all are for training.
        label_names: names of the classes in the order of their ids.
        read: rows of the file, where its extension does not tell.
        is_running: whether its rows are lines of one text.
        note: what to know before it is used.
    """

    only: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    label_names: list[str] | None = None
    read: Callable[[Path], Iterable[tuple[int, dict[str, Any]]]] | None = None
    is_running: bool = False
    note: str | None = None


def _read_columns(file: Path) -> Columns:
    return Columns(files.lines(file), str(file))


POLARITY = ["negative", "positive"]
PACKAGED = {
    "rotten_tomatoes": Packaged({"train": ("source", "rotten_tomatoes")}, POLARITY),
    "imdb": Packaged({"train": ("source", "imdb")}, POLARITY),
    "imdb_text": Packaged({"train": ("source", "imdb")}, is_running=True),
    "twitter_ner": Packaged(read=_read_columns),
    "hebrew_ner": Packaged(
        {"train": ("set", "train"), "validation": ("set", "dev"), "test": ("set", "test")},
        read=treebank.read,
        note="sample:hebrew_ner is made from a treebank that is not for commercial use",
    ),
}


@dataclass(frozen=True)
class Origin:
    """What a source is, before its rows are read.

    Attributes:
        files: split -> file; empty for a Hub data set.
        fingerprint: changes whenever the rows do.
        revision: commit of a Hub data set.
        packaged: how a sample is read; nothing for other sources.
    """

    files: dict[str, Path]
    fingerprint: str
    revision: str | None = None
    packaged: Packaged = field(default_factory=Packaged)


@dataclass(frozen=True)
class Source:
    """The rows of each split, on disk.

    Attributes:
        splits: columns are the roles, `text` (of tokens: joined by blanks) and `line`, where the row stands in its
            file; beside tags `lines`, where each of them stands, or nothing.
        names: split -> file or data set, for messages.
        empty: split -> lines that had no text and were left out.
        notes: what the readers had to tell.
    """

    splits: dict[str, Dataset]
    names: dict[str, str]
    label_names: list[str] | None = None
    empty: dict[str, list[int]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def locate(data: Data) -> Origin:
    """Find the source and take its fingerprint.

    Raises:
        UserError: it is not there, or a setting does not suit it.
    """
    files = paths.data_files(data)
    if files is None:
        commit = hub_source.resolve(data)
        return Origin({}, f"{data.source}@{commit}/{data.subset}/{data.streaming}", commit)
    if samples.is_sample(data.source):
        name = data.source.removeprefix(samples.PREFIX)
        packaged = PACKAGED[name]
        (file,) = files.values()
        return Origin(dict.fromkeys(packaged.only or ["train"], file), _digest([file]) + name, None, packaged)
    return Origin(files, _digest(files.values()))


def _digest(files: Any) -> str:
    """Content hash of files: whatever their names and dates, the same bytes are the same data."""
    digest = hashlib.blake2b(digest_size=16)
    for file in files:
        try:
            with file.open("rb") as stream:
                while chunk := stream.read(1 << 20):
                    digest.update(chunk)
        except OSError as error:
            raise UserError(f"{file}: cannot be read: {error.strerror}") from error
        digest.update(b"\0next file\0" + file.suffix.encode())
    return digest.hexdigest()


def is_running(data: Data) -> bool:
    """Whether the rows are lines of one text that runs through all of them, rather than documents of their own: as
    data.separate says, else where they come from .txt files or from a sample of running text."""
    if data.separate is not None:
        return not data.separate
    if samples.is_sample(data.source):
        return PACKAGED[data.source.removeprefix(samples.PREFIX)].is_running
    files = paths.data_files(data)
    return files is not None and all(file.suffix.lower() == ".txt" for file in files.values())


def load(data: Data, origin: Origin, roles: Roles, folder: Path, keep_empty: bool = False) -> Source:
    """Read the rows of every split into Arrow files in `folder`; memory does not grow with their number.

    Args:
        keep_empty: whether rows without text stay, as the blank lines of a running text.

    Raises:
        UserError: a file or a row is malformed; the message has file and line.
    """
    names: dict[str, str] = {}
    tables: dict[str, Rows] = {}
    classes: dict[str, ClassNames] = {}
    notes = [origin.packaged.note] if origin.packaged.note else []
    if origin.files:
        for split, file in origin.files.items():
            names[split], classes[split] = str(file), origin.packaged.label_names or files.class_names(file)
            tables[split] = _rows_of(file, split, origin.packaged, notes)
    else:
        for split, (rows, hub_names) in hub_source.load(data, origin.revision).items():
            names[split], tables[split], classes[split] = f"{data.source}[{split}]", rows, hub_names
    splits, empty, label_names = {}, {}, None
    for split, rows in tables.items():
        writer = _Writer(data, roles, names[split], classes[split], keep_empty)
        splits[split] = writer.write(rows, folder / f"{split}.arrow")
        empty[split] = writer.empty
        label_names = writer.label_names or label_names
    return Source(splits, names, label_names, empty, list(dict.fromkeys(notes)))


def _rows_of(file: Path, split: str, packaged: Packaged, notes: list[str]) -> Rows:
    rows = iter(packaged.read(file)) if packaged.read else files.read(file, notes)
    if split not in packaged.only:
        return rows
    column, value = packaged.only[split]
    return ((line, row) for line, row in rows if row.get(column) == value)


class _Writer:
    """Picks the columns of a split's rows and writes them to an Arrow file."""

    def __init__(self, data: Data, roles: Roles, name: str, classes: ClassNames, keep_empty: bool):
        self.roles, self.name, self.classes, self.keep_empty = roles, name, classes, keep_empty
        self.kinds: dict[str, Kind] = {role: kind_of(role) for role in roles}
        self.chosen = {role: getattr(data, kind.setting, None) for role, kind in self.kinds.items()}
        self.empty: list[int] = []
        self.columns: dict[str, str] = {}
        self.label_names: list[str] | None = None
        types = {"text": pa.large_string(), **{role: kind.type for role, kind in self.kinds.items()}}
        types |= {"line": pa.int64(), **({"lines": pa.list_(pa.int64())} if "tags" in roles else {})}
        self.schema = pa.schema(types)

    def write(self, rows: Rows, file: Path) -> Dataset:
        written = 0
        with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_stream(sink, self.schema) as stream:
            while batch := list(itertools.islice(rows, ROWS_PER_BATCH)):
                if not self.columns:
                    self.columns = assign(self.roles, _names_in(batch), self.chosen, self.name)
                    self.label_names = self._names_of_classes()
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
        where = f"{self.name}:{line}"
        picked: dict[str, Any] = {"line": line, "lines": row.get(LINES)}
        places = [f"{self.name}:{number}" for number in picked["lines"] or ()]
        for role, column in self.columns.items():
            if column not in row:
                raise UserError(f"{where}: the row has no field {column!r}")
            picked[role] = self.kinds[role].read(Cell(row[column], where, self.label_names, places))
        if len({len(picked[role]) for role, kind in self.kinds.items() if kind.is_list}) > 1:
            tokens, tags = len(picked["tokens"]), len(picked["tags"])
            raise UserError(f"{where}: {tokens} tokens but {tags} tags; give each token its tag")
        text = picked.setdefault("text", " ".join(picked.get("tokens", ())))
        if not text.strip() and not self.keep_empty:
            self.empty.append(line)
            return None
        return picked


def _names_in(batch: list[tuple[int, dict[str, Any]]]) -> list[str]:
    """Columns of the first rows; rows of a jsonl file may leave some out."""
    return list(dict.fromkeys(str(name) for _, row in batch[:100] for name in row if name != LINES))
