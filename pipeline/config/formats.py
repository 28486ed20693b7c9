"""The formats that data files may have: their names, suffixes and readers.

A new format is a row here, its name in the `Literal` of `data.format` (config/data.py), and a module in data/readers/.
Which of them a file has if its suffix does not tell is decided by its content, in config/files/detection.py.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from pathlib import Path
from typing import NamedTuple

from pipeline.config.files import hub_folders, paired_lines, parallel
from pipeline.config.files.split_names import UNLABELLED, split_called


class Format(NamedTuple):
    """A format of data files.

    Attributes:
        reader: `module:function`, imported only when a file is read; see data/readers/registry.py.
        suffixes: file suffixes that select this format if data.format is not set; may be empty.
        class_names: `module:function` that finds the names of classes in a file, for formats that can hold them.
        same_columns: `module:function` that chooses columns in the first file, for formats whose columns have no names;
            returns the settings that choose them in the other files.
        is_running_text: whether the rows are lines of one text, unless data.separate says otherwise.
        is_folder: whether it reads a folder as a whole.
        beside: the further files that belong to a file, for formats of more than one.
        settings: those of `WRITING` that its reader uses.
    """

    reader: str
    suffixes: tuple[str, ...] = ()
    class_names: str | None = None
    same_columns: str | None = None
    is_running_text: bool = False
    is_folder: bool = False
    beside: Callable[[Path], list[Path]] | None = None
    settings: tuple[str, ...] = ("encoding",)


class Part(NamedTuple):
    """A file, or a folder that a format reads as a whole, with rows of a split."""

    file: Path
    format: Format


# Settings of `Data` that say how a file is written.
WRITING = ("separator", "quoting", "header", "encoding")
_READERS, _ANNOTATIONS = "pipeline.data.readers", "pipeline.data.annotations"

FORMATS = {
    # A table with commas, or tabs, between the columns.
    "csv": Format(f"{_READERS}.delimited:read_csv", (".csv",), settings=WRITING),
    "tsv": Format(f"{_READERS}.delimited:read_tsv", (".tsv", ".tab"), settings=WRITING),
    # A list of objects, or one of pandas' other forms; an object on each line.
    "json": Format(f"{_READERS}.json_objects:read_json", (".json",), settings=("header", "encoding")),
    "jsonl": Format(f"{_READERS}.json_lines:read", (".jsonl", ".ndjson", ".jsonlines")),
    "txt": Format(f"{_READERS}.plain_text:read", (".txt", ".text", ".tokens", ".raw"), is_running_text=True),
    "parquet": Format(
        f"{_READERS}.parquet:read", (".parquet", ".pq"), class_names=f"{_READERS}.parquet:class_names", settings=()
    ),
    "arrow": Format(
        f"{_READERS}.arrow:read",
        (".arrow", ".feather"),
        class_names=f"{_READERS}.arrow:class_names",
        beside=hub_folders.info_beside,
        settings=(),
    ),
    # A word on each line, in columns, with a blank line after each sentence.
    "conll": Format(
        f"{_READERS}.conll:read",
        (".conll", ".bmes", ".iob", ".iob2", ".bio", ".bioes", ".conllu", ".conllup", ".v4_gold_conll"),
        same_columns=f"{_READERS}.conll:same_columns",
        settings=("separator", "header", "encoding"),
    ),
    # `__label__positive a funny film`; `1 a funny film`; `(3 (2 It) (4 (2 is) (4 funny)))`.
    "fasttext": Format(f"{_READERS}.labelled_lines:read_fasttext"),
    "label-first": Format(f"{_READERS}.labelled_lines:read_label_first"),
    "tree": Format(f"{_READERS}.tree:read"),
    # train_text.txt, with a label for each line in train_labels.txt.
    "paired-lines": Format(
        f"{_READERS}.paired_lines:read", class_names=f"{_READERS}.paired_lines:class_names", beside=paired_lines.beside
    ),
    # train.en and train.de: a sentence on each line, and its translation on the same line of the other file.
    "parallel": Format(f"{_READERS}.parallel:read", beside=parallel.beside),
    # Translation memories.
    "tmx": Format(f"{_READERS}.tmx:read", (".tmx",), settings=()),
    # A folder of texts, each in a file; in a folder for each class, or a file for each class with a text on each line.
    "documents": Format(f"{_READERS}.documents:read", is_folder=True),
    "class-folders": Format(f"{_READERS}.documents:read_classes", is_folder=True),
    "class-files": Format(f"{_READERS}.documents:read_class_files", is_folder=True),
    # Annotation tools. Their rows are recognised in files of any format; these names are for those that are not.
    "doccano": Format(f"{_ANNOTATIONS}.files:read"),
    "label-studio": Format(f"{_ANNOTATIONS}.files:read"),
    "prodigy": Format(f"{_ANNOTATIONS}.files:read"),
    "spacy": Format(f"{_ANNOTATIONS}.files:read_spacy", (".spacy",)),
    # A folder of texts, each with a file of its spans.
    "brat": Format(f"{_ANNOTATIONS}.files:read_brat", is_folder=True),
}
# The compressed csv file that sample:hebrew_ner packages; not a format that a recipe can name.
TREEBANK = Format(f"{_READERS}.treebank:read")
# The folder of a language in plone.app.locales, likewise.
CATALOGUES = Format(f"{_READERS}.catalogues:read", is_folder=True)

BY_SUFFIX = {suffix: name for name, format in FORMATS.items() for suffix in format.suffixes}
DATA_SUFFIXES = tuple(BY_SUFFIX)
COMPRESSIONS = (".gz", ".bz2", ".xz", ".zst")
# Suffixes of files that cannot be read -> what to do with them.
_UNPACK = "unpack it and name the folder or a file in it"
REMEDIES = {
    **dict.fromkeys((".zip", ".tar", ".tgz", ".tbz2", ".txz", ".7z", ".rar"), _UNPACK),
    **dict.fromkeys((".xlsx", ".xls", ".ods"), "save the sheet as .csv"),
    **dict.fromkeys((".pkl", ".pickle"), "reading a pickle can run code; write it with DataFrame.to_parquet instead"),
    **dict.fromkeys((".h5", ".hdf5", ".npy", ".npz", ".pt", ".orc", ".avro"), "write the rows to a .parquet file"),
    **dict.fromkeys((".db", ".sqlite", ".sqlite3", ".rds", ".dta", ".sav"), "export the table as .csv"),
    **dict.fromkeys((".xml", ".html", ".pdf", ".docx", ".doc"), "write the texts and labels to a .csv or .jsonl file"),
}


_SUFFIX = re.compile(r"\.[a-z0-9_]*[a-z][a-z0-9_]*")


def suffix_of(file: Path) -> str:
    """The suffix that selects the format, in lower case: .csv of reviews.csv.gz. A split is not one, as in eng.train;
    nor is the number of a part."""
    suffix = Path(_uncompressed(file.name)).suffix.lower()
    return suffix if _SUFFIX.fullmatch(suffix) and not split_called(suffix[1:]) else ""


def stem_of(file: Path) -> str:
    """The name of `file` without the suffixes of its format and compression."""
    name = _uncompressed(file.name)
    return name[: len(name) - len(suffix_of(file))]


def _uncompressed(name: str) -> str:
    return next((name[: -len(end)] for end in COMPRESSIONS if name.lower().endswith(end)), name)


def format_of(file: Path, chosen: str | None = None) -> Format | None:
    """The format called `chosen` (data.format), else the one that the suffix of `file` selects, if any."""
    name = chosen or BY_SUFFIX.get(suffix_of(file))
    return FORMATS[name] if name else None


def name_of(format: Format) -> str:
    """Its name in `FORMATS`."""
    return next(name for name, known in FORMATS.items() if known == format)  # equal: it may come from another process


def files_of(part: Part) -> list[tuple[str, Path]]:
    """The files that `part` consists of, in order, each with its name: inside the folder if the part is one."""
    file, format = part
    if not format.is_folder:
        files = [file, *(format.beside(file) if format.beside else [])]
        return [(found.suffix, found) for found in files]
    found = (path for path in file.rglob("*") if path.is_file())
    inside = ((path.relative_to(file), path) for path in found)
    left_out = UNLABELLED if format is FORMATS["class-folders"] else set()
    return sorted((str(name), path) for name, path in inside if not _is_left_out(name, left_out))


def _is_left_out(name: Path, folders: Collection[str]) -> bool:
    return any(piece.startswith(".") or piece.lower() in folders for piece in name.parts)
