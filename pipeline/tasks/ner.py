"""Named entities, and any other task with one tag per word; scores and predictions are per word, not per token."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch.nn import functional as F
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from pipeline.config.distil import Distil
from pipeline.data.bucketing import jagged
from pipeline.data.checks import entity_types
from pipeline.data.gathering import EncodedRows, Table
from pipeline.data.labels import count
from pipeline.data.tagging import model_labels, tag_spans
from pipeline.data.tagging import tags as schemes
from pipeline.data.tagging.tag_spans import Tags
from pipeline.data.tokenization.segmentation import cutter
from pipeline.models.recurrent import CrfTaggerConfig, tag_labels
from pipeline.models.recurrent.crf import IGNORED
from pipeline.predictions import ROWS_PER_GROUP, Predictions
from pipeline.tasks import ner_encoding, ner_scoring, ner_teacher
from pipeline.tasks.base import Batch, Task, padded_inputs, rows_of
from pipeline.tasks.batching import batches_by_length
from pipeline.tasks.teacher_hooks import LabelLosses, Student, Teacher, TeacherLosses

if TYPE_CHECKING:
    from datasets import Dataset

# Maximum tokens in a window of `predict`, even if the model can read more.
LONGEST = 512
WINDOWS_PER_BATCH = 32


class Ner(Task):
    """A tag per word. Rows are windows over sentences; each word belongs to one window, which predicts its tag.

    Shapes: B windows of a batch, T time, C tags, W characters of a token, N windows of a split, M words of a split.
    """

    name: ClassVar[str] = "ner"
    head: ClassVar[str] = "TokenClassification"
    monitor: ClassVar[str] = "f1"
    columns: ClassVar[Mapping[str, Sequence[str]]] = {
        "tokens": ("tokens", "words", "token", "word"),
        "tags": ("tags", "ner_tags", "ner", "ner_labels", "labels", "tag"),
    }
    encodes_arrow: ClassVar[bool] = True
    rows_at_once: ClassVar[int] = 2048
    scored_with: ClassVar[Sequence[str]] = ("first", "tags", "begins")

    def labels(self, source_label_names: Sequence[str] | None, splits: Mapping[str, Dataset]) -> list[str]:
        types = entity_types(source_label_names, splits)
        scheme = schemes.scheme_of(tag for rows in splits.values() for tag in count(rows, "tags"))
        prefixes = sorted(
            {schemes.PREFIXES[scheme](place, length) for place, length in ((0, 1), (0, 3), (1, 3), (2, 3))}
        )
        return ["O", *(f"{prefix}-{kind}" for kind in types for prefix in prefixes)]

    def configure(self, config: Any) -> None:
        """Name the labels of BIOES in IOB2, so that programs that know B- and I- alone find what `predict` finds; their
        own names stay in `learned_labels`."""
        super().configure(config)
        learned = tag_labels.learned_labels(config)
        names = list(map(tag_labels.outward, learned))
        # The model below a CRF has the same labels.
        below = [config.text_config] if config.model_type == CrfTaggerConfig.model_type else []
        for part in [config, *below]:
            part.id2label = dict(enumerate(names))
            part.label2id = {name: index for index, name in reversed([*enumerate(names)])}  # the first of each name
            if names != learned or getattr(part, "learned_labels", None) is not None:
                part.learned_labels = learned if names != learned else None

    def monitors(self, labels: Sequence[str]) -> Sequence[str]:
        types = sorted(schemes.types(labels))
        figures = (f"per_type.{kind}.{figure}" for kind in types for figure in ("precision", "recall", "f1"))
        return ("loss", "precision", "recall", "f1", "strict_f1", "accuracy", *figures)

    def encode(
        self, rows: dict[str, Any], tokenizer: PreTrainedTokenizerBase, max_length: int, labels: list[str]
    ) -> dict[str, Any]:
        return ner_encoding.encode(rows, tokenizer, max_length, labels)

    def collate(self, rows: EncodedRows, tokenizer: PreTrainedTokenizerBase) -> tuple[Batch, int]:
        batch = padded_inputs(rows, tokenizer)
        batch["labels"] = torch.from_numpy(rows.padded("labels", IGNORED))
        if "char_ids" in rows.column_names:
            shape = batch["input_ids"].shape
            batch["char_ids"] = torch.from_numpy(rows.padded("char_ids", 0)).reshape(*shape, -1)  # (B, T, W)
        if "teacher" in rows.column_names:
            batch["teacher"] = ner_teacher.padded(rows["teacher"], rows["length"].to_numpy())
            return batch, int(ner_teacher.is_answered(batch["teacher"]).sum())
        return batch, int((batch["labels"] != IGNORED).sum())

    def check_teacher(self, teacher: Teacher, student: Student) -> None:
        ner_teacher.check(teacher, student)

    def teacher_answers(self, contents: Sequence[list[str]], teacher: Teacher, student: Student) -> list[np.ndarray]:
        """(words, C) logarithms of the probabilities of each word's tags, NaN for a word that the teacher's tokenizer
        drops. See `TagMap` for a teacher whose tags follow another scheme; there, the tags of two words that no window
        of the teacher reads together count as independent."""
        size = min(teacher.tokenizer.model_max_length, LONGEST)
        columns = self.encode({"tokens": list(contents)}, teacher.tokenizer, size, teacher.labels)
        answers = ner_teacher.Answers(teacher, student, columns["pieces"])
        with ner_teacher.emissions(teacher.model):
            for chosen, rows, outputs in self._outputs(columns, teacher.model, teacher.tokenizer):
                answers.add(chosen, rows, outputs)
        return answers.of_sentences([len(words) for words in contents])

    def teacher_column(self, encoded: pa.Table, answers: pa.ChunkedArray, student: Student) -> pa.LargeListArray:
        return ner_teacher.column(encoded, answers, student)

    def teacher_losses(self, outputs: Any, batch: Batch, settings: Distil, label_losses: LabelLosses) -> TeacherLosses:
        return ner_teacher.losses(outputs, batch, settings, label_losses)

    def outcome(self, outputs: Any, batch: Batch) -> dict[str, Any]:
        logits, labels = outputs.logits.float(), batch["labels"]  # (B, T, C), (B, T)
        nll = getattr(outputs, "nll", None)  # (B,) of a CRF, whose logits only mark the best path
        if nll is None:
            nll = F.cross_entropy(logits.transpose(1, 2), labels, ignore_index=IGNORED, reduction="none").sum(dim=1)
        real = (
            batch["attention_mask"].bool() if "attention_mask" in batch else torch.ones_like(labels, dtype=torch.bool)
        )
        return {
            "nll": nll.double(),
            "labels": (labels != IGNORED).sum(dim=1),
            "prediction": (logits.argmax(dim=-1)[real], real.sum(dim=1)),
        }

    def joined(self, outcome: dict[str, Any]) -> dict[str, Any]:
        """The outcome with the tags of the data as `tag_spans.Tags`."""
        return {**outcome, "tags": Tags.of(outcome["tags"][0])}

    def score(self, outcome: dict[str, Any], labels: list[str]) -> dict[str, Any]:
        """Scores over words, against the tags of the data; an entity with a word that has no token is missed."""
        words, begins = ner_scoring.words_of(outcome, labels), np.flatnonzero(outcome["begins"])
        gold, predicted = (
            [own.tolist() for own in np.split(tags.strings(), words.ends[:-1])]
            for tags in (words.gold, words.predicted)
        )
        nll = np.add.reduceat(outcome["nll"], begins)
        lost = int(ner_scoring.lost_entities(words, tag_spans.read(words.gold, words.ends)).sum())
        return ner_scoring.scores(gold, predicted, nll, int(outcome["labels"].sum()), lost)

    def rows(self, outcome: dict[str, Any], labels: list[str]) -> Iterator[dict[str, Any]]:
        """A row per sentence, however many windows it was split into: `gold` and `prediction`, an IOB2 tag for each
        word, `gold_spans` and `predicted_spans`, the entities by type, first word and the word after the last, how many
        `lost_entities` have a word that the model has not read, and the summed `nll` of the `tokens` that have a
        label."""
        return rows_of(self.records(outcome, labels))

    def records(self, outcome: dict[str, Any], labels: list[str]) -> Iterator[pa.RecordBatch]:
        words, begins = ner_scoring.words_of(outcome, labels), np.flatnonzero(outcome["begins"])
        nll, tokens = (np.add.reduceat(outcome[name], begins) for name in ("nll", "labels"))
        for start in range(0, len(begins), ROWS_PER_GROUP):
            part = words.sentences(start, start + ROWS_PER_GROUP)
            gold, predicted = (tag_spans.read(tags, part.ends) for tags in (part.gold, part.predicted))
            yield pa.RecordBatch.from_pydict(
                {
                    "id": pa.array(np.arange(start, start + len(part.ends))),
                    "gold": part.gold.lists(part.ends),
                    "prediction": part.predicted.lists(part.ends),
                    "gold_spans": gold.arrow(),
                    "predicted_spans": predicted.arrow(),
                    "lost_entities": pa.array(ner_scoring.lost_entities(part, gold), pa.int32()),
                    "nll": pa.array(nll[start : start + ROWS_PER_GROUP]),
                    "tokens": pa.array(tokens[start : start + ROWS_PER_GROUP], pa.int32()),
                }
            )

    def score_rows(self, rows: Predictions) -> dict[str, Any]:
        gold, predicted = (rows.table[name].to_pylist() for name in ("gold", "prediction"))
        tokens, lost = (pc.sum(rows.table[name]).as_py() for name in ("tokens", "lost_entities"))
        return ner_scoring.scores(gold, predicted, rows.table["nll"].to_numpy(), tokens, lost)

    def concern(self, scores: dict[str, Any]) -> str | None:
        """Warns if no entity is found."""
        there = sum(figures["support"] for figures in scores["per_type"].values())
        return f"the model finds none of the {there:,} entities" if there and scores["recall"] == 0.0 else None

    def predict(
        self,
        texts: Sequence[str | list[str]],
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        labels: list[str],
        format: str | None = None,
    ) -> Iterable[dict[str, Any]]:
        """The entities of each text; of a list of words also their `tokens` and IOB2 `tags`, and the offsets of its
        entities are those in the words joined by blanks. With `format`, that of an annotation tool, also the `words`,
        by start and end, that the model has read."""
        cut = cutter(tokenizer)
        joined = [text if isinstance(text, str) else " ".join(text) for text in texts]
        cuts = [cut(text) if isinstance(text, str) else _places(text) for text in texts]
        size = min(tokenizer.model_max_length, LONGEST)
        sentences = [[text[start:end] for start, end in places] for text, places in zip(joined, cuts, strict=True)]
        rows: dict[str, list[Any]] = {"tokens": sentences, "tags": [["O"] * len(words) for words in sentences]}
        names = model_labels.read(labels)
        answers = self._tag(self.encode(rows, tokenizer, size, labels), model, tokenizer)
        for row, text, places in zip(texts, joined, cuts, strict=True):
            ids, scores = zip(*(next(answers) for _ in places), strict=True) if places else ((), ())
            tags = ner_scoring.written([names.iob2[index] for index in ids], names)
            words: dict[str, Any] = {} if isinstance(row, str) else {"tokens": row, "tags": tags}
            if format is not None:
                words = {"words": places}
            entities = [_entity(text, places, scores, span) for span in schemes.spans(tags)]
            yield {"text": text, **words, "entities": entities}

    def _tag(
        self, columns: dict[str, Any], model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
    ) -> Iterator[tuple[int, float]]:
        """Tag id and probability of each word, in order."""
        found: dict[int, tuple[list[int], list[float]]] = {}
        for chosen, rows, outputs in self._outputs(columns, model, tokenizer):
            probabilities, tags = outputs.logits.float().softmax(dim=-1).max(dim=-1)  # (B, T)
            first, words = jagged(rows["first"])
            at = np.repeat(np.arange(len(words)), words), first
            ends = np.cumsum(words)[:-1]
            own = (np.split(values.cpu().numpy()[at], ends) for values in (tags, probabilities))
            found.update((row, (ids.tolist(), p.tolist())) for row, ids, p in zip(chosen, *own, strict=True))
        for row in range(len(columns["input_ids"])):
            yield from zip(*found[row], strict=True)

    def _outputs(
        self, columns: dict[str, Any], model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
    ) -> Iterator[tuple[list[int], EncodedRows, Any]]:
        """Numbers of encoded windows of similar length, the windows, and what the model returns for them."""
        names = ("input_ids", "labels", "first", "char_ids")
        arrays: dict[str, Any] = {name: columns[name] for name in names if name in columns}
        arrays["length"] = pc.list_value_length(columns["input_ids"])
        table = Table(pa.table(arrays))
        for chosen in batches_by_length(arrays["length"].to_pylist(), WINDOWS_PER_BATCH):
            (rows,) = table.take([np.array(chosen)])
            batch = {name: values.to(model.device) for name, values in self.collate(rows, tokenizer)[0].items()}
            del batch["labels"]
            with torch.inference_mode():
                yield chosen, rows, model(**batch)


def _places(words: Sequence[str]) -> list[tuple[int, int]]:
    """Start and end of each word in `words`, joined by blanks."""
    ends = list(itertools.accumulate(len(word) + 1 for word in words))
    return [(end - 1 - len(word), end - 1) for end, word in zip(ends, words, strict=True)]


def _entity(text: str, places: list[tuple[int, int]], scores: Sequence[float], span: schemes.Span) -> dict[str, Any]:
    """An entity with its character offsets and the mean probability of its words' tags."""
    kind, first, last = span
    start, end = places[first][0], places[last - 1][1]
    score = sum(scores[first:last]) / (last - first)
    return {"type": kind, "start": start, "end": end, "text": text[start:end], "score": score}
