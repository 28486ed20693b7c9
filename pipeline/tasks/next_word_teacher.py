"""The next token from a teacher with the same vocabulary: its most likely tokens, and what they cost a student.

An answer holds the `KEPT` likeliest tokens at each place, their log-probabilities, and that of all other tokens
together. The loss is the divergence over these `KEPT` + 1 events. By the log-sum inequality it is at most that over the
whole vocabulary, and the difference is p KL(P || Q), where p is the teacher's probability of all other tokens and P and
Q are the distributions of teacher and student among them (Cover & Thomas 2006, section 2.7).

Shapes: B rows of a batch, T time, V vocabulary, K tokens kept, N tokens of a text, M places of a batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pipeline.config.distil import Distil
from pipeline.data.streams import EVALUATION_TOKENS, slide
from pipeline.errors import UserError
from pipeline.models.recurrent.crf import IGNORED
from pipeline.tasks.base import Batch, LabelLosses, Student, Teacher, TeacherLosses
from pipeline.training import divergences

# 4 * (2 * KEPT + 1) = 260 bytes a token on disk, 260 MB a million tokens, and as much in memory for the batch alone.
KEPT = 32
# The logarithm of a probability of 0, so that all losses are finite: exp(-1e4) is 0.
NEVER = -1e4


def check(teacher: Teacher, student: Student) -> None:
    """Refuse a teacher whose tokens are not those of the student.

    Raises:
        UserError: as above, or its task is another one.
    """
    if teacher.task.head != "CausalLM":
        raise UserError("distil.teacher: it does not predict the next word; name another")
    if not _is_same(teacher.tokenizer, student.tokenizer):
        raise UserError(
            "distil.teacher: its tokens are not those of the student, so their probabilities cannot be compared; set"
            " data.tokenizer to the teacher's folder, or train on text that it has written: finetune predict TEACHER"
            " --input PROMPTS.txt --generate 60 --output written.jsonl, then --data.source written.jsonl"
            " --data.text-column continuation without a teacher"
        )


def _is_same(one: Any, other: Any) -> bool:
    """Whether two tokenizers have the same tokens by id, and cut these and a sentence alike. How they spell a token for
    themselves may differ: a saved one is in the form that its kind of model has."""
    if len(one) != len(other):
        return False
    words, others = ([own.decode([token]).strip() for token in range(len(own))] for own in (one, other))
    texts = ["It's  a naïve Test , 12.5 \n - really!", *words]
    cut, cut_by_other = (own(texts, add_special_tokens=False, verbose=False)["input_ids"] for own in (one, other))
    return words == others and cut == cut_by_other


def answers(texts: Sequence[str], teacher: Teacher, end: int) -> list[np.ndarray]:
    """(N, 2 K + 1) float32 for each text, ended by the token `end`: at each of its tokens the ids and log-probabilities
    of the likeliest tokens there and the log-probability of all others, given what precedes it in its text.

    A model with a state reads a text as a whole. Another one reads it in windows of its length, and each token but the
    first ones has at least half a window before it, as in an evaluation. Fewer ids than K are filled up with the first.
    """
    encoded = teacher.tokenizer(list(texts), add_special_tokens=False, return_attention_mask=False, verbose=False)
    rows = [[end, *ids, end] for ids in encoded["input_ids"]]
    read = _in_state if hasattr(teacher.model, "new_cache") else _in_windows
    return read(rows, teacher)


def _in_state(rows: list[list[int]], teacher: Teacher) -> list[np.ndarray]:
    """A few tokens of all texts at a time; each model call starts from the state that the one before has left."""
    model: Any = teacher.model
    inputs, step = _padded([row[:-1] for row in rows]), max(1, EVALUATION_TOKENS // len(rows))
    cache, found = model.new_cache(), []
    for start in range(0, inputs.shape[1], step):
        part = inputs[:, start : start + step].to(model.device)
        outputs = model(input_ids=part, past_key_values=cache, use_cache=True)
        cache = outputs.past_key_values
        found.append(_likeliest(outputs.logits))
    whole = np.concatenate(found, axis=1)
    return [own[: len(row) - 1] for own, row in zip(whole, rows, strict=True)]


def _in_windows(rows: list[list[int]], teacher: Teacher) -> list[np.ndarray]:
    length = int(teacher.tokenizer.model_max_length)
    spans = [
        (row, *span) for row, ids in enumerate(rows) for span in slide(0, len(ids) - 1, length, max(1, length // 2))
    ]
    at_once = max(1, EVALUATION_TOKENS // min(length, max(map(len, rows))))
    found: list[list[np.ndarray]] = [[] for _ in rows]
    for first in range(0, len(spans), at_once):
        chosen = spans[first : first + at_once]
        inputs = _padded([rows[row][start:stop] for row, start, _, stop in chosen])
        # Padding is on the right, where no token looks.
        likeliest = _likeliest(teacher.model(input_ids=inputs.to(teacher.model.device)).logits)
        for own, (row, start, scored, stop) in zip(likeliest, chosen, strict=True):
            found[row].append(own[scored - start : stop - start])
    return [np.concatenate(parts) for parts in found]


def _padded(rows: list[list[int]]) -> Tensor:
    """(B, T) ids, padded with the first of each row on the right."""
    width = max(map(len, rows))
    return torch.tensor([row + row[:1] * (width - len(row)) for row in rows])


def _likeliest(logits: Tensor) -> np.ndarray:
    """(B, T, 2 K + 1) of (B, T, V), see `answers`; ids below 2^24 are exact in float32."""
    logs = logits.float().log_softmax(dim=-1)
    top, ids = logs.topk(min(KEPT, logs.shape[-1]), dim=-1)
    rest = _rest(logs, ids)
    if missing := KEPT - top.shape[-1]:  # a smaller vocabulary
        ids = torch.cat([ids, ids[..., :1].expand(*ids.shape[:-1], missing)], dim=-1)
        top = torch.cat([top, torch.full_like(top[..., :1], NEVER).expand(*top.shape[:-1], missing)], dim=-1)
    return torch.cat([ids.float(), top, rest[..., None]], dim=-1).cpu().numpy()


def _rest(logs: Tensor, ids: Tensor) -> Tensor:
    """The log-probability of all tokens but `ids`: not from the sum of theirs, which is 1 up to rounding."""
    return logs.scatter(-1, ids, float("-inf")).logsumexp(dim=-1).clamp(min=NEVER)


def losses(outputs: Any, batch: Batch, settings: Distil, label_losses: LabelLosses) -> TeacherLosses:
    """What each of the M labelled tokens costs."""
    labels = batch["labels"]
    labelled = labels != IGNORED
    teacher, logits = batch["teacher"][labelled], outputs.logits[labelled]  # (M, 2 K + 1), (M, V)
    ids, logs = teacher[:, :KEPT].long(), logits.float().log_softmax(dim=-1)
    top = logs.gather(1, ids).masked_fill(teacher[:, KEPT:-1] <= NEVER, NEVER)
    student = torch.cat([top, _rest(logs, ids)[:, None]], dim=1)
    soft = divergences.of_classes(student, teacher[:, KEPT:], settings)
    hard = label_losses(logits, labels[labelled]) if settings.hard_share else torch.zeros_like(soft)
    return TeacherLosses(soft, hard, torch.ones_like(soft, dtype=torch.bool))
