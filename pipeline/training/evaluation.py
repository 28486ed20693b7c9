"""Evaluation: each row is scored exactly once, for any batch size and on any number of processes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import nn

from pipeline.config.training import Train
from pipeline.errors import UserError
from pipeline.tasks.base import Split, Task
from pipeline.training.distributed import fsdp
from pipeline.training.hidden_state import HiddenStateCarry


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

    Raises:
        UserError: the task scores generated text, and the model is sharded.
    """
    model = accelerator.unwrap_model(model)
    sharded = fsdp.is_sharded(model)
    check_generation(task, sharded)
    was_training = model.training
    model.eval()
    parts, carry = [], HiddenStateCarry(model if split.carries else None)
    batches = split.batches(batch_size)
    own = batches if split.carries else _share(batches, accelerator, in_step=sharded)
    # Tensors made in inference mode would stay with a sharded model, which could then no longer train.
    with torch.no_grad() if sharded else torch.inference_mode():
        for rows in own:
            collated, _ = task.collate(split.take(rows), tokenizer)
            batch = {name: value.to(accelerator.device) for name, value in collated.items()}
            outputs = model(**batch, **carry.inputs(0))
            carry.keep(0, outputs)
            found = {**task.outcome(outputs, batch), **task.generate(model, batch, tokenizer)}
            parts.append({"id": torch.from_numpy(rows), **found})
    model.train(was_training)
    fsdp.reshard(model)
    outcome = task.joined(_in_order(_gather(parts)) | split.columns(task.scored_with))
    task = task.fitted(outcome, labels, fit) if fit else task
    return Evaluation(task.score(outcome, labels), outcome, task, labels)


def check_generation(task: Task, sharded: bool) -> None:
    """Refuse to generate with a sharded model: its processes would wait for one another, each with a different text.

    Raises:
        UserError: the scores of `task` need generated text, and the model is, or would be, sharded.
    """
    if sharded and task.generates:
        raise UserError(
            f"task: {task.name} scores generated text, which a model sharded by FSDP cannot produce; launch without"
            " FSDP (DDP and ZeRO work)"
        )


def _share(batches: list[np.ndarray], accelerator: Accelerator, in_step: bool) -> list[np.ndarray]:
    """This process's batches; `in_step`: as many as on every other process, by repeating a batch if needed."""
    own = batches[accelerator.process_index :: accelerator.num_processes]
    missing = -(-len(batches) // accelerator.num_processes) - len(own) if in_step else 0
    return own + batches[:missing]


def _on_host(values: Any) -> Any:
    """Tensors as arrays, and a list of objects as an array of them."""
    if isinstance(values, tuple):
        return tuple(map(_on_host, values))
    if isinstance(values, list):
        return np.fromiter(values, dtype=object, count=len(values))
    return values.cpu().numpy()


def _gather(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """Outcomes of all batches of all processes, one array, or pair of arrays, per name."""
    names = parts[0].keys() if parts else ()
    own = {name: _join([_on_host(part[name]) for part in parts]) for name in names}
    everyone = [share for share in gather_object([own]) if share]
    return {name: _join([share[name] for share in everyone]) for name in everyone[0]}


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
