"""One answer for each text or pair of texts: what is common to labels, sets of labels and numbers."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pyarrow as pa
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.modeling_outputs import SequenceClassifierOutput

from pipeline.config.distil import Distil
from pipeline.data.gathering import EncodedRows
from pipeline.data.rows import whole
from pipeline.data.tokenization import long_texts, text_pairs
from pipeline.data.tokenization.long_texts import Encoded
from pipeline.errors import UserError, listing
from pipeline.models.recurrent.crf import IGNORED
from pipeline.predictions import ROWS_PER_GROUP
from pipeline.tasks.base import Batch, Task, padded_inputs, rows_of
from pipeline.tasks.batching import batches_by_length, padded_lists
from pipeline.tasks.teacher_hooks import LabelLosses, Student, Teacher, TeacherLosses

if TYPE_CHECKING:
    Text = str | tuple[str, str]


# Parts of the usual names of pairs: text_a and text_b, sentence 1 and sentence 2, s1 and s2.
NOUNS, BLANKS, ENDS = ("text", "sentence", "sent", "s", "question", "q"), ("", "_", " "), (("a", "b"), ("1", "2"))
# Rows in a forward pass of `predict`.
ROWS_PER_BATCH = 64
# What the answers are, for messages.
PROBLEM_TYPES = {
    "single_label_classification": "one of several labels",
    "multi_label_classification": "any number of labels",
    "regression": "a number",
}


class TextAnswers(Task):
    """One answer for each text or pair of texts. Shapes: B rows of a batch, T time, C classes, N rows of a split.

    A subclass sets `problem_type` and implements `targets`, `stacked`, `recorded`, `answers`, and what scoring needs.
    """

    name: ClassVar[str] = "sentiment"
    head: ClassVar[str] = "SequenceClassification"
    columns: ClassVar[Mapping[str, Sequence[str]]] = {
        "text": ("text", "sentence", "review", "content", "tweet", "comment", "document"),
        "text_pair": (),
        "label": (
            *("label", "labels", "gold_label", "sentiment", "class", "category", "target", "polarity", "rating"),
            *("stars", "intent", "emotion"),
        ),
    }
    pairs: ClassVar[Sequence[tuple[str, str]]] = (
        ("text", "text_pair"),
        ("sentence1", "sentence2"),
        ("premise", "hypothesis"),
        ("question1", "question2"),
        ("question", "sentence"),
        *((f"{noun}{blank}{one}", f"{noun}{blank}{two}") for noun in NOUNS for blank in BLANKS for one, two in ENDS),
        ("#1 string", "#2 string"),
        ("query", "passage"),
        ("query", "document"),
        ("question", "passage"),
        ("question", "context"),
        ("question", "answer"),
        ("claim", "evidence"),
    )

    rows_at_once: ClassVar[int] = 2048
    scored_with: ClassVar[Sequence[str]] = ("begins", "length")
    keeps_logits: ClassVar[bool] = False
    """Whether the outcome of a split has the logits of its texts."""
    names_classes: ClassVar[bool] = True
    """Whether the outputs of the model are classes with names."""
    thresholds: list[float] | None = None
    """Of each class, the probability from which on a text gets it, if something is decided by thresholds."""

    def __init__(self, reads_pairs: bool | None = None):
        self.reads_pairs = reads_pairs

    def configure(self, config: Any) -> None:
        super().configure(config)
        # Most configurations lack these fields; of a checkpoint, an earlier training may have left others.
        if self.reads_pairs or getattr(config, "pairs", False):
            config.pairs = bool(self.reads_pairs)
        if self.thresholds is not None or getattr(config, "thresholds", None) is not None:
            config.thresholds = self.thresholds

    def restored(self, config: Any) -> TextAnswers:
        problem_type = getattr(config, "problem_type", None)
        if problem_type is None and config.num_labels == 1:
            problem_type = "regression"  # as the losses of transformers take it
        task = self.variant(problem_type)
        assert isinstance(task, TextAnswers)
        task.recall(config)
        return task

    def recall(self, config: Any) -> None:
        """Read what `configure` has written about answers of this type."""
        self.reads_pairs = getattr(config, "pairs", None)

    @abstractmethod
    def targets(self, answers: list[Any], labels: list[str]) -> Any:
        """The answers of rows, as they are in the data -> as a list or Arrow array, with an element for each row."""

    @abstractmethod
    def no_targets(self, count: int, labels: list[str]) -> Any:
        """The same of `count` rows without an answer in the data."""

    @abstractmethod
    def stacked(self, targets: pa.ChunkedArray) -> torch.Tensor:
        """What `targets` returned for the rows of a batch -> (B, ...), the `labels` of the model."""

    @abstractmethod
    def answers(self, logits: torch.Tensor, labels: list[str]) -> Iterator[dict[str, Any]]:
        """What `finetune predict` prints about each row, besides its text; `logits` are (B, C) in float32."""

    def encode(
        self, rows: dict[str, list[Any]], tokenizer: PreTrainedTokenizerBase, max_length: int, labels: list[str]
    ) -> dict[str, Any]:
        """`input_ids`, `label`, `begins` (whether it is the first row of its text) and, for pairs of texts,
        `token_type_ids` if the model reads them."""
        encoded = _encoded(rows, tokenizer, max_length)
        columns = {
            "input_ids": encoded.input_ids,
            "truncated": encoded.truncated,
            "label": self.no_targets(len(encoded.text), labels),
            "begins": encoded.begins,
        }
        if "label" in rows:
            columns["label"] = self.targets([rows["label"][text] for text in encoded.text], labels)
        if encoded.token_type_ids is not None:
            columns["token_type_ids"] = pa.array(encoded.token_type_ids, pa.list_(pa.int32()))
        return columns

    def collate(self, rows: EncodedRows, tokenizer: PreTrainedTokenizerBase) -> tuple[Batch, int]:
        batch = padded_inputs(rows, tokenizer)
        batch["labels"] = self.stacked(rows["label"])
        if "teacher" in rows.column_names:
            batch["teacher"] = torch.from_numpy(_matrix(whole(rows["teacher"])).copy())  # (B, C)
        return batch, len(rows)

    def check_teacher(self, teacher: Teacher, student: Student) -> None:
        answers = teacher.task
        if not isinstance(answers, TextAnswers):
            raise UserError(
                f"distil.teacher: its task is {answers.name}, and that of the recipe {self.name}; name another"
            )
        if answers.problem_type != self.problem_type:
            theirs, own = (PROBLEM_TYPES[str(task.problem_type)] for task in (answers, self))
            raise UserError(f"distil.teacher: it answers each text with {theirs}, and the data has {own}; name another")
        if answers.reads_pairs is not None and answers.reads_pairs != self.reads_pairs:
            theirs, ours = (
                "pairs of texts" if pairs else "single texts" for pairs in (answers.reads_pairs, self.reads_pairs)
            )
            raise UserError(f"distil.teacher: it reads {theirs}, and the data has {ours}; name another")
        if self.names_classes and sorted(teacher.labels) != sorted(student.labels):
            raise UserError(
                f"distil.teacher: its labels are {listing(teacher.labels)}, and those of the data"
                f" {listing(student.labels)}; set data.label_names, or name another teacher"
            )

    def teacher_answers(self, contents: Sequence[Text], teacher: Teacher, student: Student) -> list[np.ndarray]:
        """Logits (C,)."""
        logits = _logits(contents, teacher.model, teacher.tokenizer)
        order = [teacher.labels.index(label) for label in student.labels] if self.names_classes else [0]
        return list(logits[:, order])

    def teacher_column(self, encoded: pa.Table, answers: pa.ChunkedArray, student: Student) -> pa.ListArray:
        """The logits of its text for each row."""
        text = np.cumsum(encoded["begins"].to_numpy()) - 1
        return lists_of(_matrix(whole(answers))[text])

    def teacher_losses(self, outputs: Any, batch: Batch, settings: Distil, label_losses: LabelLosses) -> TeacherLosses:
        labels = batch["labels"]  # (B,) or (B, C)
        known = ~labels.isnan() if labels.is_floating_point() else labels != IGNORED
        soft = self.divergence(outputs.logits, batch["teacher"], settings)
        return TeacherLosses(
            soft, label_losses(outputs.logits, labels), known if known.dim() == 1 else known.all(dim=1)
        )

    @abstractmethod
    def divergence(self, student: torch.Tensor, teacher: torch.Tensor, settings: Distil) -> torch.Tensor:
        """(B,) what the logits of a student cost against those of its teacher, both (B, C)."""

    def joined(self, outcome: dict[str, Any]) -> dict[str, Any]:
        """The outcome of each text, from the mean of its windows' logits, and the `tokens` that were read of it."""
        begins, lengths = outcome.pop("begins"), outcome.pop("length")
        if not begins.all():
            pooled = torch.from_numpy(long_texts.mean_over_texts(outcome["logits"], begins))
            label = torch.from_numpy(long_texts.first_of_texts({"label": outcome["label"]}, begins)["label"])
            found = self.outcome(SequenceClassifierOutput(logits=pooled), {"labels": label})
            outcome = {name: values.numpy() for name, values in found.items()}
        if not self.keeps_logits:
            del outcome["logits"]
        return {**outcome, "tokens": np.add.reduceat(lengths, np.flatnonzero(begins))}

    def rows(self, outcome: dict[str, Any], labels: list[str]) -> Iterator[dict[str, Any]]:
        """A row per text: its answer in the data as `gold`, that of the model as `prediction`; see `recorded`."""
        return rows_of(self.records(outcome, labels))

    def records(self, outcome: dict[str, Any], labels: list[str]) -> Iterator[pa.RecordBatch]:
        for start in range(0, len(outcome["label"]), ROWS_PER_GROUP):
            part = {name: values[start : start + ROWS_PER_GROUP] for name, values in outcome.items()}
            tokens = {"tokens": pa.array(part["tokens"], pa.int32())} if "tokens" in part else {}
            numbers = pa.array(np.arange(start, start + len(part["label"])))
            yield pa.RecordBatch.from_pydict({"id": numbers, **self.recorded(part, labels), **tokens})

    @abstractmethod
    def recorded(self, outcome: dict[str, Any], labels: list[str]) -> dict[str, pa.Array]:
        """The columns of texts in a file of rows, from the outcome of these texts."""

    def predict(
        self,
        texts: Sequence[Text],
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        labels: list[str],
    ) -> Iterable[dict[str, Any]]:
        self._check_pairs(texts)
        logits = _logits(texts, model, tokenizer)
        for text, answer in zip(texts, self.answers(torch.from_numpy(logits), labels), strict=True):
            given = {"text": text} if isinstance(text, str) else dict(zip(("text", "text_pair"), text, strict=True))
            yield {**given, **answer}

    def _check_pairs(self, texts: Sequence[Text]) -> None:
        sizes = {1 if isinstance(text, str) else len(text) for text in texts}
        if len(sizes) > 1:
            raise UserError("predict: some rows have one text and some have two; give all of them as many")
        if self.reads_pairs and sizes == {1}:
            raise UserError(
                "predict: this model reads pairs of texts, and the input has single ones; give each row a text and a"
                " text_pair"
            )
        if self.reads_pairs is False and sizes == {2}:
            raise UserError("predict: this model reads single texts, and the input has pairs; give one text a row")


def lists_of(values: np.ndarray) -> pa.ListArray:
    """The rows of an array (N, C) as lists of C numbers."""
    offsets = np.arange(len(values) + 1, dtype=np.int32) * values.shape[1]
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(np.ascontiguousarray(values).ravel()))


def _matrix(lists: pa.ListArray) -> np.ndarray:
    """The inverse of `lists_of`."""
    return lists.flatten().to_numpy().reshape(len(lists), -1)


def _logits(texts: Sequence[Text], model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> np.ndarray:
    """(N, C) float32, of each text the mean of its rows."""
    filled = [_with_words(text, tokenizer) for text in texts]
    roles = dict(zip(("text", "text_pair"), zip(*filled, strict=True), strict=False))
    encoded = _encoded(roles, tokenizer, int(tokenizer.model_max_length))
    return long_texts.mean_over_texts(_logits_of_rows(encoded, model, tokenizer), np.array(encoded.begins))


def _encoded(rows: Mapping[str, Sequence[str]], tokenizer: PreTrainedTokenizerBase, max_length: int) -> Encoded:
    if "text_pair" in rows:
        return text_pairs.encode(rows["text"], rows["text_pair"], tokenizer, max_length)
    return long_texts.encode(rows["text"], tokenizer, max_length)


def _logits_of_rows(encoded: Encoded, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> np.ndarray:
    """(N, C) float32, what the model says about each row."""
    inputs = {"input_ids": encoded.input_ids, "token_type_ids": encoded.token_type_ids}
    batches = batches_by_length([*map(len, encoded.input_ids)], ROWS_PER_BATCH)
    found = []
    for chosen in batches:
        rows = {name: [values[row] for row in chosen] for name, values in inputs.items() if values is not None}
        batch = {name: values.to(model.device) for name, values in padded_lists(rows, tokenizer).items()}
        with torch.inference_mode():
            found.append(model(**batch).logits.float().cpu())  # (B, C)
    logits = torch.cat(found).numpy()
    return logits[np.argsort(np.concatenate(batches))]


def _with_words(text: Text, tokenizer: PreTrainedTokenizerBase) -> tuple[str, ...]:
    """The text, or both texts; the unknown token in place of a text without words, if its row would be empty. To
    byte-level BPE, blanks are tokens."""
    texts = (text,) if isinstance(text, str) else tuple(text)
    if any(part.strip() for part in texts):
        return texts
    # As a batch: alone, an empty second text is dropped.
    (ids,) = tokenizer(*([part] for part in texts), verbose=False)["input_ids"]
    if ids:
        return texts
    return (tokenizer.unk_token or tokenizer.eos_token, *texts[1:])
