"""Writes the chosen columns of a split's rows to an Arrow file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.data.column_choice import Choice, same_column
from pipeline.data.columns import INDICATED, Roles, kind_of
from pipeline.data.rows import MISSING, Column, Places, RowBatch, values
from pipeline.data.text_stats import EXACT, LOOSE, digests
from pipeline.errors import UserError

if TYPE_CHECKING:
    from datasets import Dataset

PLACES = pa.list_(pa.int64())


class SplitWriter:
    """Writes the roles, the text, the place of each row and the digests of the texts.

    Attributes:
        empty: places of the rows that had no text and were left out.
    """

    def __init__(self, choice: Choice, roles: Roles, places: Places, keep_empty: bool, file: Path):
        self.choice, self.places, self.keep_empty, self.file = choice, places, keep_empty, file
        self.roles = [role for role in roles if role in choice.columns or kind_of(role).is_target]
        self.kinds = {
            role: kind_of(role, choice.problem_type, choice.missing, choice.indicators) for role in self.roles
        }
        self.empty: list[int] = []
        self._untagged: str | None = None  # place of the first row without tags
        self._has_tags = False
        types = {"text": pa.string(), **{role: kind.type for role, kind in self.kinds.items()}}
        types |= dict.fromkeys(("line", EXACT, LOOSE), pa.int64())
        if "tags" in roles:
            types["lines"] = PLACES
        self.schema = pa.schema(types)
        self._sink = pa.OSFile(str(file), "wb")
        self._stream = pa.ipc.new_stream(self._sink, self.schema)
        self._written = 0

    def add(self, batch: RowBatch) -> None:
        """Write the rows of `batch`."""
        picked = self._without_empty(self._pick(batch))
        self._stream.write_batch(picked)
        self._written += len(picked)

    def finish(self) -> Dataset:
        """All rows.

        Raises:
            UserError: there are none.
        """
        from datasets import Dataset

        self._stream.close()
        self._sink.close()
        if not self._written:
            raise UserError(f"{self.places}: it has no rows{' with a text' if self.empty else ''}")
        return Dataset.from_file(str(self.file))

    def _pick(self, batch: RowBatch) -> pa.RecordBatch:
        """The rows by roles."""

        def at(index: int) -> str:
            return self.places.at(batch.places[index])

        columns: dict[str, pa.Array] = {"line": pa.array(batch.places)}
        for role, kind in self.kinds.items():
            columns[role] = kind.read(self._values(role, batch, at), at)
        if "lines" in self.schema.names:
            lines = batch.word_lines if batch.word_lines is not None else pa.nulls(len(batch), PLACES)
            columns["lines"] = pa.array(lines, PLACES)
            if self.choice.columns.get("tags") in batch.columns:
                self._check_lengths(columns["tokens"], columns["tags"], at)
        if "text" not in columns:
            columns["text"] = pc.binary_join(columns["tokens"], " ")
        whole = columns["text"]
        if "text_pair" in columns:  # only a pair that repeats another is a repetition
            whole = pc.binary_join_element_wise(whole, columns["text_pair"], "\n")
        columns |= {EXACT: pa.array(digests(whole, exact=True)), LOOSE: pa.array(digests(whole))}
        return pa.RecordBatch.from_arrays([columns[name] for name in self.schema.names], schema=self.schema)

    def _check_lengths(self, tokens: pa.Array, tags: pa.Array, at: Callable[[int], str]) -> None:
        """Refuse a row with more or fewer tags than words; a split may have no tags at all."""
        words, tagged = (pc.list_value_length(column).to_numpy(zero_copy_only=False) for column in (tokens, tags))
        differing = np.flatnonzero(words != tagged)
        if self._untagged is None and len(differing):
            self._untagged = f"{at(differing[0])}: {words[differing[0]]} tokens but {tagged[differing[0]]} tags"
        self._has_tags |= bool(tagged.any())
        if self._has_tags and self._untagged:
            raise UserError(f"{self._untagged}; give each token its tag")

    def _values(self, role: str, batch: RowBatch, at: Callable[[int], str]) -> Column:
        if role == "label" and self.choice.label_columns:
            return _indicated(batch, self.choice.label_columns, at)
        chosen = self.choice.columns.get(role)
        column = None if chosen is None else same_column(chosen, [*batch.columns])
        if column is not None:
            found = batch.columns[column]
            if not self.kinds[role].is_target and isinstance(found, list) and MISSING in found:
                raise UserError(f"{at(found.index(MISSING))}: the row has no field {column!r}")
            return found
        if self.kinds[role].is_target:  # a split without labels
            return [[] if self.kinds[role].is_list and role == "tags" else None] * len(batch)
        raise UserError(
            f"{at(0)}: the row has no field {chosen!r}, where the {role} is read in every split (of:"
            f" {', '.join(batch.columns)}); give the files of all splits the same columns"
        )

    def _without_empty(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        if self.keep_empty:
            return rows
        is_empty = _is_blank(rows["text"])
        if "text_pair" in rows.schema.names:
            is_empty = pc.and_(is_empty, _is_blank(rows["text_pair"]))
        if "target" in rows.schema.names:  # half a pair is none
            is_empty = pc.or_(is_empty, _is_blank(rows["target"]))
        if not pc.any(is_empty).as_py():
            return rows
        self.empty += rows["line"].filter(is_empty).to_pylist()
        return rows.filter(pc.invert(is_empty))


def _is_blank(texts: pa.Array) -> pa.Array:
    return pc.equal(pc.utf8_trim_whitespace(texts), "")


def _indicated(batch: RowBatch, columns: Sequence[str], at: Callable[[int], str]) -> list[list[str] | None]:
    """The labels whose columns say yes in each row; None for a row with another mark, such as -1, or of a split that
    has none of the columns.

    Raises:
        UserError: it has some of the columns.
    """
    own_names = [same_column(column, [*batch.columns]) for column in columns]
    absent = [column for column, own in zip(columns, own_names, strict=True) if own is None]
    if len(absent) == len(columns):
        return [None] * len(batch)
    if absent:
        raise UserError(f"{at(0)}: the row has no field {absent[0]!r}, though it has fields of other labels; add it")
    found: list[list[str] | None] = []
    for own in zip(*(values(batch.columns[str(name)]) for name in own_names), strict=True):
        marks = [INDICATED.get(str(mark).strip().lower()) for mark in own]
        applies = [column for column, mark in zip(columns, marks, strict=True) if mark]
        found.append(None if None in marks else applies)
    return found
