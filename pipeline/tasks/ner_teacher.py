"""Named entities from a teacher: what it says about words, and what that costs a student.

The teacher reads the same words, and its first token of a word speaks for the word, whatever tokens the student reads.
A CRF says how probable each tag of a word is by its marginals, any other model by its softmax.

Shapes: B windows of a batch, T time, C tags of the student, K tags of the teacher, W words, M tokens with an answer.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from pipeline.config.distil import Distil
from pipeline.data.bucketing import jagged
from pipeline.data.gathering import EncodedRows
from pipeline.data.rows import whole
from pipeline.data.tagging.tag_distributions import PieceMap, TagMap, independent, tag_map
from pipeline.data.tokenization.word_alignment import ranges
from pipeline.errors import UserError
from pipeline.models.recurrent.crf import IGNORED
from pipeline.models.recurrent.crf_inference import (
    IMPOSSIBLE,
    Weights,
    compact_rows,
    log_marginals,
    log_pair_marginals,
)
from pipeline.tasks.base import Batch
from pipeline.tasks.teacher_hooks import LabelLosses, Student, Teacher, TeacherLosses
from pipeline.training import divergences

# The least logarithm of a probability in an answer, so that all losses are finite: exp(-30) is below float32's rounding
# of 1.
FLOOR = -30.0


def check(teacher: Teacher, student: Student) -> None:
    """Refuse a teacher whose answers the student cannot learn from.

    Raises:
        UserError: it does not tag words, knows other types of entities, or has a CRF without its weights.
    """
    if "tags" not in teacher.task.columns:
        raise UserError("distil.teacher: it does not tag words, and the task ner does; name another")
    tag_map(tuple(teacher.labels), tuple(student.labels))
    config: Any = teacher.model.config
    if (getattr(config, "crf", False) or config.model_type == "crf_tagger") and _crf(teacher.model) is None:
        raise UserError("distil.teacher: it is the export of a CRF, which has no marginals; name its run instead")


def _crf(model: Any) -> torch.nn.Module | None:
    found = getattr(model, "crf", None)
    return found if isinstance(found, torch.nn.Module) else None


@contextlib.contextmanager
def emissions(model: Any) -> Iterator[None]:
    """Within it, a CRF of `model` returns its emissions and its chain, as in training, and does not search for the best
    path; all else stays in evaluation mode."""
    crf = _crf(model)
    if crf is not None:
        crf.train()
    try:
        yield
    finally:
        if crf is not None:
            crf.eval()


class Answers:
    """What a teacher says about the words of some sentences, collected in any order of their windows.

    Args:
        pieces: tokens of the own words of each window, see `Ner.encode`.
    """

    def __init__(self, teacher: Teacher, student: Student, pieces: pa.ListArray):
        self._map: TagMap = tag_map(tuple(teacher.labels), tuple(student.labels))
        self._begins = pieces.offsets.to_numpy()  # the number of the first own word of each window
        self._has_answer = pieces.flatten().to_numpy() > 0
        self._tags = np.zeros((len(self._has_answer), self._map.size))  # logarithms
        self._steps: dict[int, np.ndarray] = {}  # word -> (K, K), with the next one

    def add(self, chosen: Sequence[int], rows: EncodedRows, outputs: Any) -> None:
        """The windows with the numbers `chosen`, as `Ner.encode` returns them, and what the model returned for them."""
        first, counts = jagged(rows["first"])
        window = np.repeat(np.arange(len(counts)), counts)
        words = ranges(self._begins[list(chosen)], counts)
        self._tags[words] = log_probabilities(outputs).double().cpu().numpy()[window, first]
        if getattr(outputs, "chain", None) is not None:
            # A special token has no tag, and a masked word may be one.
            is_tagged = outputs.chain.mask.cpu().numpy()[window, first]
            self._has_answer[words] &= is_tagged
            if not self._map.is_reordering:
                self._add_steps(outputs, words, first, np.where(is_tagged, window, -1))

    def _add_steps(self, outputs: Any, words: np.ndarray, first: np.ndarray, window: np.ndarray) -> None:
        """How probable the tags of two words are that one window reads one after the other: between their first tokens,
        the chain goes through the other tokens of the first word.

        Args:
            window: of each word, -1 if it has no tag.
        """
        mask = outputs.chain.mask
        rows = compact_rows(mask)
        logs = log_pair_marginals(rows.gather(outputs.logits.float()), Weights(*outputs.chain[1:]), rows)
        pairs = logs.exp().cpu().numpy()  # (T - 1, B, K, K), of the tokens that have a tag
        places = (mask.cumsum(dim=1) - 1).cpu().numpy()[window, first]
        for word in np.flatnonzero((window[1:] == window[:-1]) & (window[1:] >= 0)).tolist():
            step, *inner = pairs[places[word] : places[word + 1], window[word]]
            for pair in inner:
                before = pair.sum(axis=1, keepdims=True)
                step = step @ np.divide(pair, before, out=np.zeros_like(pair), where=before > 0)
            self._steps[int(words[word])] = step

    def of_sentences(self, sizes: list[int]) -> list[np.ndarray]:
        """(W, C) float32 of each sentence: the logarithms of the probabilities of the student's tags, at least `FLOOR`,
        or NaN for a word without an answer.

        Args:
            sizes: words of each sentence.
        """
        found = self._map.reorder(self._tags) if self._map.is_reordering else self._read(sizes)
        found = np.where(self._has_answer[:, None], np.maximum(found, FLOOR), np.nan).astype(np.float32)
        return np.split(found, np.cumsum(sizes)[:-1])

    def _read(self, sizes: list[int]) -> np.ndarray:
        tags = np.exp(self._tags)
        steps = independent(tags)
        for word, step in self._steps.items():
            steps[word] = step
        ends = np.cumsum(sizes)
        parts = [
            self._map.read(tags[start:end], steps[start : max(end - 1, start)])
            for start, end in zip(ends - sizes, ends, strict=True)
        ]
        with np.errstate(divide="ignore"):
            return np.log(np.concatenate(parts))


def column(encoded: pa.Table, answers: pa.Array | pa.ChunkedArray, student: Student) -> pa.LargeListArray:
    """For each window T * C logarithms of probabilities; NaN at tokens without an answer, such as special ones. That is
    4 * C bytes a token: 3.6 kB for a tweet of 22 words and 41 tags."""
    size, lengths = len(student.labels), encoded["length"].to_numpy()
    (first, counts), (pieces, _) = jagged(encoded["first"]), jagged(encoded["pieces"])
    words, pieces = whole(answers).flatten().to_numpy().reshape(-1, size), np.maximum(pieces, 1)
    if pieces.max(initial=1) > 1:
        spread = PieceMap(student.labels).spread(np.exp(words), pieces)
        words = np.where(np.isnan(spread), np.nan, np.log(np.maximum(spread, np.exp(FLOOR))))
    ends = np.cumsum(lengths, dtype=np.int64)
    tokens = np.full((int(ends[-1]) if len(ends) else 0, size), np.nan, dtype=np.float32)
    tokens[ranges(first + np.repeat(ends - lengths, counts), pieces)] = words
    offsets = np.concatenate([[0], ends]) * size  # of a large split, too great for 32 bits
    return pa.LargeListArray.from_arrays(pa.array(offsets, pa.int64()), pa.array(tokens.ravel()))


def padded(answers: pa.ChunkedArray, lengths: np.ndarray) -> Tensor:
    """(B, T, C) of what `column` made of the rows of a batch, padded with NaN on the right."""
    tokens = whole(answers).flatten().to_numpy().reshape(int(lengths.sum()), -1)
    found = np.full((len(lengths), int(lengths.max()), tokens.shape[1]), np.nan, dtype=np.float32)
    found[np.arange(found.shape[1]) < lengths[:, None]] = tokens
    return torch.from_numpy(found)


def is_answered(teacher: Tensor) -> Tensor:
    """(B, T) where there is an answer in `padded` ones."""
    return ~teacher[..., 0].isnan()


def log_probabilities(outputs: Any) -> Tensor:
    """(B, T, C) logarithms of the probability of each tag, with gradients: the log-softmax of the logits or, of a CRF
    that returns its chain, the log-marginals, `IMPOSSIBLE` where no valid sequence has the tag."""
    scores, chain = outputs.logits.float(), getattr(outputs, "chain", None)
    if chain is None:
        return scores.log_softmax(dim=-1)
    rows = compact_rows(chain.mask)
    found = log_marginals(rows.gather(scores), Weights(*chain[1:]), rows)
    return rows.scatter(found.clamp(min=IMPOSSIBLE), scores.log_softmax(dim=-1))


def losses(outputs: Any, batch: Batch, settings: Distil, label_losses: LabelLosses) -> TeacherLosses:
    """What each of the M tokens with an answer costs.

    Without a CRF, the student's softmax is compared with the teacher's distribution. With a CRF, its marginals are:
    the loss is sum_t KL(p_t || q_t), where p_t is the teacher's distribution over the tags of a token and q_t(c) is the
    sum of the student's probabilities of all sequences with the tag c there (posterior distillation, Wang et al. 2020).
    Fractional targets need no valid sequence that way, and its minimum is where the marginals are the teacher's.
    A tag that no valid sequence has at a token, such as I-x at the first, is left out of both distributions; a token at
    which the teacher gives such tags more than half of the probability costs nothing.

    The NLL of a CRF is that of a sentence, in equal shares for its labelled tokens.
    """
    answered = is_answered(batch["teacher"])
    teacher, labels = batch["teacher"][answered], batch["labels"][answered]
    student, labelled = log_probabilities(outputs)[answered], labels != IGNORED
    if getattr(outputs, "chain", None) is None:
        hard = label_losses(outputs.logits[answered], labels)
        return TeacherLosses(divergences.of_classes(student, teacher, settings), hard, labelled)
    never = student <= IMPOSSIBLE
    mass = teacher.exp().masked_fill(never, 0.0).sum(dim=-1, keepdim=True)
    teacher = torch.where(mass < 0.5, student.detach(), teacher.masked_fill(never, IMPOSSIBLE))
    counts = (answered & (batch["labels"] != IGNORED)).sum(dim=1).clamp(min=1)
    shares = (outputs.nll / counts)[:, None].expand(answered.shape)[answered]
    return TeacherLosses(divergences.of_classes(student, teacher, settings), shares * labelled, labelled)
