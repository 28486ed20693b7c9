"""Lists what is in a folder, without what cannot be data, and whether its folders or files are classes."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from pipeline.config.files.split_names import UNLABELLED, split_called
from pipeline.config.formats import stem_of, suffix_of
from pipeline.errors import UserError

# Names of files that describe a data set, and suffixes of files that are no data.
DOCUMENTATION = re.compile(
    r"readme.*|(thumbs|desktop|licen[cs]e|copying|citation|changelog|authors|notice)[^a-z]*(txt|md|cff|db|ini)?"
    r"|(dataset_infos?|dataset_dict|state)\.json"
)
NO_DATA = {
    *(".py", ".sh", ".log", ".md", ".rst", ".yaml", ".yml", ".toml", ".cfg", ".ini", ".ipynb", ".bib", ".crc", ".js"),
    *(".png", ".jpg", ".jpeg", ".gif", ".svg", ".lock", ".sha256", ".md5", ".pt", ".bin", ".safetensors", ".css"),
}
TEXTS = ("", ".txt", ".text")
# Words in the name of a file of texts of one class: rt-polarity.pos, neg.txt.
CLASSES = {"pos", "positive", "neg", "negative", "neu", "neutral"}
# As many files tell what a folder is for.
PEEKED = 30


@dataclass(frozen=True)
class Listing:
    """The files and folders in a folder, by name, without hidden ones and those whose name Spark begins with _."""

    folder: Path
    files: list[Path] = field(default_factory=list)
    folders: list[Path] = field(default_factory=list)

    @classmethod
    def of(cls, folder: Path, most: int | None = None) -> Listing:
        """What is in `folder`.

        Args:
            most: stop after this many files and folders, whichever come first, to see what a large folder is for.

        Raises:
            UserError: it cannot be read.
        """
        try:
            with os.scandir(folder) as scanned:
                visible = ((entry.name, entry.is_dir()) for entry in scanned if not entry.name.startswith((".", "_")))
                entries = sorted(islice(visible, most))
        except OSError as error:
            raise UserError(f"{folder}: cannot be read: {error.strerror}") from error
        files = [folder / name for name, is_folder in entries if not is_folder and not is_no_data(name)]
        return cls(folder, files, [folder / name for name, is_folder in entries if is_folder])

    @property
    def suffixes(self) -> set[str]:
        """Of the formats of its files."""
        return set(map(suffix_of, self.files))


def is_no_data(name: str) -> bool:
    """Whether a file with this name describes data, or is of a kind that is never data."""
    lowered = name.lower()
    return bool(DOCUMENTATION.fullmatch(lowered)) or os.path.splitext(lowered)[1] in NO_DATA


def class_folders(listed: Listing) -> list[Path]:
    """The folders of classes in a folder that consists of at least two: each holds texts, a file for each."""
    folders = [folder for folder in listed.folders if folder.name.lower() not in UNLABELLED]
    return folders if len(folders) > 1 and all(map(_holds_texts, folders)) else []


def _holds_texts(folder: Path) -> bool:
    peeked = Listing.of(folder, PEEKED)
    splits = any(split_called(stem_of(file)) for file in peeked.files)
    return bool(peeked.files) and not splits and peeked.suffixes <= {*TEXTS}


def class_files(files: Sequence[Path]) -> dict[str, Path]:
    """Class -> the file with its texts, if there is one such file for each of at least two classes."""
    found: dict[str, Path] = {}
    for file in files:
        words = set(re.findall(r"[a-z]+", file.name.lower())) & CLASSES
        if len(words) == 1 and suffix_of(file) in (*TEXTS, *(f".{word}" for word in words)):
            name = words.pop()
            if name in found:
                return {}
            found[name] = file
    return found if len(found) > 1 else {}
