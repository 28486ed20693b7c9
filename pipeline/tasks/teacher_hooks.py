"""What a task must know so that a model can learn from a teacher; the tasks of `base` have these hooks, too.

A teacher's answers are numbers, with which the outputs of the student are compared, or texts, which take the place of
the labels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple, Protocol

import numpy as np
import pyarrow as pa
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from pipeline.config.distil import Distil
from pipeline.errors import UserError


class Teacher(Protocol):
    """A trained model that a student learns from, in evaluation mode; see `inference.Loaded`."""

    @property
    def model(self) -> PreTrainedModel: ...
    @property
    def tokenizer(self) -> PreTrainedTokenizerBase: ...
    @property
    def task(self) -> Any: ...
    @property
    def labels(self) -> list[str]: ...


class Student(NamedTuple):
    """What a teacher's answers must suit: the classes of the model that learns from them, its tokenizer and its
    configuration."""

    labels: list[str]
    tokenizer: PreTrainedTokenizerBase
    config: Any


class TeacherLosses(NamedTuple):
    """What the M places of a micro-batch cost that a teacher has answered: rows, words or tokens.

    Attributes:
        soft: (M,) against the teacher.
        hard: (M,) against the labels, 0 where there is none.
        labelled: (M,) bool, whether there is a label.
    """

    soft: torch.Tensor
    hard: torch.Tensor
    labelled: torch.Tensor


# Logits (M, C) and labels of M places, as the model reads them -> what each label costs (M,), 0 where there is none.
LabelLosses = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


class TeacherHooks:
    """Learning from a teacher. A task that does must implement `check_teacher`, `teacher_answers` and, if the answers
    are numbers, `teacher_column` and `teacher_losses`; if they are texts, `with_answers`."""

    unused_of_distil: ClassVar[Mapping[str, str]] = MappingProxyType({})
    """Setting of `distil` -> why this task refuses it, for what only the data can tell."""
    answers_are_texts: ClassVar[bool] = False
    """Whether a teacher answers with texts, which take the place of the labels. The loss is that of labels then."""

    def check_teacher(self, teacher: Teacher, student: Student) -> None:
        """Refuse a teacher that cannot answer for this student, by a UserError; by default, each one."""
        kind = type(self)
        raise UserError(
            f"distil.teacher: the task {kind.__module__}:{kind.__qualname__} learns from no teacher; see"
            " pipeline/tasks/teacher_hooks.py"
        )

    def answers_for(self, student: Student) -> Any:
        """What of the student the answers of a teacher depend on, JSON-serializable: students for which it is the same
        share them. By default, its classes."""
        return student.labels

    def teacher_answers(
        self, contents: Sequence[Any], teacher: Teacher, student: Student
    ) -> list[np.ndarray] | list[str]:
        """What `teacher` says about each of `contents`: a float32 array of any shape, with classes in the order of the
        student's, or a text.

        Called for a batch of similar length, in inference mode; for numbers in the teacher's best precision, for texts
        in float32. An answer must not depend on the others of the batch, but for rounding.

        Args:
            contents: as `predict` gets them.
        """
        raise NotImplementedError

    def with_answers(self, encoded: pa.Table, answers: pa.ChunkedArray, student: Student) -> pa.Table:
        """Encoded rows with what the teacher says about them: by default in a column `teacher`, see `teacher_column`.

        Args:
            encoded: all rows of a split as `encode` returned them, with `id` and `length`.
            answers: what `teacher_answers` returned for each row of the data, flattened.
        """
        return encoded.append_column("teacher", self.teacher_column(encoded, answers, student))

    def teacher_column(self, encoded: pa.Table, answers: pa.ChunkedArray, student: Student) -> pa.Array:
        """The column `teacher` of encoded rows: lists of float32, which `collate` makes `batch["teacher"]`.

        Args:
            encoded, answers: as for `with_answers`.
        """
        raise NotImplementedError

    def teacher_losses(
        self, outputs: Any, batch: dict[str, torch.Tensor], settings: Distil, label_losses: LabelLosses
    ) -> TeacherLosses:
        """What each place of a micro-batch costs; their number is what `collate` returned as the number of labels.

        Args:
            batch: made by `collate` of rows with a column `teacher`.
            label_losses: the usual losses of labels, with the class weights and the label smoothing of the recipe.
        """
        raise NotImplementedError
