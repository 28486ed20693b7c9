"""Where rows come from: a Hub id, a file or folder, or a packaged sample; read into Arrow files on disk."""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
from datasets import Dataset

from pipeline import samples
from pipeline.data import hub_source, readers
from pipeline.data.columns import Roles, as_label, as_text, assign
from pipeline.errors import UserError, suggest
from pipeline.recipe import Data

Rows = Iterator[tuple[int, dict[str, Any]]]

SPLITS = ("train", "validation", "test")
# The names that files of a folder, and splits of the Hub, go by.
ALIASES = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
}
SAMPLE_LABELS = ["negative", "positive"]
# Samples whose rows are taken as running text -> the sample that has them as rows of their own.
RUNNING_SAMPLES = {"imdb_text": "imdb"}
HUB_ID = re.compile(r"\w[\w.-]*/[\w.-]+")
ROWS_PER_BATCH = 1000


@dataclass(frozen=True)
class Origin:
    """What a source is, before its rows are read.

    Attributes:
        files: split -> file; empty for a Hub data set.
        fingerprint: changes whenever the rows do.
        revision: commit of a Hub data set.
        label_names: names of the classes in the order of their ids, where the source tells them.
        only: column -> value that the rows of a sample must have.
    """

    files: dict[str, Path]
    fingerprint: str
    revision: str | None = None
    label_names: list[str] | None = None
    only: tuple[str, str] | None = None


@dataclass(frozen=True)
class Source:
    """The rows of each split, on disk.

    Attributes:
        splits: columns are the roles, as strings, and `line`, where the row stands in its file.
        names: split -> file or data set, for messages.
        empty: split -> lines that had no text and were left out.
    """

    splits: dict[str, Dataset]
    names: dict[str, str]
    label_names: list[str] | None = None
    empty: dict[str, list[int]] = field(default_factory=dict)


def locate(data: Data) -> Origin:
    """Find the source and take its fingerprint.

    Raises:
        UserError: it is not there, or a setting does not suit it.
    """
    if samples.is_sample(data.source):
        _refuse_hub_settings(data, "a packaged sample")
        file = samples.find("data", data.source, "data.source")
        name = data.source.removeprefix(samples.PREFIX)
        only = ("source", RUNNING_SAMPLES.get(name, name))
        return Origin({"train": file}, _digest([file]) + name, None, SAMPLE_LABELS, only)
    path = Path(data.source).expanduser()
    if path.exists() or path.is_symlink() or not _looks_like_hub_id(data.source):
        _refuse_hub_settings(data, "a local file or folder")
        files = _files_of(path)
        return Origin(files, _digest(files.values()))
    commit = hub_source.resolve(data)
    return Origin({}, f"{data.source}@{commit}/{data.subset}/{data.streaming}", commit)


def _refuse_hub_settings(data: Data, kind: str) -> None:
    for name in ("revision", "subset", "streaming"):
        if getattr(data, name):
            data.refuse(name, f"{data.source} is {kind}, which has none; remove this setting")


def _looks_like_hub_id(source: str) -> bool:
    path = Path(source)
    return bool(HUB_ID.fullmatch(source)) and path.suffix.lower() not in readers.READERS and not path.parent.exists()


def _files_of(path: Path) -> dict[str, Path]:
    if path.is_dir():
        return _files_in(path)
    if path.is_symlink() and not path.exists():
        raise UserError(f"data.source: {path} is a link to a file that is not there")
    if not path.exists():
        near = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
        hint = suggest(path.name, near) if near else ""
        if path.parent == Path():
            hint += " (a data set of the Hub is named organisation/name)"
        raise UserError(f"data.source: there is no file or folder {path}{hint}")
    return {"train": path}


def _files_in(folder: Path) -> dict[str, Path]:
    files: dict[str, Path] = {}
    for file in sorted(folder.iterdir()):
        split = ALIASES.get(file.stem.lower())
        if split is None or file.suffix.lower() not in readers.READERS:
            continue
        if split in files:
            raise UserError(f"{folder}: both {files[split].name} and {file.name} are the {split} split; remove one")
        files[split] = file
    if not files:
        kinds = " ".join(readers.READERS)
        raise UserError(f"{folder}: no train.*, validation.* or test.* in it ({kinds}); name the file itself")
    return {split: files[split] for split in SPLITS if split in files}


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
        return data.source.removeprefix(samples.PREFIX) in RUNNING_SAMPLES
    path = Path(data.source).expanduser()
    files = list(_files_in(path).values()) if path.is_dir() else [path]
    return all(file.suffix.lower() == ".txt" for file in files)


def load(data: Data, origin: Origin, roles: Roles, folder: Path, keep_empty: bool = False) -> Source:
    """Read the rows of every split into Arrow files in `folder`; memory does not grow with their number.

    Args:
        keep_empty: whether rows without text stay, as the blank lines of a running text.

    Raises:
        UserError: a file or a row is malformed; the message has file and line.
    """
    names, label_names, tables = {}, origin.label_names, {}
    if origin.files:
        for split, file in origin.files.items():
            names[split], tables[split] = str(file), _only(readers.read(file), origin.only)
    else:
        for split, (rows, hub_names) in hub_source.load(data, origin.revision).items():
            names[split], tables[split] = f"{data.source}[{split}]", rows
            label_names = hub_names or label_names
    splits, empty = {}, {}
    for split, rows in tables.items():
        writer = _Writer(data, roles, names[split], label_names, keep_empty)
        splits[split] = writer.write(rows, folder / f"{split}.arrow")
        empty[split] = writer.empty
    return Source(splits, names, label_names, empty)


def _only(rows: Rows, only: tuple[str, str] | None) -> Rows:
    return rows if only is None else ((line, row) for line, row in rows if row.get(only[0]) == only[1])


class _Writer:
    """Picks the columns of a split's rows and writes them to an Arrow file."""

    def __init__(self, data: Data, roles: Roles, name: str, label_names: list[str] | None, keep_empty: bool):
        self.roles, self.name, self.label_names, self.keep_empty = roles, name, label_names, keep_empty
        self.chosen: Mapping[str, str | None] = {"text": data.text_column, "label": data.label_column}
        self.empty: list[int] = []
        self.columns: dict[str, str] = {}
        self.schema = pa.schema([*((role, pa.large_string()) for role in roles), ("line", pa.int64())])

    def write(self, rows: Rows, file: Path) -> Dataset:
        written = 0
        with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_stream(sink, self.schema) as stream:
            while batch := list(itertools.islice(rows, ROWS_PER_BATCH)):
                if not self.columns:
                    self.columns = assign(self.roles, _names_in(batch), self.chosen, self.name)
                kept = [row for row in (self._pick(line, row) for line, row in batch) if row]
                stream.write_batch(pa.RecordBatch.from_pylist(kept, schema=self.schema))
                written += len(kept)
        if not written:
            raise UserError(f"{self.name}: it has no rows{' with a text' if self.empty else ''}")
        return Dataset.from_file(str(file))

    def _pick(self, line: int, row: dict[str, Any]) -> dict[str, Any] | None:
        where = f"{self.name}:{line}"
        picked: dict[str, Any] = {"line": line}
        for role, column in self.columns.items():
            if column not in row:
                raise UserError(f"{where}: the row has no field {column!r}")
            value = row[column]
            picked[role] = as_label(value, where, self.label_names) if role == "label" else as_text(value, where)
        if not picked["text"].strip() and not self.keep_empty:
            self.empty.append(line)
            return None
        return picked


def _names_in(batch: list[tuple[int, dict[str, Any]]]) -> list[str]:
    """Columns of the first rows; rows of a jsonl file may leave some out."""
    return list(dict.fromkeys(str(name) for _, row in batch[:100] for name in row))
