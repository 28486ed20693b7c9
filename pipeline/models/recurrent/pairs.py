"""Two texts in one row: each is read on its own by the same encoder, and their vectors are compared."""

# Shapes: B rows, T time, E features; L length of the longest text, W width of a pooled text.

from __future__ import annotations

from typing import NamedTuple

import torch

from .layout import has_values, read_mask, words_first


class Texts(NamedTuple):
    """The texts of a batch of pairs as rows: the first text of each pair, then the second of each.

    Attributes:
        input_ids: (2B, L) token ids; or inputs_embeds (2B, L, E) in their place.
        attention_mask: (2B, L) bool, True at words, which are in front. A text without words gets one position.
        empty: (2B, 1) bool, True for a text without words.
    """

    input_ids: torch.Tensor | None
    inputs_embeds: torch.Tensor | None
    attention_mask: torch.Tensor
    empty: torch.Tensor


def separate(
    input_ids: torch.Tensor | None,
    inputs_embeds: torch.Tensor | None,
    attention_mask: torch.Tensor | None,
    token_type_ids: torch.Tensor | None,
) -> Texts:
    """Cut each row into its two texts.

    Args:
        input_ids: (B, T); or inputs_embeds (B, T, E) in their place.
        attention_mask: (B, T), 1 at words, in any pattern; None if every position is one.
        token_type_ids: (B, T), 0 in the first text and 1 in the second; None: there is no second text.

    Raises:
        ValueError: both or neither of `input_ids` and `inputs_embeds` are given, or a row has no words at all.
    """
    if (input_ids is None) == (inputs_embeds is None):
        raise ValueError("You must specify exactly one of input_ids or inputs_embeds")
    given: torch.Tensor = inputs_embeds if input_ids is None else input_ids  # type: ignore[assignment]
    words = read_mask(attention_mask, given)
    if words is None:
        words = torch.ones(given.shape[:2], dtype=torch.bool, device=given.device)
    second = torch.zeros_like(words) if token_type_ids is None else token_type_ids.bool()
    masks = torch.cat([words & ~second, words & second])  # (2B, T)
    lengths = masks.sum(dim=1, keepdim=True)
    # To find out the length of the longest text, the CPU waits for the GPU.
    longest = max(int(lengths.max()), 1) if has_values(lengths) else masks.shape[1]
    order = words_first(masks)[0][:, :longest]  # the words of each text, in their order
    empty = lengths == 0
    mask = torch.arange(longest, device=given.device) < lengths.clamp(min=1)
    if input_ids is not None:
        return Texts(input_ids.repeat(2, 1).gather(1, order), None, mask, empty)
    index = order[..., None].expand(-1, -1, given.shape[-1])
    return Texts(None, given.repeat(2, 1, 1).gather(1, index), mask, empty)


def compare(pooled: torch.Tensor, empty: torch.Tensor) -> torch.Tensor:
    """(B, 4W) features of pairs: [u, v, |u - v|, u * v] (Conneau et al. 2017, section 3.1).

    Args:
        pooled: (2B, W) the vectors u of the first texts, then the vectors v of the second.
        empty: (2B, 1) True for a text without words, whose vector is zero.
    """
    u, v = pooled.masked_fill(empty, 0.0).unflatten(0, (2, -1)).unbind()
    return torch.cat([u, v, (u - v).abs(), u * v], dim=-1)


__all__ = ["Texts", "compare", "separate"]
