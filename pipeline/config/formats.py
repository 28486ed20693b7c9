"""The formats that data files may have: their names, suffixes and readers.

A new format is a row here, its name in the `Literal` of `data.format` (config/data.py), and a module in data/readers/.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple


class Format(NamedTuple):
    """A format of data files.

    Attributes:
        reader: `module:function`, imported only when a file is read; see data/readers/registry.py.
        suffixes: file suffixes that select this format if data.format is not set; may be empty.
        class_names: `module:function` that finds the names of classes in a file, for formats that can hold them.
        is_running_text: whether the rows are lines of one text, unless data.separate says otherwise.
    """

    reader: str
    suffixes: tuple[str, ...] = ()
    class_names: str | None = None
    is_running_text: bool = False


class Part(NamedTuple):
    """A file, or a folder that a format reads as a whole, with rows of a split."""

    file: Path
    format: Format


_READERS = "pipeline.data.readers"

FORMATS = {
    # A table with commas, or tabs, between the columns.
    "csv": Format(f"{_READERS}.delimited:read_csv", (".csv",)),
    "tsv": Format(f"{_READERS}.delimited:read_tsv", (".tsv",)),
    # A list of objects; an object on each line.
    "json": Format(f"{_READERS}.json_objects:read_json", (".json",)),
    "jsonl": Format(f"{_READERS}.json_objects:read_jsonl", (".jsonl",)),
    "txt": Format(f"{_READERS}.plain_text:read", (".txt",), is_running_text=True),
    "parquet": Format(f"{_READERS}.parquet:read", (".parquet",), class_names=f"{_READERS}.parquet:class_names"),
    # A word on each line, in columns, with a blank line after each sentence.
    "conll": Format(f"{_READERS}.conll:read", (".conll", ".bmes")),
}
# The compressed csv file that sample:hebrew_ner packages; not a format that a recipe can name.
TREEBANK = Format(f"{_READERS}.treebank:read")

BY_SUFFIX = {suffix: format for format in FORMATS.values() for suffix in format.suffixes}
DATA_SUFFIXES = tuple(BY_SUFFIX)


def format_of(file: Path, chosen: str | None = None) -> Format | None:
    """The format called `chosen` (data.format), else the one that the suffix of `file` selects, if any."""
    return FORMATS[chosen] if chosen else BY_SUFFIX.get(file.suffix.lower())
