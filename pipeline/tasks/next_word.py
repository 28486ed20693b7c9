"""Predicting the next word: perplexity, accuracy, and continuations of texts."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch.nn import functional as F
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from pipeline.data.streams import EVALUATION_TOKENS, Arrays, Blocks, Streams, Tokens
from pipeline.errors import UserError
from pipeline.models.recurrent.crf import IGNORED
from pipeline.tasks.base import Batch, Task

if TYPE_CHECKING:
    from datasets import Dataset

LIKELIEST = 5


class NextWord(Task):
    """The next token of a text. Shapes: B rows of a batch, T time, V vocabulary, N rows of a split."""

    name: ClassVar[str] = "next_word"
    head: ClassVar[str] = "CausalLM"
    monitor: ClassVar[str] = "loss"
    lower_is_better: ClassVar[bool] = True
    columns: ClassVar[Mapping[str, Sequence[str]]] = {
        "text": ("text", "sentence", "content", "document", "review", "article", "body")
    }
    running_text: ClassVar[bool] = True
    scored_with: ClassVar[Sequence[str]] = ("words", "bytes", "context", "stride")

    def monitors(self, labels: Sequence[str]) -> Sequence[str]:
        perplexities = ("perplexity_per_token", "perplexity_per_word", "bits_per_byte")
        return ("loss", *perplexities, "accuracy", "accuracy_top5")

    def encode(
        self, rows: dict[str, list[Any]], tokenizer: PreTrainedTokenizerBase, max_length: int, labels: list[str]
    ) -> dict[str, Any]:
        end = end_token(tokenizer)
        ids = tokenizer(rows["text"], add_special_tokens=False, return_attention_mask=False, verbose=False)["input_ids"]
        return {
            "input_ids": [[*tokens, end] for tokens in ids],
            "truncated": [False] * len(ids),
            "words": [len(text.split()) + 1 for text in rows["text"]],
            "bytes": [len(text.encode()) + 1 for text in rows["text"]],
        }

    def arrange(
        self,
        split: Dataset,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        rows: int,
        running: bool,
        training: bool,
    ) -> Streams | Blocks:
        """If the model has a state, windows that carry it from one to the next; else blocks of the tokenizer's maximum
        length."""
        tokens, length = Tokens(split, end_token(tokenizer), running), int(tokenizer.model_max_length)
        if not hasattr(model, "new_cache"):
            return Blocks(tokens, length, None if training else max(1, length // 2))
        window = length if training else max(1, EVALUATION_TOKENS // rows)
        return Streams(tokens, rows, window, at_borders=not training)

    def collate(self, rows: Arrays, tokenizer: PreTrainedTokenizerBase) -> tuple[Batch, int]:
        batch = {name: torch.from_numpy(array) for name, array in rows.items()}
        # The labels are already shifted: each is at the position that predicts it.
        batch["shift_labels"] = batch["labels"]
        return batch, int((batch["labels"] != IGNORED).sum())

    def outcome(self, outputs: Any, batch: Batch) -> dict[str, Any]:
        logits, labels = outputs.logits, batch["labels"]  # (B, T, V), (B, T)
        scored = labels != IGNORED
        nll = F.cross_entropy(logits.flatten(0, 1).float(), labels.flatten(), ignore_index=IGNORED, reduction="none")
        # The label's rank is the number of tokens with a greater logit.
        own = logits.gather(2, labels.clamp(min=0)[..., None])
        rank = (logits > own).sum(dim=-1)
        return {
            "nll": nll.view_as(labels).double().sum(dim=1),
            "tokens": scored.sum(dim=1),
            "first": (scored & (rank < 1)).sum(dim=1),
            "in_five": (scored & (rank < LIKELIEST)).sum(dim=1),
        }

    def score(self, outcome: dict[str, Any], labels: list[str]) -> dict[str, Any]:
        nll, tokens = math.fsum(outcome["nll"]), int(outcome["tokens"].sum())
        return {
            "loss": nll / tokens,
            "perplexity_per_token": _exp(nll / tokens),
            "perplexity_per_word": _exp(nll / outcome["words"]),
            "bits_per_byte": nll / math.log(2) / outcome["bytes"],
            "accuracy": int(outcome["first"].sum()) / tokens,
            "accuracy_top5": int(outcome["in_five"].sum()) / tokens,
            "tokens": tokens,
            "words": int(outcome["words"]),
            "bytes": int(outcome["bytes"]),
            "context": outcome["context"],
            "stride": outcome["stride"],
        }

    def rows(self, outcome: dict[str, Any], labels: list[str]) -> Iterator[dict[str, Any]]:
        """A row per window or block of text: summed `nll` of its `tokens`, and how many of them the model ranked
        `first` or `in_five`. Rows of two models correspond only if the models read the text in the same windows: with
        the same tokenizer, data.max_length and, for models that carry a state, batch size."""
        return super().rows(outcome, labels)

    def predict(
        self,
        texts: Sequence[str],
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        labels: list[str],
        generate: int | None = None,
    ) -> Iterable[dict[str, Any]]:
        """The five most likely next words of each text and, with `generate`, a greedy continuation of up to so many
        tokens, unknown words included, without the end token."""
        batch = _prompts(texts, tokenizer, 0 if hasattr(model, "new_cache") else (generate or 1)).to(model.device)
        with torch.inference_mode():
            positions = (batch["attention_mask"].cumsum(dim=1) - 1).clamp(min=0)  # padding has no position
            logits = model(**batch, position_ids=positions, logits_to_keep=1).logits[:, -1]
            probabilities, words = logits.float().softmax(dim=-1).topk(min(LIKELIEST, logits.shape[-1]))
            continued = None
            if generate:
                continued = model.generate(
                    input_ids=batch["input_ids"],
                    attention_mask=batch["attention_mask"],
                    max_new_tokens=generate,
                    do_sample=False,
                    pad_token_id=tokenizer.pad_token_id,
                    eos_token_id=end_token(tokenizer),
                )[:, batch["input_ids"].shape[1] :]
        for row, text in enumerate(texts):
            pairs = zip(words[row].tolist(), probabilities[row].tolist(), strict=True)
            answer: dict[str, Any] = {
                "text": text,
                "next": [{"word": _shown(tokenizer.decode([word])), "probability": p} for word, p in pairs],
            }
            if continued is not None:
                answer["continuation"] = _continuation(continued[row].tolist(), tokenizer)
            yield answer


def _shown(word: str) -> str:
    """`word` without blanks around it, unless it is one."""
    return word.strip() or word


def _continuation(tokens: list[int], tokenizer: PreTrainedTokenizerBase) -> str:
    """New tokens up to the end token as text. Skipping special tokens would lose unknown words."""
    end = end_token(tokenizer)
    return tokenizer.decode(tokens[: tokens.index(end)] if end in tokens else tokens).strip()


def _exp(value: float) -> float:
    return math.exp(value) if value < 700 else math.inf


def end_token(tokenizer: PreTrainedTokenizerBase) -> int:
    """The end-of-text token.

    Raises:
        UserError: the tokenizer has none.
    """
    for token in (tokenizer.eos_token_id, tokenizer.sep_token_id):
        if token is not None:
            return token
    raise UserError("data.tokenizer: it has no end-of-text token, which next_word needs; set it to bpe or whitespace")


def _prompts(texts: Sequence[str], tokenizer: PreTrainedTokenizerBase, room: int) -> Any:
    """Token ids of the texts, each after the end token as in training, padded on the left. With `room`, long texts keep
    their last tokens only, so that a model of fixed length can write `room` more."""
    end, keep = end_token(tokenizer), max(1, int(tokenizer.model_max_length) - room) if room else None
    rows = tokenizer(list(texts), add_special_tokens=False, return_attention_mask=False, verbose=False)["input_ids"]
    rows = [[end, *row] for row in rows]
    if keep:
        rows = [row[-keep:] for row in rows]
    return tokenizer.pad({"input_ids": rows}, padding_side="left", return_tensors="pt")
