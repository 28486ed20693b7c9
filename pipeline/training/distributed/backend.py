"""How the gradients of an update come together over processes, and change the weights."""

from __future__ import annotations

import contextlib
from typing import Any

from accelerate import Accelerator
from torch import Tensor, nn
from torch.distributed.tensor import DTensor


class Exchange:
    """Through accelerate: of whole models or of sharded ones, or of one process, where nothing is exchanged."""

    def update(self) -> contextlib.AbstractContextManager:
        """Encloses the backward passes of an update."""
        return contextlib.nullcontext()

    def backward(self, loss: Tensor, accelerator: Accelerator) -> None:
        """Add the gradients of `loss`."""
        accelerator.backward(loss)

    def step(self, model: nn.Module, optimizer: Any, max_grad_norm: float | None, accelerator: Accelerator) -> Tensor:
        """Clip the gradients, change the weights and begin anew.

        Returns:
            The norm before clipping, a scalar on the device.
        """
        limit = float("inf") if max_grad_norm is None else max_grad_norm
        norm = accelerator.clip_grad_norm_(model.parameters(), limit)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return norm.full_tensor() if isinstance(norm, DTensor) else norm
