"""What a task is: the protocol that data preparation, trainer and command line hold on to.

A task of your own is a class with these members; a recipe names it as `module:Class` and nothing has to be registered.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Protocol, runtime_checkable

import torch
from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from pipeline.config.recipe import TASKS
from pipeline.errors import UserError, reason

Batch = dict[str, torch.Tensor]


@runtime_checkable
class Task(Protocol):
    """Everything that is particular to a task. Shapes: B rows of a batch, T time, N rows of a split.

    Members that a task may leave out:

    - `scored_with`: names of columns that `encode` has made, or of what `arrange` has counted: they join the outcome.
    - `lower_is_better`: whether the best model is the one with the lowest `monitor`.
    - `running_text`: whether the rows of a text file may be lines of one text: their order is kept, blank lines count.
    - `arrange(split, model, tokenizer, rows, running, training)`: the rows of an encoded split as the task wants them
      in batches of `rows`, such as windows of a stream; without it, they are taken as they are (data/batching.py).
      What their method `take` returns goes to `collate`.
    - `concern(scores)`: what scores of the validation split give reason to worry about, one line, or None.
    - further arguments of `predict`, each with a default; `finetune predict` passes those that were asked for.
    """

    name: ClassVar[str]
    head: ClassVar[str]
    """Suffix of the Auto class with the task's head: `SequenceClassification`, ..."""
    monitor: ClassVar[str]
    """Metric that picks the best model; greater is better, unless the task says `lower_is_better`."""
    columns: ClassVar[Mapping[str, Sequence[str]]]
    """Role of a column -> the names it usually has, the likeliest first. Its kind goes by the role's name, see
    data/columns.py: text, label, tokens (words of a sentence) or tags (one for each of them)."""
    stratify_by: ClassVar[str | None]
    """Role whose shares a carved split keeps."""

    def labels(self, source_label_names: Sequence[str] | None, splits: Mapping[str, Dataset]) -> list[str]:
        """Names of the classes, in the order of their ids."""
        ...

    def encode(
        self, rows: dict[str, list[Any]], tokenizer: PreTrainedTokenizerBase, max_length: int, labels: list[str]
    ) -> dict[str, list[Any]]:
        """Rows by role -> `input_ids`, `truncated` and the targets, as lists or Arrow arrays with an element per row;
        there are more of them than `rows` where long ones become several windows."""
        ...

    def collate(self, rows: Any, tokenizer: PreTrainedTokenizerBase) -> tuple[Batch, int]:
        """Encoded rows -> the model's keyword arguments, (B, T) and targets, and the number of labels in them."""
        ...

    def outcome(self, outputs: Any, batch: Batch) -> dict[str, Any]:
        """What scoring needs of a forward pass, reduced on the device: tensors of shape (B, ...), never (B, T, V).

        Where rows have different numbers of values: a pair, the values of all rows one behind another and how many
        each row has (B,).
        """
        ...

    def score(self, outcome: dict[str, Any], labels: list[str]) -> dict[str, Any]:
        """Metrics of a split from the outcome of its N rows, in the order of their ids; `loss` is the mean NLL.

        The outcome holds arrays, and pairs of them where `outcome` gave pairs or a column in `scored_with` holds lists.
        """
        ...

    def predict(
        self, texts: Sequence[str], model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, labels: list[str]
    ) -> Iterable[dict[str, Any]]:
        """What `finetune predict` prints for each of `texts`, JSON-able; `model` is in evaluation mode."""
        ...


# Python knows them as Task.__protocol_attrs__ from 3.12 on.
_MEMBERS = {*Task.__annotations__, *(name for name in vars(Task) if not name.startswith("_"))}


def load_task(name: str) -> Task:
    """The task called `name`: one of ours, or `module:Class`.

    Raises:
        UserError: there is no such task, or its class lacks a member of the protocol.
    """
    module, _, attribute = TASKS.get(name, name).partition(":")
    try:
        task = getattr(importlib.import_module(module), attribute)()
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise UserError(f"task: cannot load {name!r}: {reason(error)}") from error
    if not isinstance(task, Task):
        missing = sorted(member for member in _MEMBERS if not hasattr(task, member))
        raise UserError(f"task: {name} is not a task; it lacks {', '.join(missing)} (see pipeline/tasks/base.py)")
    return task
