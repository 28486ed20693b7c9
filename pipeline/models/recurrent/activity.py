"""The activation regularisation of Merity et al. (2017)."""

# Shapes: B batch, T time, H the width of the outputs.

from __future__ import annotations

import torch
from torch.nn import functional as F

from .configuration_recurrent import RecurrentConfig
from .crf import IGNORED


def activity_penalty(
    config: RecurrentConfig,
    outputs: torch.Tensor,
    dropped: torch.Tensor,
    labels: torch.Tensor,
    position_ids: torch.Tensor | None = None,
    shift_labels: torch.Tensor | None = None,
    num_items_in_batch: torch.Tensor | int | None = None,
    **kwargs,
) -> torch.Tensor:
    """What the config adds to the loss of a batch: activation regularisation (AR), which keeps outputs small, and
    temporal activation regularisation (TAR), which keeps them from changing fast (Merity et al. 2017, section 4.6).

    Both are sums over positions with a label, divided by the number of labels, as the cross-entropy is: the parts of a
    batch add up to the whole. The paper divides TAR by the number of changes instead, T - 1 in a row of T.

    Args:
        outputs: (B, T, H) of the last layer. dropped: the same after dropout.
        labels, position_ids, shift_labels, num_items_in_batch: see [`RecurrentForCausalLM`]. No change is counted from
            the end of a text to the beginning of the next.
    """
    targets = F.pad(labels[:, 1:], (0, 1), value=IGNORED) if shift_labels is None else shift_labels
    scored = targets != IGNORED
    items = scored.sum() if num_items_in_batch is None else num_items_in_batch
    total = outputs.new_zeros((), dtype=torch.float32)
    if config.activation_regularization:
        squares = dropped.float().square().mean(dim=-1)  # (B, T)
        total = total + config.activation_regularization * (squares * scored).sum()
    if config.temporal_regularization:
        follows = scored[:, 1:] & scored[:, :-1]
        if position_ids is not None:
            follows = follows & (position_ids[:, 1:] != 0)
        changes = (outputs[:, 1:] - outputs[:, :-1]).float().square().mean(dim=-1)
        total = total + config.temporal_regularization * (changes * follows).sum()
    return total / items


__all__ = ["activity_penalty"]
