"""Finds the reader of a file's format and reads the file with it."""

from __future__ import annotations

import contextlib
import functools
import importlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from pipeline.config.data import Data
from pipeline.config.formats import FORMATS, Part, name_of
from pipeline.data.readers.common import NumberedRow, Reader, check_signature
from pipeline.errors import UserError

if TYPE_CHECKING:
    import pyarrow as pa


def read(part: Part, data: Data, warnings: list[str] | None = None) -> Iterator[NumberedRow | pa.RecordBatch]:
    """Rows of a file, each with the number of the line (of parquet and json: of the row) that it begins on.

    Args:
        data: settings that say how the file is read.
        warnings: gets what a user should know about the file; complete once all rows are read.

    Raises:
        UserError: the file cannot be read, is of another kind, is not UTF-8, or has a malformed row.
    """
    file, format = part
    with _checked(part):
        reader: Reader = _function(format.reader)
        yield from reader(file, data, [] if warnings is None else warnings)


@contextlib.contextmanager
def _checked(part: Part) -> Iterator[None]:
    """Refuse a file of another kind, and one that cannot be read."""
    file, format = part
    try:
        if format in FORMATS.values() and not format.is_folder:
            check_signature(file, name_of(format))
        yield
    except OSError as error:
        raise UserError(f"{file}: cannot be read: {error.strerror or error}") from error


def class_names(part: Part) -> dict[str, list[str]]:
    """Column -> names of its classes in the order of their ids, for a format that can hold them."""
    file, format = part
    return _function(format.class_names)(file) if format.class_names else {}


def same_columns(part: Part, data: Data) -> Data:
    """Settings that choose the columns of this file in others as well, for a format whose columns have no names.

    Raises:
        UserError: the file cannot be read, or is of another kind.
    """
    file, format = part
    if format.same_columns is None:
        return data
    with _checked(part):
        return _function(format.same_columns)(file, data)


@functools.cache
def _function(place: str) -> Any:
    """The function at `module:name`."""
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(module), name)
