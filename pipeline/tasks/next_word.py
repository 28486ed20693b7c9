"""Predicting the next word: perplexity, accuracy, and continuations of texts."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch.nn import functional as F
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from pipeline.config.distil import Distil
from pipeline.data.fingerprints import of_vocabulary
from pipeline.data.streams import EVALUATION_TOKENS, Arrays, Blocks, Streams, Tokens
from pipeline.errors import UserError
from pipeline.metrics.scores import perplexity
from pipeline.models.recurrent.crf import IGNORED
from pipeline.models.transformers_from_scratch import end_token as end_of_text
from pipeline.predictions import ROWS_PER_GROUP, Predictions
from pipeline.tasks import next_word_teacher
from pipeline.tasks.base import Batch, Task, rows_of
from pipeline.tasks.batching import batches_by_length
from pipeline.tasks.teacher_hooks import LabelLosses, Student, Teacher, TeacherLosses

if TYPE_CHECKING:
    from datasets import Dataset

LIKELIEST = 5
ROWS_PER_BATCH = 64  # of `predict`
# How the tokens of a split were predicted, and whether its rows are lines of one text, which depend on one another.
SETTINGS = ("context", "stride", "running")


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
    rows_at_once: ClassVar[int] = 2048
    scored_with: ClassVar[Sequence[str]] = ("words", "bytes", "tokens", "starts", *SETTINGS)

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

    def check_teacher(self, teacher: Teacher, student: Student) -> None:
        next_word_teacher.check(teacher, student)

    def answers_for(self, student: Student) -> Any:
        return [next_word_teacher.KEPT, next_word_teacher.DRAWN, of_vocabulary(student.tokenizer)]

    def teacher_answers(self, contents: Sequence[str], teacher: Teacher, student: Student) -> list[np.ndarray]:
        """(tokens, numbers), see `next_word_teacher.answers`."""
        return next_word_teacher.answers(contents, teacher, end_token(teacher.tokenizer))

    def teacher_column(self, encoded: pa.Table, answers: pa.ChunkedArray, student: Student) -> pa.ChunkedArray:
        return answers  # a row of the data is an encoded row

    def teacher_losses(self, outputs: Any, batch: Batch, settings: Distil, label_losses: LabelLosses) -> TeacherLosses:
        return next_word_teacher.losses(outputs, batch, settings, label_losses)

    def outcome(self, outputs: Any, batch: Batch) -> dict[str, Any]:
        logits, labels = outputs.logits, batch["labels"]  # (B, T, V), (B, T)
        scored = labels != IGNORED
        nll = F.cross_entropy(logits.flatten(0, 1).float(), labels.flatten(), ignore_index=IGNORED, reduction="none")
        # The label's rank is the number of tokens with a greater logit.
        own = logits.gather(2, labels.clamp(min=0)[..., None])
        rank = (logits > own).sum(dim=-1)
        counts = scored.sum(dim=1)
        return {
            "token_nll": (nll.view_as(labels)[scored], counts),
            "rank": (rank.clamp(max=LIKELIEST)[scored].to(torch.uint8), counts),
        }

    def joined(self, outcome: dict[str, Any]) -> dict[str, Any]:
        """The figures of the tokens in the order of the text, whatever windows or blocks have read them, and the summed
        `nll` of each row of the data, a document or a line."""
        starts, tokens = outcome.pop("starts"), outcome["tokens"]
        nll, counts = outcome["token_nll"]
        # Place of each token in the text: the scored tokens of a window are consecutive.
        at = np.repeat(starts - (np.cumsum(counts) - counts), counts) + np.arange(len(nll))
        for name, values in outcome.items():
            if isinstance(values, tuple):  # a figure of each token
                outcome[name] = np.empty_like(values[0])
                outcome[name][at] = values[0]
        begins = np.cumsum(tokens) - tokens
        return {**outcome, "nll": np.add.reduceat(outcome["token_nll"], begins, dtype=np.float64)}

    def score(self, outcome: dict[str, Any], labels: list[str]) -> dict[str, Any]:
        rank = outcome["rank"]
        hits = {"first": int((rank < 1).sum()), "in_five": int((rank < LIKELIEST).sum())}
        totals = {name: int(outcome[name].sum(dtype=np.int64)) for name in ("tokens", "words", "bytes")}
        return _scores(outcome["nll"], {**hits, **totals}, self.scored_by(outcome, labels))

    def scored_by(self, outcome: dict[str, Any], labels: list[str]) -> dict[str, Any]:
        return {name: outcome[name] for name in SETTINGS}

    def rows(self, outcome: dict[str, Any], labels: list[str]) -> Iterator[dict[str, Any]]:
        """A row per document or, of a running text, per line: its `tokens`, `words` and `bytes`, the summed `nll` and
        that of each token, and how many tokens the model ranked `first` or `in_five`. They are the same whatever
        windows the model has read the text in."""
        return rows_of(self.records(outcome, labels))

    def records(self, outcome: dict[str, Any], labels: list[str]) -> Iterator[pa.RecordBatch]:
        ends = np.cumsum(outcome["tokens"])
        for start in range(0, len(ends), ROWS_PER_GROUP):
            rows = slice(start, start + ROWS_PER_GROUP)
            begins = (ends - outcome["tokens"])[rows]
            tokens = slice(begins[0], ends[rows][-1])
            begins = begins - begins[0]
            offsets = pa.array(np.append(begins, tokens.stop - tokens.start), pa.int32())
            rank, nll = outcome["rank"][tokens], outcome["token_nll"][tokens]
            hits = {"first": rank < 1, "in_five": rank < LIKELIEST}
            columns = {name: outcome[name][rows] for name in ("words", "bytes", "tokens")}
            columns |= {name: np.add.reduceat(hit, begins, dtype=np.int32) for name, hit in hits.items()}
            yield pa.RecordBatch.from_pydict(
                {
                    "id": pa.array(np.arange(start, start + len(begins))),
                    **{name: pa.array(values, pa.int32()) for name, values in columns.items()},
                    "nll": pa.array(outcome["nll"][rows]),
                    "token_nll": pa.ListArray.from_arrays(offsets, pa.array(nll)),
                }
            )

    def score_rows(self, rows: Predictions) -> dict[str, Any]:
        names = ("first", "in_five", "tokens", "words", "bytes")
        totals = {name: pc.sum(rows.table[name]).as_py() for name in names}
        return _scores(rows.table["nll"].to_numpy(), totals, rows.info.settings)

    def predict(
        self,
        texts: Sequence[str],
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        labels: list[str],
        generate: int | None = None,
    ) -> Iterable[dict[str, Any]]:
        """The five most likely next words of each text and, with `generate`, a greedy continuation of up to that many
        tokens, unknown words included, without the end token.

        Raises:
            UserError: the model reads no more than `generate` tokens, which leaves none for the text.
        """
        room, longest = 0 if hasattr(model, "new_cache") else (generate or 1), int(tokenizer.model_max_length)
        if generate and longest <= room:
            raise UserError(f"generate: the model reads {longest} tokens at most; ask for fewer than that")
        prompts = _prompts(texts, tokenizer, room)
        found: dict[int, dict[str, Any]] = {}
        for chosen in batches_by_length([*map(len, prompts)], ROWS_PER_BATCH):
            answers = _continued([prompts[row] for row in chosen], model, tokenizer, generate)
            found.update(zip(chosen, answers, strict=True))
        for row, text in enumerate(texts):
            yield {"text": text, **found[row]}


def _continued(
    prompts: Sequence[Sequence[int]], model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, generate: int | None
) -> Iterator[dict[str, Any]]:
    """The answers to a batch of prompts; see `NextWord.predict`."""
    batch = tokenizer.pad({"input_ids": prompts}, padding_side="left", return_tensors="pt").to(model.device)
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
    for row in range(len(prompts)):
        pairs = zip(words[row].tolist(), probabilities[row].tolist(), strict=True)
        likely = [{"word": _shown(tokenizer.decode([word])), "probability": p} for word, p in pairs]
        answer: dict[str, Any] = {"next": likely}
        if continued is not None:
            answer["continuation"] = _continuation(continued[row].tolist(), tokenizer)
        yield answer


def _scores(nll: np.ndarray, totals: dict[str, int], settings: dict[str, Any]) -> dict[str, Any]:
    """Scores from the NLL of each row and the sums of the other columns."""
    total, tokens = math.fsum(nll), totals["tokens"]
    return {
        "loss": total / tokens,
        "perplexity_per_token": perplexity(total / tokens),
        "perplexity_per_word": perplexity(total / totals["words"]),
        "bits_per_byte": total / math.log(2) / totals["bytes"],
        "accuracy": totals["first"] / tokens,
        "accuracy_top5": totals["in_five"] / tokens,
        **{name: totals[name] for name in ("tokens", "words", "bytes")},
        "context": settings["context"],
        "stride": settings["stride"],
        **({"cache": settings["cache"]} if "cache" in settings else {}),
    }


def _shown(word: str) -> str:
    """`word` without blanks around it, unless it is one."""
    return word.strip() or word


def _continuation(tokens: list[int], tokenizer: PreTrainedTokenizerBase) -> str:
    """New tokens up to the end token as text. Skipping special tokens would lose unknown words."""
    end = end_token(tokenizer)
    return tokenizer.decode(tokens[: tokens.index(end)] if end in tokens else tokens).strip()


def end_token(tokenizer: PreTrainedTokenizerBase) -> int:
    """The end-of-text token.

    Raises:
        UserError: the tokenizer has none.
    """
    token = end_of_text(tokenizer)
    if token is None:
        message = "it has no end-of-text token, which next_word needs; set it to bpe or whitespace"
        raise UserError(f"data.tokenizer: {message}")
    return token


def _prompts(texts: Sequence[str], tokenizer: PreTrainedTokenizerBase, room: int) -> list[list[int]]:
    """Token ids of the texts, each after the end token as in training. With `room`, long texts keep their last tokens
    only, so that a model of fixed length can write `room` more."""
    end, keep = end_token(tokenizer), max(1, int(tokenizer.model_max_length) - room) if room else None
    rows = tokenizer(list(texts), add_special_tokens=False, return_attention_mask=False, verbose=False)["input_ids"]
    rows = [[end, *row] for row in rows]
    return [row[-keep:] for row in rows] if keep else rows
