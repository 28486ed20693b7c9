"""Named entities, and any other task with a tag per word: encoded, scored and answered in words."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import torch
from datasets import Dataset
from torch.nn import functional as F
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from pipeline.data import tags as schemes
from pipeline.data.bucketing import jagged, pad
from pipeline.data.checks import entity_types
from pipeline.data.word_alignment import Window, Words, labelled, surroundings, tokenize, windows
from pipeline.data.word_patterns import cut
from pipeline.metrics.entities import Entities
from pipeline.tasks.base import Batch

IGNORED = -100
# Windows of running text have no more tokens than that, whatever the model could read.
LONGEST = 512
WINDOWS_PER_BATCH = 32


class Ner:
    """A tag per word. Rows are windows over sentences; each word is owned by one of them, which answers for it.

    Shapes: B windows of a batch, T time, C tags, W characters of a token, N windows of a split, M words of a split.
    """

    name: ClassVar[str] = "ner"
    head: ClassVar[str] = "TokenClassification"
    monitor: ClassVar[str] = "f1"
    columns: ClassVar[Mapping[str, Sequence[str]]] = {
        "tokens": ("tokens", "words", "token", "word"),
        "tags": ("tags", "ner_tags", "ner", "ner_labels", "labels", "tag"),
    }
    stratify_by: ClassVar[str | None] = None
    scored_with: ClassVar[Sequence[str]] = ("first", "tags", "begins")

    def labels(self, source_label_names: Sequence[str] | None, splits: Mapping[str, Dataset]) -> list[str]:
        types = entity_types(source_label_names, splits)
        scheme = schemes.scheme_of(tag for rows in splits.values() for tags in rows["tags"] for tag in tags)
        prefixes = sorted(
            {schemes.PREFIXES[scheme](place, length) for place, length in ((0, 1), (0, 3), (1, 3), (2, 3))}
        )
        return ["O", *(f"{prefix}-{kind}" for kind in types for prefix in prefixes)]

    def encode(
        self, rows: dict[str, list[Any]], tokenizer: PreTrainedTokenizerBase, max_length: int, labels: list[str]
    ) -> dict[str, list[Any]]:
        """Windows with the columns `labels`, `first` (where the first token of each word that it owns stands), `tags`
        (of these words, as the data has them, in IOB2), `begins` (it is the first of its sentence) and, flat,
        `char_ids`."""
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
        lengths = torch.from_numpy(rows["length"].to_numpy())
        input_ids = torch.from_numpy(pad(rows["input_ids"], tokenizer.pad_token_id))
        batch = {"input_ids": input_ids, "labels": torch.from_numpy(pad(rows["labels"], IGNORED))}
        if int(lengths.min()) < input_ids.shape[1]:  # without padding a mask only costs time
            batch["attention_mask"] = (torch.arange(input_ids.shape[1]) < lengths[:, None]).long()
        if "char_ids" in rows.column_names:
            batch["char_ids"] = torch.from_numpy(pad(rows["char_ids"], 0)).reshape(*input_ids.shape, -1)  # (B, T, W)
        return batch, int((batch["labels"] != IGNORED).sum())

    def outcome(self, outputs: Any, batch: Batch) -> dict[str, Any]:
        logits, labels = outputs.logits.float(), batch["labels"]  # (B, T, C), (B, T)
        nll = getattr(outputs, "nll", None)  # (B,) of a CRF, whose logits tell the best path alone
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
        """Scores over words, against the tags of the data; an entity with a word that no token stands for is lost."""
        (guesses, tokens), (first, words), (gold, _) = (outcome[name] for name in ("prediction", "first", "tags"))
        window = np.repeat(np.arange(len(words)), words)  # (M,)
        lost = (first < 0) | (first >= tokens[window])
        at = np.where(lost, 0, (np.cumsum(tokens) - tokens)[window] + first)
        names = np.array([*map(_iob2, labels), "O"], dtype=object)
        predicted = names[np.where(lost, len(labels), guesses[at])]
        ends = np.cumsum(np.add.reduceat(words, np.flatnonzero(outcome["begins"])))[:-1]
        references, predictions, gaps = (
            [part.tolist() for part in np.split(column, ends)] for column in (gold, predicted, lost)
        )
        scores = Entities(keep_in_memory=True).compute(predictions=predictions, references=references)
        missed = (any(gap[s:e]) for tags, gap in zip(references, gaps, strict=True) for _, s, e in schemes.spans(tags))
        loss = outcome["nll"].sum() / max(int(outcome["labels"].sum()), 1)
        return {"loss": float(loss), **(scores or {}), "lost_entities": sum(missed)}

    def concern(self, scores: dict[str, Any]) -> str | None:
        """Whether none of the entities is found."""
        there = sum(figures["support"] for figures in scores["per_type"].values())
        return f"none of the {there:,} entities is found" if there and scores["recall"] == 0.0 else None

    def predict(
        self, texts: Sequence[str], model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, labels: list[str]
    ) -> Iterable[dict[str, Any]]:
        cuts = [cut(text) for text in texts]
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
        """Tag and its probability of word after word."""
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


def _targets(entities: list[schemes.Span], first: np.ndarray, ids: Mapping[str, int], scheme: str) -> np.ndarray:
    """(P,) label of each token: an entity's tags are spread over its tokens as if they were words."""
    over_tokens = [(kind, int(first[start]), int(first[end])) for kind, start, end in entities]
    tags = schemes.write(over_tokens, int(first[-1]), scheme)
    # Models that are not ours may tag without B, as in IOB1.
    return np.array([ids[tag] if tag in ids else ids[f"I-{tag[2:]}"] for tag in tags], dtype=np.int64)


def _row(words: Words, part: Window, before: list[int], behind: list[int]) -> dict[str, Any]:
    """A window's `input_ids`, `first` and, flat, `char_ids`."""
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
    """Rows as columns; nothing is ever cut off."""
    typed = {
        name: pa.array([row[name] for row in rows], kind) for name, kind in TYPES.items() if rows and name in rows[0]
    }
    return {"input_ids": [row["input_ids"] for row in rows], "truncated": [False] * len(rows), **typed}


def _iob2(label: str) -> str:
    """A model's label as a tag of IOB2, prefix by prefix; a name without one is that of a type."""
    if not schemes.TAG.fullmatch(label):
        return f"I-{label}"
    prefix, kind = schemes.split(label)
    return label if prefix == "O" else f"{'B' if prefix in 'BS' else 'I'}-{kind}"


def _entity(text: str, places: list[tuple[int, int]], scores: Sequence[float], span: schemes.Span) -> dict[str, Any]:
    """An entity with its place in the text and the mean probability of its words' tags."""
    kind, first, last = span
    start, end = places[first][0], places[last - 1][1]
    score = sum(scores[first:last]) / (last - first)
    return {"type": kind, "start": start, "end": end, "text": text[start:end], "score": score}
