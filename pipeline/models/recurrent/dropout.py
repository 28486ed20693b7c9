"""Dropout that draws its masks as raw random bits on a CPU, where torch's takes most of its time for drawing them."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from .layout import can_read

# An element is dropped if its 16 random bits are below a limit, so a probability is rounded to a multiple of 2^-16.
BITS = 16
CHOICES = 1 << BITS
ELEMENTS_PER_DRAW = 64 // BITS


def dropout(input: torch.Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> torch.Tensor:
    """`torch.nn.functional.dropout` (Srivastava et al. 2014, section 4), scaled in training.

    On a CPU, p is rounded to a multiple of 2^-16, at least 2^-16 and at most 1 - 2^-16, and what is kept is divided by
    the share that is then kept, so that the mean stays the same. The bits come from torch's default generator. On
    other devices, and in a graph that is recorded or compiled, this is torch's function.
    """
    if not training or not 0.0 < p < 1.0 or inplace or not _can_draw(input):
        return F.dropout(input, p, training, inplace)
    return input * mask_like(input, p)


def mask_like(values: torch.Tensor, p: float) -> torch.Tensor:
    """What dropout multiplies `values` by, in their shape and dtype: 0 for a share p of the elements.

    Args:
        values: on the CPU.
        p: in (0, 1).
    """
    limit = min(max(round(p * CHOICES), 1), CHOICES - 1)
    # Without a lower bound, `random_` leaves the highest of the 64 bits at 0.
    draws = torch.empty(-(-values.numel() // ELEMENTS_PER_DRAW), dtype=torch.int64).random_(-(2**63), None)
    bits = draws.view(torch.int16)[: values.numel()].view(values.shape)
    # A comparison that writes numbers is several times as fast as one that writes booleans.
    mask = torch.ge(bits, limit - CHOICES // 2, out=torch.empty(values.shape, dtype=values.dtype))
    return mask.mul_(CHOICES / (CHOICES - limit))


def _can_draw(values: torch.Tensor) -> bool:
    return values.is_floating_point() and can_read(values) and not torch.compiler.is_compiling()


class Dropout(nn.Dropout):
    """`torch.nn.Dropout` by [`dropout`]."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return dropout(input, self.p, self.training, self.inplace)


class LockedDropout(nn.Dropout):
    """Dropout on states (B, T, E) with one mask for all positions of a row (Gal & Ghahramani 2016, section 3)."""

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        if not self.training or not self.p:
            return states
        return states * dropout(torch.ones_like(states[:, :1]), self.p)


DROPOUTS = {False: Dropout, True: LockedDropout}


def embed(embeddings: nn.Embedding, input_ids: torch.Tensor, word_dropout: float) -> torch.Tensor:
    """Embeddings (B, T, E). Word dropout zeroes those of a random part of the vocabulary, wherever the words occur
    (Merity et al. 2017, section 4.3)."""
    embedded = embeddings(input_ids)
    if not word_dropout:
        return embedded
    kept = dropout(
        embedded.new_ones(len(embeddings.weight)), word_dropout
    )  # (V,); peft's layers have no num_embeddings
    return embedded * kept[input_ids][..., None]


__all__ = ["DROPOUTS", "Dropout", "LockedDropout", "dropout", "embed"]
