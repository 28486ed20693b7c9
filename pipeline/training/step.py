"""The arithmetic of one update: which rows it reads, and how the weights change.

Shapes: N rows in the training split.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from pipeline.models import cpu_functions
from pipeline.training.averaging import WeightAverage
from pipeline.training.distributed.backend import Backend, zero_loss
from pipeline.training.distributed.deepspeed import Optimizer
from pipeline.training.hidden_state import HiddenStateCarry
from pipeline.training.loss import Objective
from pipeline.training.unfreezing import Unfreezing

# Updates that are collated in one go. Collating between updates takes several times as long: the model's kernels evict
# its code and tables from the processor's caches.
COLLATED_AHEAD = 16

Batch = dict[str, Tensor]
Collate = Callable[[Sequence[np.ndarray]], list[tuple[Batch, float]]]


@dataclass
class TrainState:
    """What an update changes, and what it needs for that.

    Attributes:
        carry: hidden states that the next update starts from.
        objective: the loss.
        backend: synchronises gradients over processes.
        unfreezing: which parameters are frozen at first.
        average: of the weights, which is scored and saved.
    """

    model: nn.Module
    optimizer: Optimizer
    scheduler: torch.optim.lr_scheduler.LRScheduler
    carry: HiddenStateCarry = field(default_factory=HiddenStateCarry)
    objective: Objective = field(default_factory=Objective)
    backend: Backend = field(default_factory=Backend)
    unfreezing: Unfreezing = field(default_factory=Unfreezing)
    average: WeightAverage = field(default_factory=WeightAverage)

    @cached_property
    def faster(self) -> contextlib.AbstractContextManager:
        """The context of forward passes."""
        return cpu_functions.faster(self.model, cpu_functions.TRAINING)


@dataclass(frozen=True)
class UpdateBatch:
    """This process's share of an update.

    Attributes:
        micro_batches: of each micro-batch the model's keyword arguments, and its weight: the number of labels, or the
            sum of their weights.
        rows: row indices of the whole update, on all processes.
    """

    micro_batches: list[tuple[Batch, float]]
    rows: np.ndarray


def update_batches(
    updates: list[np.ndarray], batch_size: int, collate: Collate, accelerator: Accelerator
) -> Iterator[UpdateBatch]:
    """Collate this process's share of each update, on its device.

    Args:
        updates: row indices of each update, on all processes.
        collate: returns the batch of each of several sets of rows, and its weight.
    """
    process, processes = accelerator.process_index, accelerator.num_processes
    for start in range(0, len(updates), COLLATED_AHEAD):
        ahead = updates[start : start + COLLATED_AHEAD]
        own = [micro_batch_rows(rows, batch_size, process, processes) for rows in ahead]
        # Where none is left for this process, a row of another process runs at weight 0.
        given = [
            chosen if len(chosen) else rows[:1] for rows, parts in zip(ahead, own, strict=True) for chosen in parts
        ]
        collated = iter(collate(given))
        for rows, parts in zip(ahead, own, strict=True):
            yield UpdateBatch([_on_device(*next(collated), len(chosen), accelerator) for chosen in parts], rows)
        del collated  # it holds these batches while the next ones are made


def micro_batch_rows(rows: np.ndarray, batch_size: int, process: int, processes: int) -> list[np.ndarray]:
    """This process's micro-batches of an update's `rows`, the same number on each process.

    Slices of `batch_size` rows go to the processes in turn. If a short update has no slice left for some processes,
    they get an empty one, because every process must take part in each synchronisation of gradients.
    """
    slices = [rows[start : start + batch_size] for start in range(0, len(rows), batch_size)]
    turns = -(-len(slices) // processes)  # rounded up
    slices += [rows[:0]] * (turns * processes - len(slices))
    return slices[process::processes]


def padded_tokens(lengths: np.ndarray, rows: np.ndarray, batch_size: int) -> int:
    """Tokens, including padding, in the micro-batches of an update's `rows`, on all processes.

    Each micro-batch is padded to its longest row, or to one token.

    Args:
        lengths: (N,) tokens of each row.
    """
    own = lengths[rows]
    starts = np.arange(0, len(rows), batch_size)
    sizes = np.diff(np.append(starts, len(rows)))
    return int((np.maximum(np.maximum.reduceat(own, starts), 1) * sizes).sum())


def _on_device(batch: Batch, weight: float, rows: int, accelerator: Accelerator) -> tuple[Batch, float]:
    moved = {name: value.to(accelerator.device, non_blocking=True) for name, value in batch.items()}
    return moved, weight if rows else 0


def update(
    accelerator: Accelerator,
    state: TrainState,
    batch: UpdateBatch,
    max_grad_norm: float | None,
    autocast: bool,
) -> tuple[Tensor, Tensor, float]:
    """One step of the optimiser on the mean loss over all labels of the update, on all processes.

    The mean loss of each micro-batch is weighted by its share of the update's labels, so the gradient is that of one
    large batch, however the labels are spread over micro-batches and processes. Nothing here waits for the device.

    Args:
        max_grad_norm: None never clips.
        autocast: whether the forward pass runs in bfloat16 autocast.

    Returns:
        This process's share of the loss and the norm of the gradient before clipping, scalars on the device, and the
        learning rate.
    """
    model = state.model
    learning_rate = float(state.scheduler.get_last_lr()[0])
    total = _total_weight(accelerator, batch)
    losses = []
    with state.backend.accumulate():
        for index, (inputs, weight) in enumerate(batch.micro_batches):
            is_last = index == len(batch.micro_batches) - 1
            with contextlib.nullcontext() if is_last else accelerator.no_sync(model):
                with state.faster, _autocast(accelerator) if autocast else contextlib.nullcontext():
                    outputs = model(**state.objective.inputs(inputs), **state.carry.inputs(index))
                state.carry.keep(index, outputs)
                if weight:
                    loss = _times(state.objective.loss(outputs, inputs).float(), weight / total)
                else:
                    loss = zero_loss(model, outputs)
                # Data-parallel training averages gradients over processes; the weights already sum to one over all.
                state.backend.backward(_times(loss, accelerator.num_processes), accelerator)
            losses.append(loss.detach())
    state.unfreezing.drop_gradients(state.scheduler.last_epoch)
    norm = state.backend.step(model, state.optimizer, max_grad_norm, accelerator)
    state.scheduler.step()
    return sum(losses[1:], losses[0]), norm, learning_rate


def _autocast(accelerator: Accelerator) -> contextlib.AbstractContextManager:
    return torch.autocast(accelerator.device.type, torch.bfloat16)


def _times(loss: Tensor, factor: Tensor | float) -> Tensor:
    """Their product. A number that is 1, as with one micro-batch on one process, needs no operation."""
    return loss if isinstance(factor, (int, float)) and factor == 1 else loss * factor


def _total_weight(accelerator: Accelerator, batch: UpdateBatch) -> Tensor | float:
    """The weight of the whole update."""
    own = sum(weight for _, weight in batch.micro_batches)
    if accelerator.num_processes == 1:
        return own
    return accelerator.reduce(torch.tensor(float(own), device=accelerator.device), "sum")
