"""Evaluation: each row is scored exactly once, for any batch size and on any number of processes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import nn
from transformers import GenerationMixin

from pipeline import predictions
from pipeline.config.training import Train
from pipeline.data import source_rows
from pipeline.data.bucketing import Split
from pipeline.errors import UserError
from pipeline.models import cpu_functions, modes
from pipeline.predictions import PredictionInfo
from pipeline.tasks import attended_rows
from pipeline.tasks.base import Batch, Task, full_name
from pipeline.training.distributed import fsdp
from pipeline.training.hidden_state import HiddenStateCarry
from pipeline.training.step import COLLATED_AHEAD

# Batches whose outcomes are kept apart. Small arrays that stay between the large ones of each batch keep malloc from
# using their places again, and that costs more memory than the outcomes themselves.
JOINED_TOGETHER = 64


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation found.

    Attributes:
        scores: metrics of the split, JSON-serializable.
        outcome: what the task kept of each row, in the order of the split; see `Task` and `Task.joined`.
        task: with what it has chosen on this split.
    """

    scores: dict[str, Any]
    outcome: dict[str, Any]
    task: Task
    labels: list[str]

    def rows(self) -> Iterator[dict[str, Any]]:
        """The outcome of each row, JSON-serializable, in the order of the split; see `Task.rows`."""
        return self.task.rows(self.outcome, self.labels)

    def write(self, file: Path, split: str, texts: Path, model: nn.Module | None, tokenizer: Any) -> None:
        """Write the rows to `file`, complete or not at all, each with what it was asked; see predictions.py.

        Args:
            split: name of the split.
            texts: its rows as they were read, see source_rows. They are left out if a task has other rows.
            model, tokenizer: those that were evaluated, for what the model attends to, see attended_rows; with None as
                the model, this is left out.
        """
        task, size = self.task, predictions.ROWS_PER_GROUP
        info = PredictionInfo(
            full_name(task), task.problem_type, split, self.labels, task.scored_by(self.outcome, self.labels)
        )
        batches = task.records(self.outcome, self.labels)
        is_own = type(task).records is Task.records
        if not is_own or sum(1 for _ in self.rows()) == source_rows.count(texts):
            batches = source_rows.beside(batches, texts, size)
        if model is not None:
            batches = attended_rows.beside(batches, task, model, tokenizer)
        predictions.write(file, info, batches)


def evaluate(
    model: nn.Module,
    task: Task,
    split: Split,
    tokenizer: Any,
    labels: list[str],
    batch_size: int,
    accelerator: Accelerator,
    fit: Train | None = None,
) -> Evaluation:
    """Scores and outcome of every row of `split`, in float32 without autocast, so they do not depend on the batch size.

    If rows continue one another, every process runs all batches. All processes of a sharded model must run the same
    number of batches, so some rows are run twice and counted once.

    Args:
        fit: how the task chooses what it chooses on this split, see `Task.fitted`; None: it chooses nothing.
    """
    model = accelerator.unwrap_model(model)
    sharded = fsdp.is_sharded(model)
    batches = split.batches(batch_size)
    own = batches if split.carries else _share(batches, accelerator, in_step=sharded)
    # Tensors made in inference mode would stay with a sharded model, which could then no longer train.
    with modes.evaluating(model), torch.no_grad() if sharded else torch.inference_mode():
        share = _outcomes(model, task, split, tokenizer, own, accelerator.device)
    fsdp.reshard(model)
    outcome = _whole(task, split, gather_object([share]))
    task = task.fitted(outcome, labels, fit) if fit else task
    return Evaluation(task.score(outcome, labels), outcome, task, labels)


def tried(model: nn.Module, task: Task, split: Split, tokenizer: Any, labels: list[str]) -> Evaluation:
    """The outcome of a few rows on this process alone, without scores: what `evaluate` will keep of all rows."""
    with modes.evaluating(model), torch.inference_mode():
        device = next(model.parameters()).device
        share = _outcomes(model, task, split, tokenizer, split.batches(len(split)), device)
    return Evaluation({}, _whole(task, split, [share]), task, labels)


def _outcomes(
    model: nn.Module, task: Task, split: Split, tokenizer: Any, batches: list[np.ndarray], device: torch.device
) -> dict[str, Any]:
    """What the task keeps of the rows of `batches`, with their numbers as `id`; empty if there is no batch."""
    joined, parts = list[dict[str, Any]](), list[dict[str, Any]]()
    carry = HiddenStateCarry(model if split.carries else None)
    for rows, collated in _collated(task, split, tokenizer, batches):
        batch = {name: value.to(device) for name, value in collated.items()}
        with cpu_functions.faster(model, cpu_functions.ANSWERING):
            outputs = model(**batch, **carry.inputs(0))
        carry.keep(0, outputs)
        found = {**task.outcome(outputs, batch), **task.generate(model, batch, tokenizer)}
        parts.append({"id": torch.from_numpy(rows), **found})
        if len(parts) == JOINED_TOGETHER:
            joined.append(_joined(parts))
            parts.clear()
    return _joined([*joined, *parts])


def _collated(
    task: Task, split: Split, tokenizer: Any, batches: list[np.ndarray]
) -> Iterator[tuple[np.ndarray, Batch]]:
    """The rows of each batch, and the batch."""
    for start in range(0, len(batches), COLLATED_AHEAD):
        ahead = batches[start : start + COLLATED_AHEAD]
        collated = [task.collate(rows, tokenizer)[0] for rows in split.take_each(ahead)]
        yield from zip(ahead, collated, strict=True)
        del collated  # before the next ones are made


def check_generation(task: Task, model: nn.Module, sharded: bool) -> None:
    """Refuse a sharded model whose processes would wait for one another, each with another number of texts to write.

    Raises:
        UserError: `task` scores generated text, does not generate in step, and the model is, or would be, sharded.
    """
    in_step = task.generates_in_step and isinstance(model, GenerationMixin)
    if sharded and task.generates and not in_step:
        raise UserError(
            f"task: {task.name} scores generated text, and its processes do not generate in step, as a model sharded"
            " by FSDP needs; launch without FSDP (DDP and ZeRO work)"
        )


def _share(batches: list[np.ndarray], accelerator: Accelerator, in_step: bool) -> list[np.ndarray]:
    """This process's batches; `in_step`: as many as on every other process, by repeating a batch if needed."""
    own = batches[accelerator.process_index :: accelerator.num_processes]
    missing = -(-len(batches) // accelerator.num_processes) - len(own) if in_step else 0
    return own + batches[:missing]


def _on_host(values: Any) -> Any:
    """Tensors as arrays, and a list of objects as an array of them; arrays as they are."""
    if isinstance(values, np.ndarray):
        return values
    if isinstance(values, tuple):
        return tuple(map(_on_host, values))
    if isinstance(values, list):
        return np.fromiter(values, dtype=object, count=len(values))
    return values.cpu().numpy()


def _joined(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """Outcomes of batches: one array, or pair of arrays, per name."""
    names = parts[0].keys() if parts else ()
    return {name: _join([_on_host(part[name]) for part in parts]) for name in names}


def _whole(task: Task, split: Split, shares: list[dict[str, Any]]) -> dict[str, Any]:
    """The outcome of a split from those of the processes, of which some may have had no batch."""
    everyone = [share for share in shares if share]
    found = _in_order({name: _join([share[name] for share in everyone]) for name in everyone[0]})
    return task.joined(found | split.columns(task.scored_with))


def _join(parts: list[Any]) -> Any:
    if isinstance(parts[0], tuple):
        return tuple(map(np.concatenate, zip(*parts, strict=True)))
    return np.concatenate(parts)


def _in_order(outcome: dict[str, Any]) -> dict[str, Any]:
    """Each row once, in the order of the split: sums then add up in the same order on every machine."""
    _, first = np.unique(outcome["id"], return_index=True)
    return {name: _take(values, first) for name, values in outcome.items() if name != "id"}


def _take(values: Any, rows: np.ndarray) -> Any:
    """The elements of `rows`, in this order."""
    if not isinstance(values, tuple):
        return values[rows]
    elements, counts = values
    taken = counts[rows]
    # Where the elements of each row begin in the source, minus where they begin in the result.
    shift = np.cumsum(counts)[rows] - np.cumsum(taken)
    return elements[np.arange(taken.sum()) + np.repeat(shift, taken)], taken
