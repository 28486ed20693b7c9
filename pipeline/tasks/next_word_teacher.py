"""The next token from a teacher with the same vocabulary: some of its probabilities, and what they cost a student.

An answer holds the `KEPT` likeliest tokens at each place and, for all that are left, `DRAWN` tokens that are drawn in
proportion to their probabilities. The likeliest alone would be a biased target: a GPT-2 of 8,000 words of film reviews
gives 43% of the probability to others, about which the student would learn nothing. With those that are drawn, the
expected loss and its gradient are those over the whole vocabulary (Anshumann et al. 2025, arXiv 2503.16870; they draw
all tokens).

Shapes: B rows of a batch, T time, V vocabulary, K = KEPT, R = DRAWN, N tokens of a text, M places of a batch.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pipeline.config.distil import Distil
from pipeline.data.streams import EVALUATION_TOKENS, slide
from pipeline.errors import UserError
from pipeline.models.recurrent.crf import IGNORED
from pipeline.tasks.base import Batch
from pipeline.tasks.teacher_hooks import LabelLosses, Student, Teacher, TeacherLosses

# An answer has the ids of K + R tokens, their log-probabilities, and that of all but the K likeliest: 260 bytes a token
# on disk, 260 MB a million tokens. In memory are those of about a thousand texts (distil.answers.CHUNK and
# encoding.ROWS_PER_BATCH) until the rows are written, and of a batch in training.
KEPT, DRAWN = 24, 8
TOKENS = KEPT + DRAWN
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
    """(N, 2 (K + R) + 1) float32 for each text, ended by the token `end`: see `KEPT`, given what precedes each token in
    its text. What is drawn depends on the text alone.

    A model with a state reads a text as a whole. Another one reads it in windows of its length, and each token but the
    first ones has at least half a window before it, as in an evaluation.
    """
    encoded = teacher.tokenizer(list(texts), add_special_tokens=False, return_attention_mask=False, verbose=False)
    rows = [[end, *ids, end] for ids in encoded["input_ids"]]
    read = _in_state if hasattr(teacher.model, "new_cache") else _in_windows
    return read(rows, [_chance(row) for row in rows], teacher)


def _chance(row: list[int]) -> np.ndarray:
    """(N,) numbers in [0, 1) that decide what is drawn."""
    return np.random.Generator(np.random.PCG64(zlib.crc32(np.array(row, np.int32).tobytes()))).random(len(row) - 1)


def _in_state(rows: list[list[int]], chances: list[np.ndarray], teacher: Teacher) -> list[np.ndarray]:
    """A few tokens of all texts at a time; each model call starts from the state that the one before has left."""
    model: Any = teacher.model
    inputs, chance = _padded([row[:-1] for row in rows]), _padded(chances)
    cache, found, step = model.new_cache(), [], max(1, EVALUATION_TOKENS // len(rows))
    for start in range(0, inputs.shape[1], step):
        part = slice(start, start + step)
        outputs = model(input_ids=inputs[:, part].to(model.device), past_key_values=cache, use_cache=True)
        cache = outputs.past_key_values
        found.append(_chosen(_of_tokens(outputs, teacher), chance[:, part]))
    whole = np.concatenate(found, axis=1)
    return [own[: len(row) - 1] for own, row in zip(whole, rows, strict=True)]


def _in_windows(rows: list[list[int]], chances: list[np.ndarray], teacher: Teacher) -> list[np.ndarray]:
    length = int(teacher.tokenizer.model_max_length)
    stride = max(1, length // 2)
    spans = [(row, *span) for row, ids in enumerate(rows) for span in slide(0, len(ids) - 1, length, stride)]
    at_once = max(1, EVALUATION_TOKENS // min(length, max(map(len, rows))))
    found: list[list[np.ndarray]] = [[] for _ in rows]
    for first in range(0, len(spans), at_once):
        part = spans[first : first + at_once]
        inputs = _padded([rows[row][start:stop] for row, start, _, stop in part])
        chance = _padded([chances[row][start:stop] for row, start, _, stop in part])
        # Padding is on the right, where no token looks.
        outputs = teacher.model(input_ids=inputs.to(teacher.model.device))
        chosen = _chosen(_of_tokens(outputs, teacher), chance)
        for own, (row, start, scored, stop) in zip(chosen, part, strict=True):
            found[row].append(own[scored - start : stop - start])
    return [np.concatenate(parts) for parts in found]


def _padded(rows: Sequence[Any]) -> Tensor:
    """(B, T) of rows of numbers, padded with 0 on the right."""
    width = max(map(len, rows))
    return torch.from_numpy(np.stack([np.pad(row, (0, width - len(row))) for row in rows]))


def _of_tokens(outputs: Any, teacher: Teacher) -> Tensor:
    """The logits (B, T, V) of the tokens. Some models have more, so that their number is a multiple of 64."""
    return outputs.logits[..., : len(teacher.tokenizer)]


def _chosen(logits: Tensor, chance: Tensor) -> np.ndarray:
    """(B, T, 2 (K + R) + 1) of (B, T, V) and (B, T), see `answers`; ids below 2^24 are exact in float32."""
    logs = logits.float().log_softmax(dim=-1)
    size = min(KEPT, logs.shape[-1])
    top, ids = logs.topk(size, dim=-1)
    others = logs.scatter(-1, ids, float("-inf"))
    rest = others.logsumexp(dim=-1, keepdim=True).clamp(min=NEVER)
    # Systematic sampling: R equidistant points on the line on which each token is as long as its share of the rest. A
    # token is drawn in proportion to it, and hardly more often than that, whatever the draw.
    line = (others - rest).double().exp().cumsum(dim=-1)
    points = (torch.arange(DRAWN, device=logs.device) + chance.to(logs.device)[..., None]) / DRAWN
    drawn = torch.searchsorted(line, points * line[..., -1:], right=True).clamp(max=logs.shape[-1] - 1)
    known = [top, logs.gather(-1, drawn)]
    if missing := KEPT - size:  # a smaller vocabulary
        ids = torch.nn.functional.pad(ids, (0, missing))
        known[0] = torch.nn.functional.pad(top, (0, missing), value=NEVER)
    return torch.cat([ids.float(), drawn.float(), *known, rest], dim=-1).cpu().numpy()


def losses(outputs: Any, batch: Batch, settings: Distil, label_losses: LabelLosses) -> TeacherLosses:
    """What each of the M labelled tokens costs.

    With the probabilities p of the teacher and q of the student, it is the sum of p (log p - log q) over the likeliest
    tokens, and the mean of log p - log q over those that were drawn, times the probability of all that are left. Its
    expectation is KL(p || q).
    """
    labels = batch["labels"]
    labelled = labels != IGNORED
    teacher, logits = batch["teacher"][labelled], outputs.logits[labelled]  # (M, 2 (K + R) + 1), (M, V)
    ids, known, rest = teacher[:, :TOKENS].long(), teacher[:, TOKENS:-1], teacher[:, -1:]
    weights = torch.cat([known[:, :KEPT].exp(), (rest.exp() / DRAWN).expand(-1, DRAWN)], dim=1)
    soft = (weights * (known - logits.float().log_softmax(dim=-1).gather(1, ids))).sum(dim=1)
    hard = label_losses(logits, labels[labelled]) if settings.hard_share else torch.zeros_like(soft)
    return TeacherLosses(soft, hard, torch.ones_like(soft, dtype=torch.bool))
