"""Resolves data.source, once: a packaged sample, files on this machine, or a Hub dataset."""

from __future__ import annotations

import functools
import glob
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from pipeline.config import samples
from pipeline.config.data import Data
from pipeline.config.files import folders
from pipeline.config.files.format_choice import FormatChoice
from pipeline.config.files.split_files import missing
from pipeline.config.files.split_names import SPLITS
from pipeline.config.formats import (
    CATALOGUES,
    COMPRESSIONS,
    DATA_SUFFIXES,
    FORMATS,
    REMEDIES,
    TREEBANK,
    WRITING,
    Format,
    Part,
    files_of,
    name_of,
)
from pipeline.config.hub import HUB_ID
from pipeline.config.paths import local
from pipeline.errors import UserError

__all__ = ["SPLITS", "ResolvedSource", "Sample", "resolve"]

# Settings that only make sense for a Hub dataset.
HUB_SETTINGS = ("revision", "streaming")


@dataclass(frozen=True)
class Sample:
    """How a packaged sample is read.

    Attributes:
        format: of its one file.
        only: split -> column and value of its rows, if the file holds more than one split; otherwise all are train.
        label_names: names of the classes in the order of their ids.
        is_running_text: whether its rows are lines of one text.
        text_column: what is translated, unless a setting says otherwise.
        warning: what to know before using it.
    """

    format: Format
    only: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    label_names: list[str] | None = None
    is_running_text: bool = False
    text_column: str | None = None
    warning: str | None = None


_CSV, _POLARITY = FORMATS["csv"], ["negative", "positive"]
PACKAGED = {
    "rotten_tomatoes": Sample(_CSV, {"train": ("source", "rotten_tomatoes")}, _POLARITY),
    "imdb": Sample(_CSV, {"train": ("source", "imdb")}, _POLARITY),
    "imdb_text": Sample(_CSV, {"train": ("source", "imdb")}, is_running_text=True),
    "twitter_ner": Sample(FORMATS["conll"]),
    "hebrew_ner": Sample(
        TREEBANK,
        {"train": ("set", "train"), "validation": ("set", "dev"), "test": ("set", "test")},
        warning="sample:hebrew_ner is made from a treebank that is not for commercial use",
    ),
    **{f"plone_{name}": Sample(CATALOGUES, text_column="en") for name in samples.LANGUAGES},
}


@dataclass(frozen=True)
class ResolvedSource:
    """A source that has been found. Later steps use it instead of looking at the file system again.

    Attributes:
        data: the settings that name it.
        kind: a packaged sample, files on this machine, or a Hub dataset.
        parts: split -> the files with its rows, in order; empty for a Hub dataset. All splits of a sample are in the
            same file.
        sample: how a packaged sample is read.
        commit: of a Hub dataset; None until it has been resolved.
        warnings: what a user should know about the choice of files.
        classes: column -> names of its classes, if the README of a data repository gives them.
    """

    data: Data
    kind: Literal["sample", "files", "hub"]
    parts: Mapping[str, tuple[Part, ...]] = field(default_factory=dict)
    sample: Sample | None = None
    commit: str | None = None
    warnings: tuple[str, ...] = ()
    classes: Mapping[str, list[str]] = field(default_factory=dict)

    def at(self, commit: str) -> ResolvedSource:
        """The same Hub dataset at `commit`, which is its data.revision from then on."""
        return replace(self, data=replace(self.data, revision=commit), commit=commit)

    @property
    def is_running_text(self) -> bool:
        """Whether the rows are lines of one running text rather than separate documents. data.separate decides;
        if it is not set, this is true for a sample of running text and for files in a format of running text."""
        if self.data.separate is not None:
            return not self.data.separate
        if self.sample:
            return self.sample.is_running_text
        parts = [part for split in self.parts.values() for part in split]
        return bool(parts) and all(part.format.is_running_text for part in parts)

    @functools.cached_property
    def fingerprint(self) -> str:
        """Changes whenever the rows do. Computed on first use, because it reads every byte of the files.

        Raises:
            UserError: a file cannot be read.
        """
        if self.kind == "hub":
            assert self.commit, "a branch can move: resolve it to a commit first"
            return f"{self.data.source}@{self.commit}/{self.data.subset}/{self.data.streaming}"
        if self.sample:
            (part,) = next(iter(self.parts.values()))
            return _digest([part]) + self.data.source.removeprefix(samples.PREFIX)
        return _digest(part for split in self.parts.values() for part in split)


def resolve(data: Data, task: str | None = None) -> ResolvedSource:
    """Find what data.source names, without asking the Hub.

    Args:
        task: the name of a built-in task, where a file may be meant for one of them; None: unknown.

    Raises:
        UserError: it does not exist, cannot be read as data, or a setting does not apply to it.
    """
    if samples.is_sample(data.source):
        return _resolve_sample(data)
    path = local(data.source, "data.source")
    if not (path.exists() or path.is_symlink()) and _looks_like_hub_id(data.source):
        if data.format:
            data.refuse("format", f"there is no file {path}, and a Hub dataset needs no format; remove this setting")
        _refuse_settings(data, WRITING, "a Hub dataset, whose files are read by datasets")
        return ResolvedSource(data, "hub")
    _refuse_settings(data, HUB_SETTINGS, "a local file or folder, which has none")
    source = _resolve_files(data, path, task)
    _refuse_unread(source)
    return source


def _resolve_files(data: Data, path: Path, task: str | None) -> ResolvedSource:
    """The same for a file, a folder or a pattern on this machine."""
    if path.is_dir():
        found = folders.find(path, data, task)
        return ResolvedSource(data, "files", found.parts, warnings=found.warnings, classes=found.classes)
    _refuse_settings(data, ("subset",), "a file, which has none")
    if not path.exists() and (files := _matching(data.source, path)):
        found = folders.find_among(files, data, task)
        return ResolvedSource(data, "files", found.parts, warnings=found.warnings)
    choice = FormatChoice(data, task)
    parts = choice.parts({"train": [path]})
    return ResolvedSource(data, "files", parts, warnings=(*choice.warnings, *_other_parts(path)))


def _matching(source: str, path: Path) -> list[Path]:
    """The files that `source` matches as a pattern, such as data/train-*.parquet.

    Raises:
        UserError: it is an address on the web.
    """
    if "://" in source:
        raise UserError(f"data.source: {source} is an address; download the file, and name it")
    found = sorted(glob.glob(str(path), recursive=True)) if glob.has_magic(source) else []
    return [Path(name) for name in found if Path(name).is_file()]


def _other_parts(file: Path) -> list[str]:
    """A line if `file` is one of several parts of a table."""
    absent = missing([file])
    return [f"{file} is one of several parts; name its folder to read all"] if absent else []


def _resolve_sample(data: Data) -> ResolvedSource:
    _refuse_settings(data, (*HUB_SETTINGS, "subset"), "a packaged sample, which has none")
    _refuse_settings(data, ("format", *WRITING), "a packaged sample, whose format is known")
    file = samples.find("data", data.source, "data.source")
    sample = PACKAGED[data.source.removeprefix(samples.PREFIX)]
    parts = dict.fromkeys([*sample.only] or ["train"], (Part(file, sample.format),))
    if data.text_column is None and data.target_column is None:
        data = replace(data, text_column=sample.text_column)
    return ResolvedSource(data, "sample", parts, sample)


def _refuse_settings(data: Data, names: Iterable[str], reason: str) -> None:
    for name in names:
        if getattr(data, name) != getattr(Data, name):
            data.refuse(name, f"{data.source} is {reason}; remove this setting")


def _refuse_unread(source: ResolvedSource) -> None:
    """Refuse a setting about how a file is written that would be ignored, because no file has a format that uses it.

    Raises:
        UserError: as above.
    """
    formats = list(dict.fromkeys(part.format for parts in source.parts.values() for part in parts))
    for name in WRITING:
        if getattr(source.data, name) is not None and not any(name in format.settings for format in formats):
            found = " and ".join(map(name_of, formats))
            *others, last = (key for key, format in FORMATS.items() if name in format.settings)
            remedy = f"remove it, or set data.format to {', '.join(others)} or {last}"
            if name == "encoding":
                remedy = "remove this setting"
            source.data.refuse(name, f"{source.data.source} is read as {found}, which does not use it; {remedy}")


def _looks_like_hub_id(source: str) -> bool:
    path = Path(source)
    is_file = path.suffix.lower() in (*DATA_SUFFIXES, *COMPRESSIONS, *REMEDIES)
    return bool(HUB_ID.fullmatch(source)) and not is_file and not path.parent.exists()


def _digest(parts: Iterable[Part]) -> str:
    """Hash of the contents of files: the same bytes are the same data, regardless of file names and dates. In a folder
    that is read as a whole, names count, because they may be labels."""
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        for name, file in files_of(part):
            try:
                with file.open("rb") as stream:
                    while chunk := stream.read(1 << 20):
                        digest.update(chunk)
            except OSError as error:
                raise UserError(f"{file}: cannot be read: {error.strerror}") from error
            digest.update(b"\0next file\0" + name.encode())
    return digest.hexdigest()
