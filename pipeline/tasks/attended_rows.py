"""What a model attends to while it writes, kept for a few rows of an evaluation so that people can look at it."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol, runtime_checkable

import pyarrow as pa
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from pipeline.models import cpu_functions, modes

COLUMN = "attention"
# The first rows whose texts have at most this many characters and are not blank: the same rows for every model.
ROWS, CHARACTERS = 8, 120
# A row with more tokens on a side is left out, so that the column takes less than 400 kB.
TOKENS = 100
TYPE = pa.struct(
    [
        ("source", pa.list_(pa.string())),
        ("target", pa.list_(pa.string())),
        ("weights", pa.list_(pa.list_(pa.float32()))),
    ]
)


@runtime_checkable
class Attends(Protocol):
    """A task whose models may attend to the text for which they write another."""

    def attention(
        self, texts: Sequence[str], model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
    ) -> list[dict[str, Any]] | None:
        """For each text its tokens as `source`, those that the model writes as `target`, and their `weights`, a list
        over the source for each target token; None: the model does not attend. The main process calls this alone."""


def beside(
    batches: Iterable[pa.RecordBatch], task: Any, model: Any, tokenizer: PreTrainedTokenizerBase
) -> Iterator[pa.RecordBatch]:
    """`batches` with the column `attention`, which is null except for `ROWS` rows of the first one; unchanged if the
    model does not attend.

    Args:
        batches: of rows with a `text`.
    """
    remaining = iter(batches)
    first = next(remaining)
    found = _attention(first, task, model, tokenizer) if isinstance(task, Attends) else None
    for number, batch in enumerate(itertools.chain([first], remaining)):
        own = [None] * len(batch) if found is None or number else found
        yield batch if found is None else batch.append_column(COLUMN, pa.array(own, TYPE))


def _attention(
    batch: pa.RecordBatch, task: Attends, model: Any, tokenizer: PreTrainedTokenizerBase
) -> list[dict[str, Any] | None] | None:
    """That of each row of `batch`; None if there is none."""
    texts = batch["text"].to_pylist() if "text" in batch.schema.names else []
    chosen = [row for row, text in enumerate(texts) if text.strip() and len(text) <= CHARACTERS][:ROWS]
    if not chosen:
        return None
    with modes.evaluating(model), cpu_functions.faster(model, cpu_functions.ANSWERING):
        answers = task.attention([texts[row] for row in chosen], model, tokenizer)
    if answers is None:
        return None
    shown = {row: own for row, own in zip(chosen, answers, strict=True) if _is_small(own)}
    return [shown.get(row) for row in range(len(texts))]


def _is_small(attention: dict[str, Any]) -> bool:
    return max(len(attention["source"]), len(attention["target"])) <= TOKENS
