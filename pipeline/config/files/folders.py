"""Finds the splits in a folder: files or folders named after them, shards, classes, documents, what `datasets` saved.

`Finder` tries these in order; the first that fits is the layout of the folder:

1. what `Dataset.save_to_disk` wrote, or what the README of a data repository of the Hub says (`hub_folders`);
2. a file, or the numbered parts of one, for each split (`split_files`), or one for each split and language;
3. a folder for each split: with parts of it, folders of classes, or documents;
4. a folder for each class, or a file for each class;
5. one folder in it that has one of these layouts;
6. without splits: parts of one table, a single file, annotated texts, or documents.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from pipeline.config.data import Data
from pipeline.config.files import hub_folders, paired_lines, parallel
from pipeline.config.files.format_choice import FormatChoice, refuse_unreadable
from pipeline.config.files.listing import TEXTS, Listing, class_files, class_folders
from pipeline.config.files.split_files import are_shards, choose, missing, numbered, ordered
from pipeline.config.files.split_names import OF, SPLITS, UNLABELLED, assigned, split_called, split_in
from pipeline.config.formats import BY_SUFFIX, FORMATS, REMEDIES, Part, suffix_of
from pipeline.errors import UserError, listing

# A tenth of fewer documents than this is no sample, so their lines are read as one text.
FEW_DOCUMENTS = 10
SHOWN = 8
# More folders than this are not data sets.
MOST_FOLDERS = 50

Parts = tuple[Part, ...]


class Layout(NamedTuple):
    """What is read of a folder.

    Attributes:
        parts: of each split.
        warnings: what a user should know about the choice.
        classes: column -> names of its classes, if a README gives them.
    """

    parts: dict[str, Parts]
    warnings: tuple[str, ...]
    classes: dict[str, list[str]]


def find(folder: Path, data: Data, task: str | None) -> Layout:
    """What is read of `folder` for `task`, the splits in order.

    Raises:
        UserError: there is nothing in it that can be read, or it is not clear what.
    """
    if data.subset and not hub_folders.has_configurations(folder):
        if not (folder / data.subset).is_dir():
            data.refuse("subset", f"{folder} has no folder {data.subset} and no configurations in its README.md")
        folder = folder / data.subset
    return _find(Listing.of(folder), data, task)


def find_among(files: Sequence[Path], data: Data, task: str | None) -> Layout:
    """What is read of `files`, as if they were alone in a folder.

    Raises:
        UserError: it is not clear which of them are which split.
    """
    return _find(Listing(files[0].parent, list(files)), data, task)


def _find(listed: Listing, data: Data, task: str | None) -> Layout:
    finder = Finder(listed.folder, data, task)
    parts = finder.with_splits(listed) or finder.one_level_down(listed) or finder.without_splits(listed)
    classes = hub_folders.class_names(listed.folder, data.subset)
    return Layout({split: parts[split] for split in SPLITS if split in parts}, finder.warnings, classes)


class Finder:
    """Finds the parts of each split in the folder `root` for `data` and `task`, which is None if it is unknown."""

    def __init__(self, root: Path, data: Data, task: str | None):
        self.root, self.data, self.task = root, data, task
        self.choice = FormatChoice(data, task)
        self.has_labels = task not in ("ner", "next_word", "translation")
        self._unused: list[str] = []
        self._notes: list[str] = []

    @property
    def warnings(self) -> tuple[str, ...]:
        names = [*dict.fromkeys(self._unused)]
        unused = [f"in {self.root}, not used: {listing(names)}"] if names else []
        return (*self.choice.warnings, *self._notes, *unused)

    def with_splits(self, listed: Listing) -> dict[str, Parts]:
        """Split -> parts, by layouts 1 to 4; empty if the folder has none of them."""
        return (
            self._from_hub(listed)
            or self._in_languages(listed)
            or self._in_files(listed)
            or self._in_folders(listed)
            or self._in_classes(listed)
        )

    def _from_hub(self, listed: Listing) -> dict[str, Parts]:
        files: Mapping[str, Sequence[Path]] | None = None
        if self.data.format in (None, "arrow"):
            files = hub_folders.saved_splits(listed.folder)
        if files is None and (configured := hub_folders.configured(listed.folder, self.data)):
            if configured.root != listed.folder and not configured.files:
                return self.with_splits(Listing.of(configured.root))
            files = configured.files
        if not files:
            return {}
        named = assigned(files)
        if len(named) == 1 and None in named.values():
            named = dict.fromkeys(named, "train")
        self._unused += [f"the split {name}" for name, split in named.items() if split is None]
        return self.choice.parts({split: files[name] for name, split in named.items() if split})

    def _in_languages(self, listed: Listing) -> dict[str, Parts]:
        """Files of the same name in several languages, such as train.en and train.de; one for each split."""
        if self.task not in (None, "translation") or self.data.format not in (None, "parallel"):
            return {}
        found: dict[str, list[Path]] = {}
        for file in parallel.first_files(file for file in listed.files if suffix_of(file) not in BY_SUFFIX):
            if split := split_in(file.name):
                found.setdefault(split, []).append(file)
        parts = {split: tuple(Part(file, FORMATS["parallel"]) for file in files) for split, files in found.items()}
        if parts:
            used = {other for files in found.values() for file in files for other in (file, *parallel.beside(file))}
            self._leave(listed, used)
        return parts

    def _in_files(self, listed: Listing) -> dict[str, Parts]:
        files = [file for file in listed.files if self._may_be_read(file)]
        labels = {beside for file in files for beside in paired_lines.beside(file)}
        others = [file for file in listed.files if file not in labels]
        found = choose(listed.folder, [file for file in files if file not in labels], self.data.format, others)
        if not found:
            return {}
        used = {file for of_split in found.values() for file in of_split}
        self._leave(listed, {*used, *labels})
        self._unused += [f"{self._name(folder)}/" for folder in listed.folders if split_called(folder.name)]
        for split, files in found.items():
            self._note_parts(split, files)
        return self.choice.parts({split: _not_empty(files) for split, files in found.items()})

    def _note_parts(self, split: str, files: Sequence[Path]) -> None:
        """Say that a split is in several files, unless their names say so, and that parts of it are missing."""
        if absent := missing(files):
            self._notes.append(f"{split} is not complete: {absent}")
        if len(files) > 1 and not OF.search(files[0].name):
            self._notes.append(f"{split} is read from {len(files)} files in {files[0].parent}, {files[0].name} first")

    def _may_be_read(self, file: Path) -> bool:
        """Whether a file named after a split is data: by its suffix, or by its content."""
        suffix = suffix_of(file)
        if not split_in(file.name) or suffix in REMEDIES or file.suffix.lower() in REMEDIES:
            return False
        if not suffix or suffix in BY_SUFFIX or self.data.format:
            return True
        return file.is_file() and self.choice.by_looking(file) is not None

    def _in_folders(self, listed: Listing) -> dict[str, Parts]:
        folders: dict[str, list[Path]] = {}
        for folder in listed.folders:
            if split := split_in(folder.name):
                folders.setdefault(split, []).append(folder)
        found: dict[str, Parts] = {}
        for split, named in folders.items():
            exact = [folder for folder in named if split_called(folder.name)] or named
            if len(exact) > 1:
                first, second, *_ = exact
                raise UserError(
                    f"{listed.folder}: both {first.name} and {second.name} are the {split} split; remove one"
                )
            if parts := self._in_split(Listing.of(exact[0]), split):
                found[split] = parts
        if found:
            self._leave(listed, set())
        return found

    def _in_split(self, listed: Listing, split: str) -> Parts:
        """What the folder of a split consists of."""
        if (listed.folder / hub_folders.STATE).is_file():
            return self.choice.parts({split: hub_folders.saved_files(listed.folder)})[split]
        found = self._as_whole(listed) or self._class_part(listed)
        if found:
            return found
        files = _not_empty([file for file in listed.files if suffix_of(file) not in REMEDIES])
        if not files:
            return self._documents(listed)
        if self._are_documents(listed, files):
            return self._documents(listed)
        return self._parts_of_one(listed.folder, files, split)

    def _parts_of_one(self, folder: Path, files: Sequence[Path], split: str) -> Parts:
        """Files of one table, in the order of their names."""
        if len(set(map(suffix_of, files))) > 1:
            raise UserError(
                f"{folder}: it has files of several kinds: {listing([file.name for file in files])}; remove some"
            )
        files = ordered(files)
        self._note_parts(split, files)
        return self.choice.parts({split: files})[split]

    def _as_whole(self, listed: Listing) -> Parts:
        """The folder in the format of folders that is set, or that its files are in."""
        chosen: str | None = self.data.format
        inside = [Listing.of(folder, 10) for folder in listed.folders[:MOST_FOLDERS]]
        if chosen is None and any(".ann" in found.suffixes for found in (listed, *inside)):
            chosen = "brat"
        return (Part(listed.folder, FORMATS[chosen]),) if chosen and FORMATS[chosen].is_folder else ()

    def _in_classes(self, listed: Listing) -> dict[str, Parts]:
        found = self._class_part(listed)
        return {"train": found} if found else {}

    def _class_part(self, listed: Listing) -> Parts:
        """A folder that consists of folders or files of classes."""
        if not self.has_labels or self.data.format:
            return ()
        if class_folders(listed):
            self._leave(listed, set())
            self._unused += [f"{self._name(folder)}/" for folder in listed.folders if folder.name.lower() in UNLABELLED]
            return (Part(listed.folder, FORMATS["class-folders"]),)
        if classes := class_files(listed.files):
            self._leave(listed, classes.values())
            names = ", ".join(f"{name} in {file.name}" for name, file in classes.items())
            self._notes.append(f"a file for each class: {names}")
            return (Part(listed.folder, FORMATS["class-files"]),)
        return ()

    def one_level_down(self, listed: Listing) -> dict[str, Parts]:
        """What the only folder with splits in this one consists of; empty if there is none.

        Raises:
            UserError: there are several.
        """
        found: dict[Path, tuple[Finder, dict[str, Parts]]] = {}
        refused: list[UserError] = []
        for folder in listed.folders[:MOST_FOLDERS]:
            finder = Finder(self.root, self.data, self.task)
            try:
                if parts := finder.with_splits(_innermost(folder)):
                    found[folder] = (finder, parts)
            except UserError as error:
                refused.append(error)
        if len(found) > 1:
            names = listing([folder.name for folder in found])
            raise UserError(f"{listed.folder}: there are several data sets in it: {names}; set data.subset to one")
        if not found and refused:
            raise refused[0]
        for folder, (finder, parts) in found.items():
            self.choice, self._notes = finder.choice, [*finder._notes, f"read from {folder}"]
            self._unused += finder._unused
            self._leave(listed, set())
            return parts
        return {}

    def without_splits(self, listed: Listing) -> dict[str, Parts]:
        """The training split of a folder whose files are not named after splits.

        Raises:
            UserError: there is nothing to read, or it is not clear what.
        """
        files = [file for file in listed.files if self._is_readable(file)]
        found = self._as_whole(listed)
        if not found and files and numbered(files) and not self._are_documents(listed, files):
            found = self._parts_of_one(listed.folder, _not_empty(files), "train")
            self._leave(listed, files)
        found = found or self._documents(listed)
        if not found:
            raise UserError(_nothing_in(listed))
        return {"train": found}

    def _is_readable(self, file: Path) -> bool:
        suffix = suffix_of(file)
        if suffix in BY_SUFFIX or self.data.format:
            return True
        return suffix not in REMEDIES and self.choice.by_looking(file) is not None

    def _are_documents(self, listed: Listing, files: Sequence[Path]) -> bool:
        """Whether the files in a folder are texts that do not belong to one another."""
        if len(files) < 2 or are_shards(files) or not listed.suffixes <= {*TEXTS}:
            return False
        return self.choice.by_looking(files[0]) is None

    def _documents(self, listed: Listing) -> Parts:
        """A folder of texts for next_word, also in folders of it; few of them are one running text."""
        if self.has_labels and self.task is not None:
            return ()
        texts = [file for file in listed.files if suffix_of(file) in TEXTS]
        inside = [folder for folder in listed.folders if Listing.of(folder, 1).suffixes & {*TEXTS}]
        if self.task == "ner" or (not texts and not inside) or self.data.format not in (None, "txt"):
            return ()
        first = next((file for file in texts or inside[0].iterdir() if not file.name.startswith((".", "_"))), None)
        if first is not None and first.is_file() and not self.data.format and self.choice.by_looking(first) is not None:
            return ()  # these are tables
        self._leave(listed, texts)
        if inside or (len(texts) >= FEW_DOCUMENTS and not self.data.format):
            self._notes.append(f"each file in {listed.folder} is a document")
            return (Part(listed.folder, FORMATS["documents"]),)
        if len(texts) > 1:
            self._notes.append(
                f"the {len(texts)} files in {listed.folder} are read as one text, in the order of their names"
            )
        return self.choice.parts({"train": ordered(texts)})["train"]

    def _leave(self, listed: Listing, used: Iterable[Path]) -> None:
        kept = set(used)
        self._unused += [self._name(file) for file in listed.files if file not in kept]

    def _name(self, path: Path) -> str:
        return str(path.relative_to(self.root)) if self.root in path.parents else path.name


def _not_empty(files: Sequence[Path]) -> list[Path]:
    """Without the empty files that Spark writes for partitions without rows, unless all are empty."""
    if len(files) == 1:
        return [*files]
    return [file for file in files if not file.is_file() or file.stat().st_size] or [*files[:1]]


def _innermost(folder: Path) -> Listing:
    """What is in `folder`, or in the only folder in it if there is nothing else, and so on, as in the caches of
    libraries."""
    listed = Listing.of(folder)
    while not listed.files and len(listed.folders) == 1 and not split_in(listed.folders[0].name):
        listed = Listing.of(listed.folders[0])
    return listed


def _nothing_in(listed: Listing) -> str:
    for file in listed.files:
        refuse_unreadable(file)
    if not listed.files:
        kinds = " ".join(format.suffixes[0] for format in FORMATS.values() if format.suffixes)
        return f"{listed.folder}: no train.*, validation.* or test.* in it ({kinds}, ...); name the file itself"
    shown = [file.name for file in listed.files[:SHOWN]]
    names = listing(shown) + ", ..." * (len(listed.files) > SHOWN)
    return (
        f"{listed.folder}: no train.*, validation.* or test.* in it, only {names}; name one of them, or put the"
        " parts of one table in a folder called train"
    )
