"""Folders of texts: a file is a document, a folder of files or a file of lines is a class."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from pipeline.config.data import Data
from pipeline.config.files.listing import TEXTS, Listing, class_files, class_folders, is_no_data
from pipeline.config.files.split_names import in_order
from pipeline.config.formats import suffix_of
from pipeline.data.readers.common import NumberedRow, lines, text_of
from pipeline.errors import UserError

# Around each article in the files of WikiExtractor.
ARTICLE = re.compile(r"<doc id=[^>\n]*>\n(.*?)\n?</doc>", re.DOTALL)


def read(file: Path, data: Data, warnings: list[str]) -> Iterator[NumberedRow]:
    """The text of each file in the folder and its folders, in the order of their names, and the name of the file.

    Raises:
        UserError: there is no text in it, or a file is not text.
    """
    number = 0
    for document in _texts(file):
        whole = text_of(document, data)
        for text in ARTICLE.findall(whole) if whole.startswith("<doc id=") else [whole]:
            number += 1
            yield number, {"text": text.strip(), "file": str(document.relative_to(file))}


def read_classes(file: Path, data: Data, warnings: list[str]) -> Iterator[NumberedRow]:
    """The text of each file, its folder as its label, and the name of the file, in the order of the names.

    Raises:
        UserError: there are not at least two folders of texts, or a file is not text.
    """
    classes = class_folders(Listing.of(file))
    if not classes:
        raise UserError(f"{file}: expected at least two folders, one for each class, with a file for each text")
    number = 0
    for folder in classes:
        listed = Listing.of(folder)
        if listed.folders:
            warnings.append(f"{folder}: the folders in it were left out, such as {listed.folders[0].name}")
        for document in sorted(listed.files, key=lambda path: in_order(path.name)):
            number += 1
            text = text_of(document, data).strip()
            yield number, {"text": text, "label": folder.name, "file": f"{folder.name}/{document.name}"}


def read_class_files(file: Path, data: Data, warnings: list[str]) -> Iterator[NumberedRow]:
    """Each line of the files in the folder, with the class that is in the name of the file, such as pos.

    Raises:
        UserError: there is not exactly one file for each of at least two classes.
    """
    classes = class_files(Listing.of(file).files)
    if not classes:
        raise UserError(f"{file}: expected a file for each class, such as pos.txt and neg.txt")
    for label, texts in classes.items():
        for number, line in lines(texts, data):
            yield number, {"text": line.strip(), "label": label, "file": texts.name}


def _texts(folder: Path) -> list[Path]:
    found = [path for path in folder.rglob("*") if suffix_of(path) in TEXTS and path.is_file()]
    found = [path for path in found if not is_no_data(path.name)]
    names = {path: path.relative_to(folder) for path in found}
    visible = [path for path in found if not any(piece.startswith((".", "_")) for piece in names[path].parts)]
    if not visible:
        raise UserError(f"{folder}: there is no text in it")
    return sorted(visible, key=lambda path: in_order(str(names[path])))
