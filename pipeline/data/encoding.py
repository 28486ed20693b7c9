"""Encodes the rows of a split with a tokenizer, and writes them to an Arrow file."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from transformers import PreTrainedTokenizerBase

from pipeline.data.background import ahead
from pipeline.data.rows import arrow_batches, whole
from pipeline.data.text_stats import EXACT, LOOSE

if TYPE_CHECKING:
    from datasets import Dataset

ROWS_PER_BATCH = 1000
# Of lists of words, whose distinct words are tokenized once in a batch; one with more words is divided.
LISTS_PER_BATCH, WORDS_PER_BATCH = 8000, 400_000


class Encoder(Protocol):
    """What preparing data needs of a task (see tasks/base.py)."""

    name: ClassVar[str]
    columns: ClassVar[Mapping[str, Sequence[str]]]
    pairs: ClassVar[Sequence[tuple[str, str]]]
    stratify_by: ClassVar[str | None]
    running_text: ClassVar[bool]
    problem_type: ClassVar[str | None]
    encodes_arrow: ClassVar[bool]
    reads_pairs: bool | None

    def variant(self, problem_type: str | None) -> Encoder: ...
    def labels(self, names: Sequence[str] | None, splits: Mapping[str, Dataset]) -> list[str]: ...
    def encode(
        self, rows: dict[str, Any], tokenizer: PreTrainedTokenizerBase, max_length: int, labels: list[str]
    ) -> dict[str, Any]: ...


def encode(
    rows: Dataset, task: Encoder, tokenizer: PreTrainedTokenizerBase, max_length: int, labels: list[str], file: Path
) -> dict[str, Any]:
    """Write `rows`, encoded, to `file` with the suffix .arrow.

    Returns:
        Counts for the report: tokens, truncated rows, windows beyond one per row, the share of unknown tokens and, of
        translations, rows whose sides are far apart in length.
    """
    truncated = apart = tokens = unknown = written = 0
    stream = None
    encoded = ahead(task.encode(batch, tokenizer, max_length, labels) for batch in _batches(rows, task))
    # Closing stops the thread before an error here leaves the files that it reads to be deleted.
    with pa.OSFile(str(file.with_suffix(".arrow")), "wb") as sink, contextlib.closing(encoded):
        for columns in encoded:
            truncated += sum(columns.pop("truncated"))
            apart += sum(columns.pop("apart", ()))
            batch = _record_batch(columns, written, tokenizer)
            written += len(batch)
            flat = batch.column("input_ids").flatten().to_numpy()
            tokens, unknown = tokens + len(flat), unknown + int((flat == tokenizer.unk_token_id).sum())
            stream = stream or pa.ipc.new_stream(sink, batch.schema)
            stream.write_batch(batch)
        if stream:
            stream.close()
    share = unknown / max(tokens, 1)
    counts = {"tokens": tokens, "truncated": truncated, "more_windows": written - len(rows), "unknown_share": share}
    return {**counts, "apart": apart} if "target" in rows.column_names else counts


def _batches(rows: Dataset, task: Encoder) -> Iterator[dict[str, Any]]:
    """Rows by role, as lists or, if the task reads them, as Arrow arrays."""
    if not task.encodes_arrow:
        for table in arrow_batches(rows, _columns_to_encode(rows), ROWS_PER_BATCH):
            yield table.to_pydict()
        return
    roles = [role for role in task.columns if role in rows.column_names]  # texts for a teacher have no targets
    for table in arrow_batches(rows, roles, LISTS_PER_BATCH):
        words = max(pc.sum(pc.list_value_length(column)).as_py() or 0 for column in table.columns)
        size = max(1, len(table) * WORDS_PER_BATCH // max(words, WORDS_PER_BATCH))
        for start in range(0, len(table), size):
            part = table.slice(start, size)
            yield {name: whole(part[name]) for name in part.column_names}


def _columns_to_encode(rows: Dataset) -> list[str]:
    return [name for name in rows.column_names if name not in ("line", "lines", EXACT, LOOSE)]


def _record_batch(columns: dict[str, list[Any]], start: int, tokenizer: PreTrainedTokenizerBase) -> pa.RecordBatch:
    """Encoded columns with `id` and `length`; a row without tokens gets the unknown one, so that it can be scored."""
    ids = columns.pop("input_ids")
    if not isinstance(ids, pa.Array):
        filler = [tokenizer.unk_token_id if tokenizer.unk_token_id is not None else tokenizer.eos_token_id]
        ids = pa.array([tokens or filler for tokens in ids], pa.list_(pa.int32()))
    arrays = {
        "id": pa.array(np.arange(start, start + len(ids))),
        "length": pc.list_value_length(ids),
        "input_ids": ids,
        **{name: values if isinstance(values, pa.Array) else pa.array(values) for name, values in columns.items()},
    }
    return pa.RecordBatch.from_pydict(arrays)


def length_warnings(encoded: Mapping[str, Mapping[str, Any]], max_length: int) -> list[str]:
    """Lines about rows that are longer than `max_length`, from what `encode` returns of each split."""
    texts = {
        "truncated": f"rows truncated to data.max_length {max_length} tokens",
        "more_windows": f"extra windows, because rows of more than {max_length} tokens are split",
        "apart": "rows one side of which has more than 3 times as many tokens as the other, and at least 20",
    }
    warnings = []
    for count, text in texts.items():
        counts = ", ".join(f"{counted[count]} of {split}" for split, counted in encoded.items() if counted.get(count))
        if counts:
            warnings.append(f"{text}: {counts}")
    return warnings
