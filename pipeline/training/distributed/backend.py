"""How gradients are synchronised over the processes, and how the optimiser then steps.

`Backend` uses accelerate: one process, DDP or FSDP. DeepSpeed has its own backend, see deepspeed.py.
"""

from __future__ import annotations

import contextlib
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from pipeline.training.distributed import fsdp


class Backend:
    """One process, DDP or FSDP. The optimiser is torch's own: accelerate's wrapper searches the path for a package at
    each step, which takes as long as clipping, and adds nothing unless gradients are scaled."""

    def accumulate(self) -> contextlib.AbstractContextManager:
        """Context of the backward passes of an update."""
        return contextlib.nullcontext()

    def backward(self, loss: Tensor, accelerator: Accelerator) -> None:
        """Add the gradients of `loss`, and average them over processes unless `accelerator.no_sync` is on."""
        loss.backward()  # what accelerate does around it, dividing by 1 and scaling for float16, is not needed

    def step(self, model: nn.Module, optimizer: Any, max_grad_norm: float | None, accelerator: Accelerator) -> Tensor:
        """Clip the gradients, update the weights and clear the gradients.

        Args:
            max_grad_norm: at least 0; None never clips.

        Returns:
            The norm before clipping, a scalar on the device.
        """
        limit = float("inf") if max_grad_norm is None else max_grad_norm
        if accelerator.device.type == "cpu" and not fsdp.is_sharded(model):
            norm = _clip(model, limit)
        else:
            norm = accelerator.clip_grad_norm_(model.parameters(), limit)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return norm.full_tensor() if isinstance(norm, DTensor) else norm


def _clip(model: nn.Module, limit: float) -> Tensor:
    """Scale the gradients to a norm of at most `limit`, and return their norm before. Where nothing waits for a device,
    gradients within the limit need not be multiplied by 1."""
    parameters = [parameter for parameter in model.parameters() if parameter.grad is not None]
    norm = nn.utils.get_total_norm([parameter.grad for parameter in parameters if parameter.grad is not None])
    if not norm <= limit:  # also if it is NaN
        nn.utils.clip_grads_with_norm_(parameters, limit, norm)
    return norm


def zero_loss(model: nn.Module, outputs: Any) -> Tensor:
    """A loss of 0 for a micro-batch without a label, whose own mean loss may be NaN.

    Its graph must reach the weights, because the other processes wait until every gradient has arrived:

    - FSDP takes part if the graph goes through the outputs, so that its backward hooks run.
    - DDP with `find_unused_parameters` marks parameters that the outputs do not depend on as ready, and would fail if
      the loss reached them after all. It leaves their gradients at None, for which the optimiser would skip them on
      this process; with zeros it does the same on all processes.
    - Otherwise the graph goes through all trainable parameters directly.
    """
    own = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if fsdp.is_sharded(model):
        reached = [outputs.loss.nan_to_num() if outputs.logits is None else outputs.logits]
    elif getattr(model, "find_unused_parameters", False):
        used = _leaves([tensor for tensor in (outputs.loss, outputs.logits) if tensor is not None])
        reached = [parameter for parameter in own if id(parameter) in used]
        for parameter in own:
            if id(parameter) not in used and parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
    else:
        reached = own
    return torch.stack([tensor.float().sum() for tensor in reached]).sum() * 0.0


def _leaves(tensors: list[Tensor]) -> set[int]:
    """Ids of the parameters that `tensors` depend on: the AccumulateGrad nodes of their graph hold them."""
    pending, seen, leaves = [tensor.grad_fn for tensor in tensors], set(), set()
    while pending:
        node = pending.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        leaves.add(id(getattr(node, "variable", None)))
        pending += [before for before, _ in node.next_functions]
    return leaves
