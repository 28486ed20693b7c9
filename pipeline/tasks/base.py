"""What a task is: the base class that data preparation, training, evaluation and the command line rely on.

Your own task is a subclass; a recipe names it as `module:Class`, and there is nothing to register.
"""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from pipeline import predictions
from pipeline.config.task_specs import TASKS
from pipeline.config.training import Train
from pipeline.data.bucketing import Rows, Split
from pipeline.data.gathering import EncodedRows
from pipeline.errors import UserError, reason
from pipeline.predictions import Predictions
from pipeline.tasks.teacher_hooks import TeacherHooks

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset

Batch = dict[str, torch.Tensor]


class Task(TeacherHooks, ABC):
    """Everything that is specific to a task. Shapes: B rows of a batch, T time, N rows of a split.

    A subclass must set `name`, `head`, `monitor` and `columns`, and implement `encode`, `collate`, `outcome`, `score`
    and `predict`. Everything else has a default. A task that learns from a teacher also has some of `TeacherHooks`.

    The outcome of a row is what scoring needs to know about it. An outcome maps names to values, which are

    - a tensor (B, ...): an element for each row;
    - a pair of tensors, if rows have different numbers of elements: the elements of all rows one after another (M,),
      and the number of elements of each row (B,);
    - a list of B Python objects, such as strings.

    `score` and `rows` receive the outcome of a whole split, with arrays in place of tensors and lists.
    """

    name: ClassVar[str]
    head: ClassVar[str]
    """Suffix of the Auto class with the task's head, such as `SequenceClassification`."""
    monitor: ClassVar[str]
    """Metric that selects the best model."""
    lower_is_better: ClassVar[bool] = False
    """Whether the best model is the one with the lowest `monitor`."""
    columns: ClassVar[Mapping[str, Sequence[str]]]
    """Role of a column -> its usual names, most likely first. The role's name determines the kind of its values, see
    data/columns.py: text, label, tokens (the words of a sentence) or tags (one for each word). A role without names is
    optional."""
    pairs: ClassVar[Sequence[tuple[str, str]]] = ()
    """Usual names of two columns that hold pairs of texts, the roles `text` and `text_pair`, most likely first."""
    problem_type: ClassVar[str | None] = None
    """What the labels of a text are, as in transformers' configurations: single_label_classification,
    multi_label_classification or regression; None: the task has no such labels."""
    unused: ClassVar[Mapping[str, str]] = MappingProxyType({})
    """Setting of `train` -> why this task refuses it, for what only the data can tell."""
    output_scale: float = 1.0
    """The scale of the model's outputs, if it is that of the training data: 1 for logits of classes."""
    reads_pairs: bool | None = None
    """Whether the model reads pairs of texts; None: not known, as for a model that was not trained here."""
    stratify_by: ClassVar[str | None] = None
    """Role whose proportions are preserved when a split is carved from another."""
    running_text: ClassVar[bool] = False
    """Whether the rows of a text file may be lines of one text; then their order is kept, and blank lines count."""
    encodes_arrow: ClassVar[bool] = False
    """Whether `encode` reads Arrow arrays as well, in larger batches; it gets the columns of its roles only."""
    rows_at_once: ClassVar[int] = 64
    """Rows that `predict` gets at most. A task that makes batches of rows of similar length itself may get many."""
    generates_in_step: ClassVar[bool] = False
    """Whether `generate` calls `model.generate` once for a batch, however many rows that has. A model that FSDP shards
    needs it: a forward pass takes all processes, which have different batches."""
    scored_with: ClassVar[Sequence[str]] = ()
    """Columns made by `encode` or known to the arranged split, which are added to the outcome of a split."""

    def variant(self, problem_type: str | None) -> Task:
        """The task for labels of another kind; by default, there is only one."""
        return self

    def check(self, train: Train) -> None:
        """Refuse settings that this task would ignore."""
        for name, why in self.unused.items():
            if getattr(train, name):
                train.refuse(name, f"{why}; remove this setting")

    def start(self, model: PreTrainedModel, train: Dataset) -> dict[str, Any]:
        """Give a new output layer a start that suits the encoded training rows; by default, it stays as it is.

        Returns:
            What is worth reporting, JSON-serializable.
        """
        return {}

    def fitted(self, outcome: dict[str, Any], labels: list[str], train: Train) -> Task:
        """The task with what is chosen on the validation split, whose outcome this is; by default, nothing is."""
        return self

    def finished(self) -> Task:
        """The task as it scores the finished model; by default, as while it trains."""
        return self

    def configure(self, config: Any) -> None:
        """Write into the configuration of a model what its users must know about its answers.

        Called before training, to try how the model is saved, and again when it is saved.
        """
        if self.problem_type is not None:
            config.problem_type = self.problem_type

    def restored(self, config: Any) -> Task:
        """The task of a saved model with this configuration; the inverse of `configure`."""
        return self.variant(getattr(config, "problem_type", None))

    def labels(self, source_label_names: Sequence[str] | None, splits: Mapping[str, Dataset]) -> list[str]:
        """Names of the classes, in the order of their ids; none by default."""
        return []

    def monitors(self, labels: Sequence[str]) -> Sequence[str]:
        """Names of all scores that train.monitor may name: each float that `score` returns, nested ones by dots.

        By default none, which means that they are not known before the first evaluation.
        """
        return ()

    @abstractmethod
    def encode(
        self, rows: dict[str, Any], tokenizer: PreTrainedTokenizerBase, max_length: int, labels: list[str]
    ) -> dict[str, Any]:
        """Rows by role -> `input_ids`, `truncated` and the targets, as lists or Arrow arrays with an element per row.
        The values of a role are a list, or an Arrow array if `encodes_arrow`. Rows that only a teacher answers have no
        role of a target; their targets are those of a row without a label: IGNORED or, of a float, NaN.

        The result has more rows than `rows` if long ones are split into windows.
        """

    def arrange(
        self,
        split: Dataset,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        rows: int,
        running: bool,
        training: bool,
    ) -> Split:
        """The rows of an encoded split, arranged for batches; by default, unchanged.

        Args:
            rows: rows in a batch; in training, rows in an update.
            running: whether the split is running text, see `running_text`.
            training: whether the split is trained on.
        """
        return Rows(split)

    @abstractmethod
    def collate(self, rows: Any, tokenizer: PreTrainedTokenizerBase) -> tuple[Batch, int]:
        """What `Split.take` returns (of `Rows`, an `EncodedRows`) -> the model's keyword arguments, (B, T) and targets,
        and the number of labels."""

    @abstractmethod
    def outcome(self, outputs: Any, batch: Batch) -> dict[str, Any]:
        """What scoring needs of a forward pass, reduced on the device: never (B, T, V)."""

    def generate(self, model: PreTrainedModel, batch: Batch, tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
        """What scoring needs of text that the model generates; added to the outcome. By default, nothing is generated.

        Called once for each batch of an evaluation, after `outcome`, in float32, evaluation mode and inference mode,
        with the batch that `collate` made. Each process generates for its own batches, however long that takes, so
        this must not communicate with other processes. A model that FSDP shards needs `generates_in_step`; inference
        mode is off for it.
        """
        return {}

    def joined(self, outcome: dict[str, Any]) -> dict[str, Any]:
        """The outcome of a whole split as `score` and `rows` receive it, from that of its encoded rows; by default, the
        same. A task whose rows are parts of texts may join them here."""
        return outcome

    @property
    def generates(self) -> bool:
        """Whether the scores depend on generated text."""
        return type(self).generate is not Task.generate

    @abstractmethod
    def score(self, outcome: dict[str, Any], labels: list[str]) -> dict[str, Any]:
        """Metrics of a split from the outcome of its N rows, in their order; `loss` is the mean NLL."""

    def rows(self, outcome: dict[str, Any], labels: list[str]) -> Iterator[dict[str, Any]]:
        """The outcome of a split as rows: JSON-serializable, each with its number in the split as `id`.

        By default, the outcome of each encoded row unchanged; `scored_with` is left out.
        """
        own = {name: values for name, values in outcome.items() if name not in self.scored_with}
        for number, values in enumerate(zip(*map(_per_row, own.values()), strict=True)):
            yield {"id": number, **dict(zip(own, values, strict=True))}

    def records(self, outcome: dict[str, Any], labels: list[str]) -> Iterator[pa.RecordBatch]:
        """The same as what `rows` gives, in batches of `predictions.ROWS_PER_GROUP`, as they are written to a file.

        By default, they are made from `rows`.
        """
        return predictions.batches_of(lambda: self.rows(outcome, labels))

    def scored_by(self, outcome: dict[str, Any], labels: list[str]) -> dict[str, Any]:
        """What scoring needs beside the rows, JSON-serializable; see `predictions.PredictionInfo`."""
        return {}

    def score_rows(self, rows: Predictions) -> dict[str, Any]:
        """What `score` returned of the evaluation that left `rows`.

        Raises:
            UserError: the task cannot compute its scores from rows; by default, it cannot.
        """
        raise UserError(f"task: {full_name(self)} does not compute scores from rows; see Task.score_rows")

    def concern(self, scores: dict[str, Any]) -> str | None:
        """A reason to worry about a model with these validation scores, in one line, or None."""
        return None

    @abstractmethod
    def predict(
        self, texts: Sequence[Any], model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, labels: list[str]
    ) -> Iterable[dict[str, Any]]:
        """What `finetune predict` prints for each of `texts`, JSON-serializable; `model` is in evaluation mode.

        Rows of a file come as what the roles of `columns` say: a text, a list of words or, for a model that reads pairs
        of texts, a tuple of two. There are at most `rows_at_once`, which have similar lengths if there are more rows.

        A task may accept further arguments, each with a default; `finetune predict` passes those that the user gave.
        """


def rows_of(batches: Iterator[pa.RecordBatch]) -> Iterator[dict[str, Any]]:
    """Rows one by one."""
    return (row for batch in batches for row in batch.to_pylist())


def full_name(task: Task) -> str:
    """What a recipe names `task`: the name of a built-in one, or module:Class."""
    kind = type(task)
    is_own = kind.__module__.startswith(f"{__package__}.")
    return task.name if is_own else f"{kind.__module__}:{kind.__qualname__}"


def scores_of(rows: Predictions) -> dict[str, Any]:
    """The scores of a split, as metrics.json has them, from its rows alone.

    Raises:
        UserError: there is no such task, or it cannot compute its scores from rows.
    """
    return load_task(rows.info.task).variant(rows.info.problem_type).score_rows(rows)


def _per_row(values: Any) -> list[Any]:
    """Arrays, or pairs of them, as a list with an element per row."""
    if not isinstance(values, tuple):
        return values.tolist()
    elements, counts = values
    return [part.tolist() for part in np.split(elements, np.cumsum(counts)[:-1])]


def padded_inputs(rows: EncodedRows, tokenizer: PreTrainedTokenizerBase) -> Batch:
    """`input_ids` (B, T) of encoded rows, padded on the right, `attention_mask` (B, T) if there is padding, and
    `token_type_ids` (B, T) if the rows have them."""
    found = {"input_ids": rows.padded("input_ids", tokenizer.pad_token_id)}
    mask = rows.mask("input_ids")
    if mask is not None:  # without padding, a mask would only cost time
        found["attention_mask"] = mask
    if "token_type_ids" in rows.column_names:
        found["token_type_ids"] = rows.padded("token_type_ids", tokenizer.pad_token_type_id)
    return {name: torch.from_numpy(values) for name, values in found.items()}


REQUIRED = ("name", "head", "monitor", "columns")


def load_task(name: str) -> Task:
    """The task called `name`: a built-in one, or `module:Class`.

    Raises:
        UserError: there is no such task, or it is not a complete subclass of `Task`.
    """
    module, _, attribute = (TASKS[name].path if name in TASKS else name).partition(":")
    try:
        kind = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise UserError(f"task: cannot load {name!r}: {reason(error)}") from error
    if not isinstance(kind, type) or not issubclass(kind, Task):
        raise UserError(f"task: {name} is not a task; it must be a subclass of pipeline.tasks.base.Task")
    missing = [member for member in REQUIRED if member not in dir(kind)] + sorted(kind.__abstractmethods__)
    if missing:
        raise UserError(f"task: {name} lacks {', '.join(missing)}; see pipeline/tasks/base.py")
    try:
        return kind()
    except TypeError as error:  # its constructor requires arguments
        raise UserError(f"task: cannot create {name!r}: {reason(error)}") from error
