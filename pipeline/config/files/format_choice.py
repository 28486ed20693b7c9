"""Chooses the format of each file of a source, by data.format, suffix and content, and says where content decided."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from pipeline.config.data import Data
from pipeline.config.files import paired_lines, parallel
from pipeline.config.files.detection import format_in, head_of, json_in
from pipeline.config.formats import BY_SUFFIX, DATA_SUFFIXES, FORMATS, REMEDIES, Part, suffix_of
from pipeline.errors import UserError, listing, suggest

# Formats whose suffix leaves open what the file contains; of the others, only the first bytes are looked at.
AMBIGUOUS = {"txt", "tsv", "json", "jsonl"}
# Formats that hold labels of their own, even if a file of labels is next to them.
SURE = {"conll", "fasttext", "tree", "json", "jsonl"}


class FormatChoice:
    """The formats of the files of `data`; `task` is the one that they are for, or None.

    Attributes:
        by_content: format -> names of the files that have another suffix, or none, and are read in it.
    """

    def __init__(self, data: Data, task: str | None):
        self.data, self.task = data, task
        self.by_content: dict[str, list[str]] = {}

    def parts(self, files: Mapping[str, Sequence[Path]]) -> dict[str, tuple[Part, ...]]:
        """Split -> parts. Files of a split with the same suffix have the same format; a file whose content does not
        tell has that of the training files with the same suffix.

        Raises:
            UserError: a file does not exist, is not a file, or has no known format.
        """
        decided: dict[str, str] = {}  # suffix -> format that the content of an earlier file showed
        found: dict[str, tuple[Part, ...]] = {}
        for split, of_split in files.items():
            own: dict[str, str] = {}
            for file in of_split:
                suffix = suffix_of(file)
                if suffix not in own:
                    own[suffix] = self.of(file, decided.get(suffix))
                    if not FORMATS[own[suffix]].beside:  # another file need not have one beside it
                        decided.setdefault(suffix, own[suffix])
            found[split] = tuple(Part(file, FORMATS[own[suffix_of(file)]]) for file in of_split)
        return found

    def of(self, file: Path, usual: str | None = None) -> str:
        """Name of the format of `file`; of similar files it is `usual`.

        Raises:
            UserError: as for `parts`.
        """
        check_is_file(file)
        if self.data.format:
            return self.data.format
        if self.task in (None, "translation") and suffix_of(file) not in BY_SUFFIX and parallel.beside(file):
            return "parallel"
        name = self._usual(file, self.by_looking(file) or usual)
        if name != BY_SUFFIX.get(suffix_of(file)) and (suffix_of(file) or name != "txt"):
            self.by_content.setdefault(name, []).append(file.name)
        return name

    def by_looking(self, file: Path) -> str | None:
        """Name of the format that the content of `file` shows, even against its suffix; None: it does not tell."""
        suffix = suffix_of(file)
        refuse_unreadable(file)
        head = head_of(file, self.data.encoding)
        if BY_SUFFIX.get(suffix, "txt") in AMBIGUOUS:
            found = format_in(head, suffix, self.task)
            if found not in SURE and self.task != "next_word" and paired_lines.labels_of(file):
                return "paired-lines"
            return found
        return head.binary or (json_in(head, suffix) if BY_SUFFIX.get(suffix) == "csv" else None)

    def _usual(self, file: Path, shown: str | None) -> str:
        suffix = suffix_of(file)
        name = shown or BY_SUFFIX.get(suffix) or ("" if suffix else "txt")
        if not name:
            raise UserError(f"{file}: {suffix} cannot be read{suggest('', DATA_SUFFIXES)}; or set data.format")
        return name

    @property
    def warnings(self) -> list[str]:
        """A line for each format that content decided."""
        return [
            f"read as {name}, because of {'its' if len(files) == 1 else 'their'} content: {listing(files)}"
            for name, files in self.by_content.items()
        ]


def refuse_unreadable(file: Path) -> None:
    """Refuse a file of a kind that is known not to be a table of texts.

    Raises:
        UserError: it is one; the message says what to do.
    """
    for suffix in (file.suffix.lower(), suffix_of(file)):
        if suffix in REMEDIES:
            raise UserError(f"{file}: {suffix} files cannot be read; {REMEDIES[suffix]}")


def check_is_file(file: Path) -> None:
    """Refuse what is not there, and anything but a file: reading a device or a pipe would never end.

    Raises:
        UserError: as above.
    """
    if file.is_symlink() and not file.exists():
        raise UserError(f"data.source: {file} is a link to a file that does not exist")
    if not file.exists():
        near = [entry.name for entry in file.parent.iterdir()] if file.parent.is_dir() else []
        hint = suggest(file.name, near) if near else ""
        if file.parent == Path():
            hint += " (a Hub dataset is named organization/name)"
        raise UserError(f"data.source: there is no file or folder {file}{hint}")
    if not file.is_file():
        kind = "a folder" if file.is_dir() else "a pipe or a device"
        raise UserError(f"{file}: this is {kind}, not a file; write the rows to a file")
