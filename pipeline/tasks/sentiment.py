"""Sentiment analysis, and any other task with one label per text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch.nn import functional as F
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from pipeline.data.checks import label_set
from pipeline.tasks.base import Batch, Task, padded_inputs

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset


class Sentiment(Task):
    """One label per text. Shapes: B rows of a batch, T time, C classes, N rows of a split."""

    name: ClassVar[str] = "sentiment"
    head: ClassVar[str] = "SequenceClassification"
    monitor: ClassVar[str] = "accuracy"
    columns: ClassVar[Mapping[str, Sequence[str]]] = {
        "text": ("text", "sentence", "review", "content", "tweet", "comment", "document"),
        "label": ("label", "sentiment", "class", "category", "target", "polarity", "rating", "stars"),
    }
    stratify_by: ClassVar[str | None] = "label"

    def labels(self, source_label_names: Sequence[str] | None, splits: Mapping[str, Dataset]) -> list[str]:
        return label_set(source_label_names, splits)

    def encode(
        self, rows: dict[str, list[Any]], tokenizer: PreTrainedTokenizerBase, max_length: int, labels: list[str]
    ) -> dict[str, Any]:
        encoded = tokenizer(
            rows["text"], truncation=True, max_length=max_length, return_attention_mask=False, verbose=False
        )
        ids = {label: index for index, label in enumerate(labels)}
        return {
            "input_ids": encoded["input_ids"],
            "truncated": [bool(row.overflowing) for row in encoded.encodings],
            "label": [ids[label] for label in rows["label"]],
        }

    def collate(self, rows: pa.Table, tokenizer: PreTrainedTokenizerBase) -> tuple[Batch, int]:
        batch = padded_inputs(rows, tokenizer)
        batch["labels"] = torch.tensor(rows["label"].to_numpy())
        return batch, len(rows)

    def outcome(self, outputs: Any, batch: Batch) -> dict[str, Any]:
        logits = outputs.logits.float()  # (B, C)
        nll = F.cross_entropy(logits, batch["labels"], reduction="none")
        return {"nll": nll, "prediction": logits.argmax(dim=-1), "label": batch["labels"]}

    def score(self, outcome: dict[str, Any], labels: list[str]) -> dict[str, Any]:
        from pipeline.metrics.classification import Classification  # takes a second, and prediction needs no metric

        metric = Classification(keep_in_memory=True)
        scores = metric.compute(predictions=outcome["prediction"], references=outcome["label"], label_names=labels)
        return {"loss": float(outcome["nll"].astype(np.float64).mean()), **(scores or {})}

    def rows(self, outcome: dict[str, Any], labels: list[str]) -> Iterator[dict[str, Any]]:
        """A row per text: its `label`, the `prediction`, both by name, and the `nll` of the label."""
        columns = (outcome[name].tolist() for name in ("label", "prediction", "nll"))
        for number, (label, prediction, nll) in enumerate(zip(*columns, strict=True)):
            yield {"id": number, "label": labels[label], "prediction": labels[prediction], "nll": nll}

    def concern(self, scores: dict[str, Any]) -> str | None:
        """Warns if all texts get the same label although the data has several."""
        confusion, names = np.array(scores["confusion"]), list(scores["per_class"])
        predicted = confusion.any(axis=0)
        if predicted.sum() != 1 or confusion.any(axis=1).sum() == 1:
            return None
        return f"every text is predicted as {names[int(predicted.argmax())]}; other labels are never predicted"

    def predict(
        self, texts: Sequence[str], model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, labels: list[str]
    ) -> Iterable[dict[str, Any]]:
        unknown = tokenizer.unk_token or tokenizer.eos_token  # in place of a text without words
        filled = [text if text.strip() else unknown for text in texts]
        batch = tokenizer(filled, truncation=True, padding=True, return_tensors="pt").to(model.device)
        with torch.inference_mode():
            probabilities = model(**batch).logits.float().softmax(dim=-1).tolist()  # (B, C)
        for text, row in zip(texts, probabilities, strict=True):
            best = max(range(len(row)), key=row.__getitem__)
            scores = dict(zip(labels, row, strict=True))
            yield {"text": text, "label": labels[best], "score": row[best], "scores": scores}
