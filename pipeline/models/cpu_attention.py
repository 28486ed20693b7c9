"""Attention over short texts on a CPU, in training: a few operators on whole batches.

torch has no kernel with dropout for the CPU. It falls back to operators in float32, with passes over the matrix of
weights that only a query without any visible key needs. Its kernel without dropout is slow in bfloat16: it works row
by row, which for short texts takes longer than the arithmetic.
"""

# Shapes: B batch, N heads, Q queries, K keys, E features of a head.

from __future__ import annotations

import torch
from torch.nn import functional as F

from pipeline.models.recurrent.dropout import dropout
from pipeline.models.recurrent.layout import can_read

# With more keys than this, torch's kernel without dropout, which never holds a whole matrix of weights, is used. In
# float32 it always is: it then takes 0.7 to 0.95 of our time.
MOST_KEYS = 128


def attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attn_mask: torch.Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> torch.Tensor:
    """`torch.nn.functional.scaled_dot_product_attention`, (B, N, Q, E): softmax(scale * q k^T + mask) v (Vaswani et al.
    2017, section 3.2.1), with the softmax in float32.

    A query that sees no key gets the mean of the values instead of zeros.

    Args:
        query: (B, N, Q, E).
        key, value: (B, N, K, E).
        attn_mask: of a shape that can be broadcast to (B, N, Q, K); bool, True where a query sees a key, or added.
        is_causal: whether query i sees the keys up to i alone.
    """
    # With both, it depends on torch's kernel whether that is an error.
    if (is_causal and attn_mask is not None) or not _can_run(query, key, value, dropout_p, enable_gqa):
        return F.scaled_dot_product_attention(
            query, key, value, attn_mask, dropout_p, is_causal, scale=scale, enable_gqa=enable_gqa
        )
    shape = (*query.shape[:2], query.shape[2], key.shape[2])
    query, key, value = (part.flatten(0, 1) for part in (query, key, value))
    scores = torch.bmm(query, key.transpose(1, 2)).float().mul_(query.shape[-1] ** -0.5 if scale is None else scale)
    if is_causal:
        attn_mask = torch.ones(shape[2:], dtype=torch.bool).tril()
    if attn_mask is not None:
        scores.view(shape).add_(_added(attn_mask))
    weights = dropout(scores.softmax(dim=-1), dropout_p).to(value.dtype)
    return torch.bmm(weights, value).view(*shape[:3], value.shape[-1])


def _added(mask: torch.Tensor) -> torch.Tensor:
    """What to add to the scores: nothing infinite, as the softmax of a row of nothing else is NaN."""
    lowest = torch.finfo(torch.float32).min
    if mask.dtype != torch.bool:
        return mask.float().clamp(min=lowest)
    return torch.zeros(mask.shape).masked_fill_(~mask, lowest)


def _can_run(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, dropout_p: float, enable_gqa: bool) -> bool:
    return (
        query.dim() == 4
        and query.dtype == key.dtype == value.dtype
        and query.dtype in (torch.float32, torch.bfloat16)
        and query.shape[:2] == key.shape[:2]
        and not enable_gqa
        and _is_faster(query, key, dropout_p)
        and can_read(query)
        and not torch.compiler.is_compiling()
    )


def _is_faster(query: torch.Tensor, key: torch.Tensor, dropout_p: float) -> bool:
    return dropout_p > 0.0 or (query.dtype == torch.bfloat16 and key.shape[2] <= MOST_KEYS)
