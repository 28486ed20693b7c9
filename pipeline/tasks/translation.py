"""Translation, or any other text written for a text: perplexity, BLEU, chrF and translations."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch.nn import functional as F
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from pipeline.config.training import Train
from pipeline.data.bucketing import PairedRows
from pipeline.data.gathering import EncodedRows
from pipeline.data.rows import numpy_column
from pipeline.data.tokenization import translated
from pipeline.errors import UserError
from pipeline.metrics.scores import perplexity
from pipeline.models.recurrent.crf import IGNORED
from pipeline.predictions import ROWS_PER_GROUP, Predictions
from pipeline.tasks import translating
from pipeline.tasks.base import Batch, Task, padded_inputs, rows_of
from pipeline.tasks.batching import batches_by_length, padded_lists
from pipeline.tasks.teacher_hooks import Student, Teacher

if TYPE_CHECKING:
    from datasets import Dataset

# Rows in a forward pass of `predict`.
ROWS_PER_BATCH = 32
# One side of a row is far longer than the other if it has more than `RATIO` times as many tokens, and at least `MANY`:
# of short texts, many are right at any ratio.
RATIO, MANY = 3, 20


class Translation(Task):
    """A text written for each text. Shapes: B rows of a batch, S and T tokens of their texts and of the translations, V
    vocabulary, N rows of a split."""

    name: ClassVar[str] = "translation"
    head: ClassVar[str] = "Seq2SeqLM"
    monitor: ClassVar[str] = "chrf"
    generates_in_step: ClassVar[bool] = True
    columns: ClassVar[Mapping[str, Sequence[str]]] = {
        "text": (
            *("source", "src", "source_text", "text", "input", "document", "article", "dialogue", "question"),
            *("sentence", "prompt"),
        ),
        "target": (
            *("target", "tgt", "target_text", "translation", "output", "summary", "highlights", "answer", "reference"),
            "completion",
        ),
    }
    rows_at_once: ClassVar[int] = 2048
    scored_with: ClassVar[Sequence[str]] = ("target",)
    answers_are_texts: ClassVar[bool] = True
    beams: int | None = None
    """How many beams search for the translation that is scored; None: as many as the model says."""
    final_beams: int = 1
    """The same for the finished model."""

    def monitors(self, labels: Sequence[str]) -> Sequence[str]:
        return ("loss", "perplexity_per_token", "bleu", "chrf")

    def check(self, train: Train) -> None:
        super().check(train)
        self.beams, self.final_beams = 1, train.beams

    def start(self, model: PreTrainedModel, train: Dataset) -> dict[str, Any]:
        """Let the model write no more tokens than the longest translation of train has, and search with train.beams
        beams, also in plain transformers."""
        longest = int(numpy_column(train, "target_length").max())
        config = model.generation_config
        config.max_length, config.max_new_tokens, config.num_beams = None, longest, self.final_beams
        if self.final_beams == 1:  # transformers does not save settings of beams without beams
            config.early_stopping, config.length_penalty = False, 1.0
        return {}

    def finished(self) -> Translation:
        task = copy.copy(self)
        task.beams = self.final_beams
        return task

    def encode(
        self, rows: dict[str, list[Any]], tokenizer: PreTrainedTokenizerBase, max_length: int, labels: list[str]
    ) -> dict[str, Any]:
        """`input_ids`, `labels`, `target` and how many tokens it has, and `apart`, whether the sides differ in length
        by far. Until a teacher has translated it, a text has a translation of as many tokens, all of them padding."""
        ids, is_cut = translated.encode_sources(rows["text"], tokenizer, max_length)
        if "target" in rows:
            targets = rows["target"]
            written, target_is_cut = translated.encode_targets(targets, tokenizer, max_length)
        else:  # its own tokens are none of the target's, if the sides have vocabularies of their own
            targets, target_is_cut = [""] * len(ids), is_cut
            written = [[tokenizer.pad_token_id] * len(own) for own in ids]
        lengths = [sorted((len(one), len(other))) for one, other in zip(ids, written, strict=True)]
        return {
            "input_ids": ids,
            "truncated": [one or other for one, other in zip(is_cut, target_is_cut, strict=True)],
            "apart": [longer >= MANY and longer > RATIO * shorter for shorter, longer in lengths],
            **_targets(targets, written),
        }

    def arrange(
        self,
        split: Dataset,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        rows: int,
        running: bool,
        training: bool,
    ) -> PairedRows:
        return PairedRows(split)

    def collate(self, rows: EncodedRows, tokenizer: PreTrainedTokenizerBase) -> tuple[Batch, int]:
        batch = padded_inputs(rows, tokenizer)
        batch["labels"] = torch.from_numpy(rows.padded("labels", IGNORED))  # (B, T)
        return batch, int(pc.sum(rows["target_length"]).as_py())

    def check_teacher(self, teacher: Teacher, student: Student) -> None:
        if teacher.task.head != self.head:
            raise UserError(
                f"distil.teacher: its task is {teacher.task.name}, and that of the recipe {self.name}; name another"
            )

    def teacher_answers(self, contents: Sequence[str], teacher: Teacher, student: Student) -> list[str]:
        """What the teacher's search finds, with as many beams as it was saved with."""
        return [row["translation"] for row in self.predict(contents, teacher.model, teacher.tokenizer, [])]

    def with_answers(self, encoded: pa.Table, answers: pa.ChunkedArray, student: Student) -> pa.Table:
        """What the teacher writes in place of the translations in the data (sequence-level distillation, Kim & Rush
        2016, section 3.2)."""
        tokenizer, texts = student.tokenizer, answers.to_pylist()
        length, written = int(tokenizer.model_max_length), []
        for start in range(0, len(texts), ROWS_PER_GROUP):
            written += translated.encode_targets(texts[start : start + ROWS_PER_GROUP], tokenizer, length)[0]
        for name, column in _targets(texts, written).items():
            encoded = encoded.set_column(encoded.schema.get_field_index(name), name, column)
        return encoded

    def outcome(self, outputs: Any, batch: Batch) -> dict[str, Any]:
        logits, labels = outputs.logits, batch["labels"]  # (B, T, V), (B, T)
        nll = F.cross_entropy(logits.flatten(0, 1).float(), labels.flatten(), ignore_index=IGNORED, reduction="none")
        return {
            "nll": nll.view_as(labels).double().sum(dim=1),
            "tokens": (labels != IGNORED).sum(dim=1, dtype=torch.int32),
        }

    def generate(self, model: PreTrainedModel, batch: Batch, tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
        inputs = {name: values for name, values in batch.items() if name != "labels"}
        options = {} if self.beams is None else {"num_beams": self.beams}
        return {"hypothesis": translating.written(translating.search(model, inputs, **options).sequences, tokenizer)}

    def score(self, outcome: dict[str, Any], labels: list[str]) -> dict[str, Any]:
        return _scores(outcome["nll"], int(outcome["tokens"].sum()), outcome["hypothesis"], outcome["target"])

    def rows(self, outcome: dict[str, Any], labels: list[str]) -> Iterator[dict[str, Any]]:
        """A row per text: its `target` in the data, the `hypothesis` of the model, and the summed `nll` of the target's
        `tokens`."""
        return rows_of(self.records(outcome, labels))

    def records(self, outcome: dict[str, Any], labels: list[str]) -> Iterator[pa.RecordBatch]:
        names = ("target", "hypothesis", "nll", "tokens")
        for start in range(0, len(outcome["nll"]), ROWS_PER_GROUP):
            part = {name: outcome[name][start : start + ROWS_PER_GROUP] for name in names}
            numbers = pa.array(np.arange(start, start + len(part["nll"])))
            yield pa.RecordBatch.from_pydict({"id": numbers, **{name: pa.array(own) for name, own in part.items()}})

    def score_rows(self, rows: Predictions) -> dict[str, Any]:
        table = rows.table
        texts = (table[name].to_pylist() for name in ("hypothesis", "target"))
        return _scores(table["nll"].to_numpy(), pc.sum(table["tokens"]).as_py(), *texts)

    def concern(self, scores: dict[str, Any]) -> str | None:
        """Warns if no translation has a letter of its reference."""
        return "no translation has anything in common with its reference" if scores["chrf"] == 0.0 else None

    def predict(
        self,
        texts: Sequence[str],
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        labels: list[str],
        beams: int | None = None,
        length_penalty: float | None = None,
        n_best: int | None = None,
        attention: bool = False,
    ) -> Iterable[dict[str, Any]]:
        """The `translation` of each text; that of a text without words has none.

        Args:
            beams, length_penalty: of beam search, as in transformers; None: those that the model was saved with.
            n_best: also give this many `translations`, the best first, with their scores: log-probability divided by
                length ** length_penalty.
            attention: also give the `attention` of each token of the translation to those of the text.

        Raises:
            UserError: there are fewer beams than `n_best`, or the model has no attention.
        """
        options = translating.options(model, beams, length_penalty, n_best)
        with_words = [row for row, text in enumerate(texts) if text.strip()]
        length = int(tokenizer.model_max_length)
        ids = translated.encode_sources([texts[row] for row in with_words], tokenizer, length)[0] if with_words else []
        found: dict[int, dict[str, Any]] = {}
        for chosen in batches_by_length([*map(len, ids)], ROWS_PER_BATCH):
            batch = padded_lists({"input_ids": [ids[row] for row in chosen]}, tokenizer)
            inputs = {name: values.to(model.device) for name, values in batch.items()}
            with torch.inference_mode():
                answers = translating.answers(model, inputs, tokenizer, n_best, attention, options)
            found.update(zip((with_words[number] for number in chosen), answers, strict=True))
        for row, text in enumerate(texts):
            yield {"text": text, **(found.get(row) or translating.nothing(n_best, attention))}

    def attention(
        self, texts: Sequence[str], model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
    ) -> list[dict[str, Any]] | None:
        """See `attended_rows.Attends`; the same as `predict` gives."""
        try:
            return [row["attention"] for row in self.predict(texts, model, tokenizer, [], attention=True)]
        except translating.NoAttention:
            return None


def _targets(texts: Sequence[str], ids: Sequence[Sequence[int]]) -> dict[str, pa.Array]:
    """The columns of translations, from their texts and the ids of their tokens."""
    return {
        "labels": pa.array(ids, pa.list_(pa.int32())),
        "target_length": pa.array(map(len, ids), pa.int32()),
        "target": pa.array(texts, pa.string()),
    }


def _scores(nll: np.ndarray, tokens: int, hypotheses: Sequence[str], targets: Sequence[str]) -> dict[str, Any]:
    """Scores from the NLL of each row, the number of all tokens, and the texts."""
    from pipeline.metrics import translation  # takes a second, and prediction needs no metric

    loss = math.fsum(nll) / tokens
    return {"loss": loss, "perplexity_per_token": perplexity(loss), **translation.scores(hypotheses, targets)}
