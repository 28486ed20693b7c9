"""Named entities, and any other task with one tag per word; scores and predictions are per word, not per token."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
import pyarrow as pa
import torch
from torch.nn import functional as F
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from pipeline.data import tags as schemes
from pipeline.data.bucketing import jagged, pad
from pipeline.data.checks import entity_types
from pipeline.data.tokenizers import cutting
from pipeline.data.word_alignment import TokenWindow, Words, labelled, surroundings, tokenize, windows
from pipeline.data.word_patterns import cut
from pipeline.models.recurrent.crf import IGNORED
from pipeline.tasks.base import Batch, Task, padded_inputs

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
    scored_with: ClassVar[Sequence[str]] = ("first", "tags", "begins")

    def labels(self, source_label_names: Sequence[str] | None, splits: Mapping[str, Dataset]) -> list[str]:
        types = entity_types(source_label_names, splits)
        scheme = schemes.scheme_of(tag for rows in splits.values() for tags in rows["tags"] for tag in tags)
        prefixes = sorted(
            {schemes.PREFIXES[scheme](place, length) for place, length in ((0, 1), (0, 3), (1, 3), (2, 3))}
        )
        return ["O", *(f"{prefix}-{kind}" for kind in types for prefix in prefixes)]

    def monitors(self, labels: Sequence[str]) -> Sequence[str]:
        types = sorted(schemes.types(labels))
        figures = (f"per_type.{kind}.{figure}" for kind in types for figure in ("precision", "recall", "f1"))
        return ("loss", "precision", "recall", "f1", "strict_f1", "accuracy", *figures)

    def encode(
        self, rows: dict[str, list[Any]], tokenizer: PreTrainedTokenizerBase, max_length: int, labels: list[str]
    ) -> dict[str, Any]:
        """Windows, with the columns `labels`, `first` (position of the first token of each of the window's own words),
        `tags` (of these words in the data, in IOB2), `begins` (whether it is the first window of its sentence) and
        `char_ids`, flattened."""
        before, behind = surroundings(tokenizer)
        size = max_length - len(before) - len(behind)
        ids = {label: index for index, label in enumerate(labels)}
        scheme = schemes.scheme_of(labels)
        found: list[dict[str, Any]] = []
        for words, tags in zip(tokenize(rows["tokens"], tokenizer, size), rows["tags"], strict=True):
            entities = schemes.spans(tags)
            targets = _targets(entities, words.first, ids, scheme)
            gold = schemes.write(entities, len(tags), "iob2")
            parts = windows(words.first, size)
            for part, (begin, end) in zip(parts, labelled(parts, entities), strict=True):
                row = _row(words, part, before, behind)
                own = targets[words.first[part.start] : words.first[part.stop]].copy()
                own[: words.first[begin] - words.first[part.start]] = IGNORED
                own[words.first[end] - words.first[part.start] :] = IGNORED
                row["labels"] = np.concatenate([_blank(before), own, _blank(behind)])
                found.append({**row, "tags": gold[part.begin : part.end], "begins": part.begin == 0})
        return _columns(found)

    def collate(self, rows: pa.Table, tokenizer: PreTrainedTokenizerBase) -> tuple[Batch, int]:
        batch = padded_inputs(rows, tokenizer)
        batch["labels"] = torch.from_numpy(pad(rows["labels"], IGNORED))
        if "char_ids" in rows.column_names:
            shape = batch["input_ids"].shape
            batch["char_ids"] = torch.from_numpy(pad(rows["char_ids"], 0)).reshape(*shape, -1)  # (B, T, W)
        return batch, int((batch["labels"] != IGNORED).sum())

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

    def score(self, outcome: dict[str, Any], labels: list[str]) -> dict[str, Any]:
        """Scores over words, against the tags of the data; an entity with a word that has no token is missed."""
        from pipeline.metrics.entities import Entities  # takes a second, and prediction needs no metric

        sentences = list(_sentences(outcome, labels))
        references, predictions = [s.gold for s in sentences], [s.predicted for s in sentences]
        scores = Entities(keep_in_memory=True).compute(predictions=predictions, references=references)
        missed = sum(any(s.lost[begin:end]) for s in sentences for _, begin, end in schemes.spans(s.gold))
        loss = outcome["nll"].sum() / max(int(outcome["labels"].sum()), 1)
        return {"loss": float(loss), **(scores or {}), "lost_entities": missed}

    def rows(self, outcome: dict[str, Any], labels: list[str]) -> Iterator[dict[str, Any]]:
        """A row per sentence, however many windows it was split into: its `tags` and the `prediction`, an IOB2 tag for
        each word, and the summed `nll` of the tokens that have a label."""
        starts = np.flatnonzero(outcome["begins"])
        nll = np.add.reduceat(outcome["nll"], starts).tolist()
        for number, (sentence, own) in enumerate(zip(_sentences(outcome, labels), nll, strict=True)):
            yield {"id": number, "tags": sentence.gold, "prediction": sentence.predicted, "nll": own}

    def concern(self, scores: dict[str, Any]) -> str | None:
        """Warns if no entity is found."""
        there = sum(figures["support"] for figures in scores["per_type"].values())
        return f"the model finds none of the {there:,} entities" if there and scores["recall"] == 0.0 else None

    def predict(
        self, texts: Sequence[str], model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, labels: list[str]
    ) -> Iterable[dict[str, Any]]:
        spelling = cutting(tokenizer)
        cuts = [cut(text, *spelling) for text in texts]
        size = min(tokenizer.model_max_length, LONGEST)
        sentences = [[text[start:end] for start, end in places] for text, places in zip(texts, cuts, strict=True)]
        rows = {"tokens": sentences, "tags": [["O"] * len(words) for words in sentences]}
        answers = self._tag(self.encode(rows, tokenizer, size, labels), model, tokenizer)
        for text, places in zip(texts, cuts, strict=True):
            ids, scores = zip(*(next(answers) for _ in places), strict=True) if places else ((), ())
            tags = [_iob2(labels[index]) for index in ids]
            yield {"text": text, "entities": [_entity(text, places, scores, span) for span in schemes.spans(tags)]}

    def _tag(
        self, columns: dict[str, Any], model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
    ) -> Iterator[tuple[int, float]]:
        """Tag id and probability of each word, in order."""
        arrays: dict[str, Any] = {name: columns[name] for name in ("labels", "first", "char_ids") if name in columns}
        arrays["input_ids"] = pa.array(columns["input_ids"], pa.list_(pa.int32()))
        arrays["length"] = pa.array([len(ids) for ids in columns["input_ids"]], pa.int32())
        table = pa.table(arrays)
        for start in range(0, len(table), WINDOWS_PER_BATCH):
            rows = table.slice(start, WINDOWS_PER_BATCH)
            batch = {name: values.to(model.device) for name, values in self.collate(rows, tokenizer)[0].items()}
            del batch["labels"]
            with torch.inference_mode():
                probabilities, tags = model(**batch).logits.float().softmax(dim=-1).max(dim=-1)  # (B, T)
            first, words = jagged(rows["first"])
            at = np.repeat(np.arange(len(words)), words), first
            yield from zip(tags.cpu().numpy()[at].tolist(), probabilities.cpu().numpy()[at].tolist(), strict=True)


class _Sentence(NamedTuple):
    """Tags of a sentence's words in IOB2, those of the data and those of the model, and whether the model has read no
    token of a word."""

    gold: list[str]
    predicted: list[str]
    lost: list[bool]


def _sentences(outcome: dict[str, Any], labels: list[str]) -> Iterator[_Sentence]:
    """The sentences of a split, each joined from its windows; see `Ner.outcome` and `Ner.encode`."""
    (guesses, tokens), (first, words), (gold, _) = (outcome[name] for name in ("prediction", "first", "tags"))
    window = np.repeat(np.arange(len(words)), words)  # (M,)
    lost = (first < 0) | (first >= tokens[window])
    # Place of each word's first token among the tokens of all windows, one window after another.
    at = np.where(lost, 0, (np.cumsum(tokens) - tokens)[window] + first)
    names = np.array([*map(_iob2, labels), "O"], dtype=object)
    predicted = names[np.where(lost, len(labels), guesses[at])]
    ends = np.cumsum(np.add.reduceat(words, np.flatnonzero(outcome["begins"])))[:-1]
    columns = ([part.tolist() for part in np.split(column, ends)] for column in (gold, predicted, lost))
    yield from map(_Sentence, *columns)


def _targets(entities: list[schemes.Span], first: np.ndarray, ids: Mapping[str, int], scheme: str) -> np.ndarray:
    """(P,) label of each token: an entity's tags are written over its tokens as if each were a word."""
    over_tokens = [(kind, int(first[start]), int(first[end])) for kind, start, end in entities]
    tags = schemes.write(over_tokens, int(first[-1]), scheme)
    # Other models may have no B tags, as in IOB1.
    return np.array([ids[tag] if tag in ids else ids[f"I-{tag[2:]}"] for tag in tags], dtype=np.int64)


def _row(words: Words, part: TokenWindow, before: list[int], behind: list[int]) -> dict[str, Any]:
    """A window's `input_ids`, `first` and, flattened, `char_ids`."""
    start, stop = words.first[part.start], words.first[part.stop]
    row = {
        "input_ids": [*before, *words.input_ids[start:stop].tolist(), *behind],
        "first": words.first[part.begin : part.end] - start + len(before),
    }
    if words.char_ids is not None:
        own = words.char_ids[start:stop]
        edges = (np.zeros((len(ids), own.shape[1]), dtype=np.int64) for ids in (before, behind))
        row["char_ids"] = np.concatenate([next(edges), own, next(edges)]).ravel()
    return row


def _blank(special: list[int]) -> np.ndarray:
    return np.full(len(special), IGNORED)


TYPES = {
    "labels": pa.list_(pa.int32()),
    "first": pa.list_(pa.int32()),
    "char_ids": pa.list_(pa.int32()),
    "tags": pa.list_(pa.string()),
    "begins": pa.bool_(),
}


def _columns(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Rows as columns; nothing is ever truncated."""
    typed = {
        name: pa.array([row[name] for row in rows], kind) for name, kind in TYPES.items() if rows and name in rows[0]
    }
    return {"input_ids": [row["input_ids"] for row in rows], "truncated": [False] * len(rows), **typed}


def _iob2(label: str) -> str:
    """A model's label as an IOB2 tag; a label without a prefix is an entity type."""
    if not schemes.TAG.fullmatch(label):
        return f"I-{label}"
    prefix, kind = schemes.split(label)
    return label if prefix == "O" else f"{'B' if prefix in 'BS' else 'I'}-{kind}"


def _entity(text: str, places: list[tuple[int, int]], scores: Sequence[float], span: schemes.Span) -> dict[str, Any]:
    """An entity with its character offsets and the mean probability of its words' tags."""
    kind, first, last = span
    start, end = places[first][0], places[last - 1][1]
    score = sum(scores[first:last]) / (last - first)
    return {"type": kind, "start": start, "end": end, "text": text[start:end], "score": score}
