"""Whether a graph returns the logits of its model: for ragged batches, single rows, the longest, and padding in front.

A graph that was recorded from one batch may fit that batch only, and then fail or, worse, answer wrongly.
"""

# Shapes: B batch, T time, C classes, V vocabulary.

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch

from pipeline.data.bucketing import Rows
from pipeline.errors import UserError, reason
from pipeline.export.comparison import Comparison
from pipeline.export.exact import Exact
from pipeline.inference import MANY_TOKENS, Loaded
from pipeline.models.checkpoints import CAUSAL, SEQ2SEQ
from pipeline.models.exported import GRAPH
from pipeline.models.exported_seq2seq import DecoderState, ExportedSeq2SeqLM
from pipeline.models.recurrent.crf import IGNORED

Feed = dict[str, torch.Tensor]
# Tokens of the longest text that is tried with a model that has no limit, and of those that are tried together.
LONGEST = 600
# And with any model: attention takes memory by the square of it.
MOST = 2048
# The windows in which a language model reads: all at once, token by token at first, and one after another.
PIECES = ((24,), (1, 1, 22), (10, 14))


def compare(folder: Path, loaded: Loaded, encoded: Any, exact: Exact, comparison: Comparison) -> None:
    """Run batches of the `encoded` rows (a Dataset) through the model and through the export in `folder`, and add what
    both return to `comparison`.

    Args:
        exact: computes the logits of the model.

    Raises:
        UserError: ONNX Runtime cannot load the graph, or cannot run one of the batches.
    """
    if loaded.task.head == SEQ2SEQ:
        _compare_encoder_decoder(ExportedSeq2SeqLM(folder, threads=1), loaded, encoded, exact, comparison)
        return
    session = open_session(folder / GRAPH)
    if loaded.task.head == CAUSAL:
        _compare_language_model(session, loaded, encoded, exact, comparison)
        return
    for batch in _batches(loaded, encoded):
        given = _read_by(session, batch)
        (found,) = _run(session, given, ["logits"])
        expected = exact.logits({name: values for name, values in batch.items() if name in given})
        comparison.add(expected, found, batch["attention_mask"].numpy())


def longest(tokenizer: Any) -> int:
    """Tokens of the longest text that is tried: as many as the model can read."""
    limit = int(tokenizer.model_max_length)
    return min(limit, MOST) if limit < MANY_TOKENS else LONGEST


def open_session(graph: Any) -> onnxruntime.InferenceSession:
    """A session of one thread that says nothing."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    try:
        return onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its classes have no common base
        raise UserError(f"model: ONNX Runtime cannot load its graph: {reason(error)}") from error


def _batches(loaded: Loaded, encoded: Any) -> Iterator[Feed]:
    """Each of a few rows alone, the shortest first; then all that are not very long, padded behind and in front."""
    split = Rows(encoded)
    order = np.argsort(split.lengths, kind="stable")
    together = order[: max(2, int((split.lengths <= LONGEST).sum()))]
    for rows in (order[:1], order[len(order) // 2 : len(order) // 2 + 1], order[-1:], together):
        batch, _ = loaded.task.collate(split.take(rows), loaded.tokenizer)
        batch.setdefault("attention_mask", torch.ones_like(batch["input_ids"]))
        yield batch
    yield _padded_in_front(batch)


def _padded_in_front(batch: Feed) -> Feed:
    lengths, time = batch["attention_mask"].sum(dim=1), batch["attention_mask"].shape[1]
    places = (torch.arange(time) + lengths[:, None]) % time  # (B, T)
    rows = torch.arange(len(lengths))[:, None]
    return {name: values if name == "labels" else values[rows, places] for name, values in batch.items()}


def _read_by(session: onnxruntime.InferenceSession, batch: Feed) -> Feed:
    """The inputs of the graph; types that a task has left out are those of a first text."""
    blank = {"token_type_ids": torch.zeros_like(batch["input_ids"])}
    return {given.name: (blank | batch)[given.name] for given in session.get_inputs()}


def _run(
    session: onnxruntime.InferenceSession, given: Mapping[str, torch.Tensor], outputs: Sequence[str]
) -> list[np.ndarray]:
    with _failing_on(given["input_ids"]):
        found = session.run(outputs, {name: values.contiguous().numpy() for name, values in given.items()})
    return list(found)


@contextlib.contextmanager
def _failing_on(ids: torch.Tensor) -> Iterator[None]:
    """Say on which tokens (B, T) ONNX Runtime has failed inside."""
    try:
        yield
    except Exception as error:  # its classes have no common base
        rows, tokens = ids.shape
        raise UserError(
            f"model: it cannot be exported: ONNX Runtime fails on {rows} rows of {tokens} tokens: {reason(error)}"
        ) from error


def _compare_language_model(
    session: onnxruntime.InferenceSession, loaded: Loaded, encoded: Any, exact: Exact, comparison: Comparison
) -> None:
    tokens = np.concatenate(encoded["input_ids"]).astype(np.int64)
    most = longest(loaded.tokenizer)
    for rows, pieces in ((1, (1,)), (1, (most,)), *((3, pieces) for pieces in PIECES if sum(pieces) <= most)):
        ids = torch.from_numpy(np.resize(tokens, (rows, sum(pieces))))
        mask = torch.ones_like(ids)
        mask[1:2, : ids.shape[1] // 3] = 0  # padding in front
        positions = (mask.cumsum(dim=1) - 1).clamp(min=0)
        inputs = {"input_ids": ids, "attention_mask": mask, "position_ids": positions}
        comparison.add(exact.logits(inputs), _read_in_pieces(session, inputs, pieces), mask.numpy())


def _read_in_pieces(session: onnxruntime.InferenceSession, inputs: Feed, pieces: Sequence[int]) -> np.ndarray:
    """Logits (B, T, V) of a text of which each piece is read after those before."""
    names, found, start = [given.name for given in session.get_inputs()], [], 0
    past = {given.name: given.shape[1:] for given in session.get_inputs() if given.name.startswith("past")}
    has_cache = any(name.startswith("past_key_values") for name in past)
    rows = len(inputs["input_ids"])
    sizes = {name: [size if isinstance(size, int) else 0 for size in shape] for name, shape in past.items()}
    state = {name: torch.zeros(rows, *size) for name, size in sizes.items()}
    outputs = ["logits", *("present." + name.partition(".")[2] for name in past)]
    for piece in pieces:
        given = {name: values[:, start : start + piece] for name, values in inputs.items() if name in names}
        if has_cache:  # its mask covers what was read before, too
            given["attention_mask"] = inputs["attention_mask"][:, : start + piece]
        logits, *after = _run(session, {**given, **state}, outputs)
        state = dict(zip(past, map(torch.from_numpy, after), strict=True))
        found.append(logits)
        start += piece
    return np.concatenate(found, axis=1)


def _compare_encoder_decoder(
    exported: ExportedSeq2SeqLM, loaded: Loaded, encoded: Any, exact: Exact, comparison: Comparison
) -> None:
    """Compare the logits of true translations, read at once and token by token."""
    for batch in _batches(loaded, encoded):
        labels = batch["labels"]
        expected = exact.logits(batch)  # (B, T, V)
        with _failing_on(batch["input_ids"]):
            source = exported.encoder(batch["input_ids"], batch["attention_mask"])
            at_once = exported(encoder_outputs=source, labels=labels).logits
            given: dict[str, Any] = {"encoder_outputs": source, "past_key_values": DecoderState()}
            words = exported.shifted(labels).split(1, dim=1)
            one_by_one = [exported(decoder_input_ids=own, **given).logits for own in words]
        for found in (at_once, torch.cat(one_by_one, dim=1)):
            comparison.add(expected, found.numpy(), (labels != IGNORED).numpy())
