"""The largest value of each unit over the positions of a text."""

# Shapes: B batch, T time, W width of the states.

from __future__ import annotations

import torch
from torch.autograd import forward_ad

from .layout import can_read


class _Largest(torch.autograd.Function):
    @staticmethod
    def forward(ctx, states):
        largest = states.amax(dim=1)
        ctx.save_for_backward(states, largest)
        return largest

    @staticmethod
    def backward(ctx, gradient):
        states, largest = ctx.saved_tensors
        # torch's gradient compares the states, which gives booleans, and converts these to numbers.
        mask = torch.eq(states, largest[:, None], out=torch.empty_like(states))
        return mask.mul_((gradient / mask.sum(dim=1))[:, None])


def largest(states: torch.Tensor) -> torch.Tensor:
    """`states.amax(dim=1)` (B, W) of `states` (B, T, W). As there, positions that share the largest value share the
    gradient equally."""
    if not can_read(states) or torch.compiler.is_compiling() or forward_ad._current_level >= 0:
        return states.amax(dim=1)
    return _Largest.apply(states)


__all__ = ["largest"]
