"""The arithmetic of one update: which rows it sees, and what it does with them."""

from __future__ import annotations

import contextlib
import importlib.util
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from pipeline.training.distributed import fsdp
from pipeline.training.distributed.backend import Exchange
from pipeline.training.distributed.deepspeed import Optimizer
from pipeline.training.hidden_state import Carry
from pipeline.training.loss import Objective

# Accelerate searches the path for this optimiser at each backward pass and each step, which takes as long as the
# clipping; None is Python's own note that a module is not there.
if importlib.util.find_spec("lomo_optim") is None:
    sys.modules["lomo_optim"] = None  # type: ignore[assignment]

# Updates that are collated in one go: in turn with a model's kernels, which push its code and tables out of the
# processor's caches, collating takes several times as long.
COLLATED_AHEAD = 16

Batch = dict[str, Tensor]
Collate = Callable[[np.ndarray], tuple[Batch, float]]


@dataclass
class Parts:
    """What an update changes."""

    model: nn.Module
    optimizer: Optimizer
    scheduler: torch.optim.lr_scheduler.LRScheduler
    carry: Carry = field(default_factory=Carry)
    objective: Objective = field(default_factory=Objective)
    exchange: Exchange = field(default_factory=Exchange)


@dataclass(frozen=True)
class Window:
    """One update's share of this process: its micro-batches, and what the whole update holds.

    Attributes:
        batches: the model's keyword arguments and the number of labels, or their weight, of each micro-batch.
        rows: row indices of the whole update on all processes.
    """

    batches: list[tuple[Batch, float]]
    rows: np.ndarray


def micro_batches(rows: np.ndarray, batch_size: int, process: int, processes: int) -> list[np.ndarray]:
    """This process's micro-batches of an update's `rows`, the same number of them on every process.

    Rows are dealt out in slices of `batch_size`, in turn. Where a short update leaves processes without a slice, they
    get an empty one: every process has to take part in each exchange of gradients.
    """
    slices = [rows[start : start + batch_size] for start in range(0, len(rows), batch_size)]
    turns = -(-len(slices) // processes)
    slices += [rows[:0]] * (turns * processes - len(slices))
    return slices[process::processes]


def cells(lengths: np.ndarray, rows: np.ndarray, batch_size: int) -> int:
    """Tokens and padding in the micro-batches of an update's `rows`, on all processes; `lengths` (N,) of all rows."""
    own = lengths[rows]
    starts = np.arange(0, len(rows), batch_size)
    sizes = np.diff(np.append(starts, len(rows)))
    return int((np.maximum(np.maximum.reduceat(own, starts), 1) * sizes).sum())


def windows(updates: list[np.ndarray], batch_size: int, collate: Collate, accelerator: Accelerator) -> Iterator[Window]:
    """The windows of an epoch, on this process's device; `updates` holds the row indices of each update."""

    def load(rows: np.ndarray) -> Window:
        shares = micro_batches(rows, batch_size, accelerator.process_index, accelerator.num_processes)
        return Window(
            [_load(share if len(share) else rows[:1], len(share), collate, accelerator) for share in shares], rows
        )

    for start in range(0, len(updates), COLLATED_AHEAD):
        yield from [load(rows) for rows in updates[start : start + COLLATED_AHEAD]]


def _load(rows: np.ndarray, wanted: int, collate: Collate, accelerator: Accelerator) -> tuple[Batch, float]:
    """Collate `rows`; an empty share runs a row of another process's at weight 0 to stay in step."""
    batch, labels = collate(rows)
    moved = {name: value.to(accelerator.device, non_blocking=True) for name, value in batch.items()}
    return moved, labels if wanted else 0


def update(
    accelerator: Accelerator,
    parts: Parts,
    window: Window,
    max_grad_norm: float | None,
    autocast: bool,
) -> tuple[Tensor, Tensor, float]:
    """One step of the optimiser on the mean loss over all labels of the window, on all processes.

    Each micro-batch's mean loss is weighted by its share of the update's labels, so that the gradient is that of one
    large batch however the labels are spread over micro-batches and processes. Nothing here waits for the device.

    Args:
        max_grad_norm: None never clips.
        autocast: whether the forward pass runs in bfloat16 autocast.

    Returns:
        This process's share of the loss and the norm of the gradient before clipping, scalars on the device, and the
        learning rate.
    """
    model = parts.model
    learning_rate = float(parts.scheduler.get_last_lr()[0])
    total = _total_labels(accelerator, window)
    share = torch.zeros((), device=accelerator.device)
    with parts.exchange.update():
        for index, (batch, labels) in enumerate(window.batches):
            last = index == len(window.batches) - 1
            with contextlib.nullcontext() if last else accelerator.no_sync(model):
                with torch.autocast(accelerator.device.type, torch.bfloat16, enabled=autocast):
                    outputs = model(**batch, **parts.carry.inputs(index))
                parts.carry.keep(index, outputs)
                if labels:
                    loss = parts.objective.loss(outputs, batch).float() * (labels / total)
                else:
                    loss = _no_loss(model, outputs)
                # Data-parallel training averages gradients over processes; the weights already sum to one over all.
                parts.exchange.backward(loss * accelerator.num_processes, accelerator)
            share += loss.detach()
    norm = parts.exchange.step(model, parts.optimizer, max_grad_norm, accelerator)
    parts.scheduler.step()
    return share, norm, learning_rate


def _total_labels(accelerator: Accelerator, window: Window) -> Tensor | float:
    own = sum(labels for _, labels in window.batches)
    if accelerator.num_processes == 1:
        return own
    return accelerator.reduce(torch.tensor(float(own), device=accelerator.device), "sum")


def _no_loss(model: nn.Module, outputs) -> Tensor:
    """Zero for a micro-batch without a label, whose mean loss may be NaN. Its graph goes through the weights: in an
    exchange of gradients, the other processes wait for each of them. A data-parallel model answers itself for those
    that its outputs do not depend on, but gives them no gradient, without which the optimiser would pass them by; a
    sharded one takes part where the graph goes through its outputs."""
    own = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if fsdp.is_sharded(model):
        reached = [outputs.loss.nan_to_num() if outputs.logits is None else outputs.logits]
    elif getattr(model, "find_unused_parameters", False):
        known = _leaves([tensor for tensor in (outputs.loss, outputs.logits) if tensor is not None])
        reached = [parameter for parameter in own if id(parameter) in known]
        for parameter in own:
            if id(parameter) not in known and parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
    else:
        reached = own
    return torch.stack([tensor.float().sum() for tensor in reached]).sum() * 0.0


def _leaves(tensors: list[Tensor]) -> set[int]:
    """Ids of the parameters that `tensors` depend on."""
    pending, seen, leaves = [tensor.grad_fn for tensor in tensors], set(), set()
    while pending:
        node = pending.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        leaves.add(id(getattr(node, "variable", None)))
        pending += [before for before, _ in node.next_functions]
    return leaves
