"""Where the words of a batch are: masks, padding in any pattern, and rows that hold several texts."""

# Shapes: B batch, T time, E features; S segments of a packed batch, L the length of the longest one.
# A position (b, t) of a batch has the flat index b * T + t. Reordering the positions of a batch is then one
# `index_select` over a matrix of B*T rows.

from __future__ import annotations

import inspect
from typing import Any, NamedTuple

import torch
from torch._subclasses import FakeTensor
from torch.nn import functional as F

NO_WORDS = "attention_mask: row {} of the batch has no words; drop it or give it one token"
PACKED = (
    "position_ids: rows with several texts cannot be exported, traced or mapped over; give each text its own row and"
    " leave position_ids out"
)


class Layout(NamedTuple):
    """Where the words of a padded batch are. Computed once per forward pass and shared by all layers.

    Attributes:
        mask: (B, T) bool, True at words.
        lengths: (B, 1) number of words.
        last: (B,) flat index of the last word of each row in the compacted batch.
        compact: two (B*T,) flat indices: the order that moves the words of each row to its front, and its inverse.
            None if they are already there, as in a right-padded batch.
        reverse: (B*T,) flat index that reverses the words within each compacted row. It is its own inverse.
    """

    mask: torch.Tensor
    lengths: torch.Tensor
    last: torch.Tensor
    compact: tuple[torch.Tensor, torch.Tensor] | None
    reverse: torch.Tensor


class Packing(NamedTuple):
    """How the rows of a packed batch are cut into segments, one for each text, that the layer reads as rows.

    Attributes:
        layout: the layout of the segments, (S, L).
        cut: (S, L) flat index into the rows, for each position of the segments.
        paste: (B*T,) flat index into the segments, for each position of the rows.
        first: (S,) the row whose state a segment starts from; B if it starts from zeros.
        last: (B,) the segment that ends each row.
    """

    layout: Layout
    cut: torch.Tensor
    paste: torch.Tensor
    first: torch.Tensor
    last: torch.Tensor


def is_transformed() -> bool:
    """Whether a transform of `torch.func` is running, such as `vmap`, which runs several rows as one."""
    return torch._C._are_functorch_transforms_active()


def has_values(values: torch.Tensor) -> bool:
    """Whether `values` are known. They are not while `torch.export` or `torch.jit.trace` records a graph, which must be
    valid for any values, nor under a transform of `torch.func`."""
    is_recorded = torch.compiler.is_exporting() or torch.jit.is_tracing() or isinstance(values, FakeTensor)
    return not is_recorded and not is_transformed()


def can_read(values: torch.Tensor) -> bool:
    """Whether code may depend on `values` without delay: they are known, and not on a GPU, which it would wait for."""
    return values.device.type == "cpu" and has_values(values)


def read_mask(
    attention_mask: torch.Tensor | None, inputs: torch.Tensor, may_be_empty: bool = False
) -> torch.Tensor | None:
    """`attention_mask` as (B, T) bool, or None if every position is a word.

    Args:
        may_be_empty: whether a row may have no words. With a cache, the row of a finished text keeps its state.

    Raises:
        ValueError: the shape does not match the inputs, or a row has no words. Empty rows are only detected on the
            CPU: on a GPU, in an exported or traced model and under `torch.func` they are pooled to zeros.
    """
    if inputs.shape[1] == 0:
        raise ValueError(NO_WORDS.format(0))
    if attention_mask is None:
        return None
    if attention_mask.shape != inputs.shape[:2]:
        raise ValueError(
            f"attention_mask has shape {tuple(attention_mask.shape)}, the inputs (batch, time) are"
            f" {tuple(inputs.shape[:2])}"
        )
    mask = attention_mask.bool()
    if not can_read(mask):
        return mask
    if bool(mask.all()):
        return None
    empty = (~mask.any(dim=1)).nonzero().flatten().tolist()
    if empty and not may_be_empty:
        raise ValueError(NO_WORDS.format(empty[0]))
    return mask


def filler_places(mask: torch.Tensor) -> torch.Tensor | None:
    """(B, T) bool, True at the last position of each row without words, of which `mask` (B, T) says where they are.
    None if there is no such row and code may depend on it."""
    empty = ~mask.any(dim=1, keepdim=True)
    if can_read(mask) and not bool(empty.any()):
        return None
    return F.pad(empty, (mask.shape[1] - 1, 0))


def with_words(
    input_ids: torch.Tensor, attention_mask: torch.Tensor | None, token: int
) -> tuple[Any, torch.Tensor | None]:
    """The inputs (B, T) with `token` as the last and only word of each row without words; (B, 1) if T is 0."""
    input_ids = input_ids.long()  # tokenizers return an empty text as a tensor of floats
    if input_ids.shape[1] == 0:
        return input_ids.new_full((input_ids.shape[0], 1), token), None
    if attention_mask is None or attention_mask.shape != input_ids.shape:
        return input_ids, attention_mask
    places = filler_places(attention_mask.bool())
    if places is None:
        return input_ids, attention_mask
    return torch.where(places, token, input_ids), attention_mask.bool() | places


def right_padded(lengths: torch.Tensor, time: int) -> Layout:
    """The layout of rows of `time` positions with `lengths` (B, 1) words, which are in front already."""
    rows = torch.arange(lengths.shape[0], device=lengths.device)[:, None] * time  # (B, 1), where each row starts
    steps = torch.arange(time, device=lengths.device)  # (T,)
    mask = steps < lengths
    # Step t of n words swaps with n - 1 - t. Padding stays where it is, so the words stay in front.
    reverse = torch.where(mask, lengths - 1 - steps, steps)
    last = rows + (lengths - 1).clamp(min=0)  # some valid index in a row without words, which keeps its state
    return Layout(mask, lengths, last.flatten(), None, (rows + reverse).flatten())


def words_first(mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The order, (B, T), that moves the words of each row to its front, with the other positions behind them, and its
    inverse, the place where each position goes. `mask` (B, T) is True at words."""
    # The n-th word of a row goes to place n - 1, and its n-th padding behind the words, to place lengths + n - 1. This
    # is a permutation of the row, and sorting a permutation inverts it.
    places = torch.where(mask, mask.cumsum(dim=1), mask.sum(dim=1, keepdim=True) + (~mask).cumsum(dim=1)) - 1
    return torch.argsort(places, dim=1), places


def make_layout(mask: torch.Tensor) -> Layout:
    """The layout of a batch with words where `mask` (B, T) is True, in any pattern."""
    batch, time = mask.shape
    lengths = mask.sum(dim=1, keepdim=True)  # (B, 1)
    compacted = right_padded(lengths, time)
    if can_read(mask) and torch.equal(mask, compacted.mask):
        return compacted
    order, places = words_first(mask)
    rows = torch.arange(batch, device=mask.device)[:, None] * time
    compact = ((rows + order).flatten(), (rows + places).flatten())
    return compacted._replace(mask=mask, compact=compact)


def find_borders(position_ids: torch.Tensor, mask: torch.Tensor | None, has_past: bool) -> torch.Tensor | None:
    """Where a new text begins inside a row.

    Args:
        position_ids: (B, T), 0 at the first word of each text.
        mask: (B, T) bool, True at words; None if all positions are.
        has_past: whether the rows continue from a state; then a text that starts at the beginning of a row is also new.

    Returns:
        (B, T) bool, True at the first word of a text that follows other words; None if there is no such place. To find
        out, the CPU waits for the GPU.

    Raises:
        ValueError: the model is being exported or traced, or runs under `torch.func`; the number of texts in the rows
            would then have to be the same for all inputs.
    """
    if not has_values(position_ids):
        raise ValueError(PACKED)
    words = torch.ones_like(position_ids, dtype=torch.bool) if mask is None else mask
    begins = (position_ids == 0) & words
    if not has_past:
        begins &= words.cumsum(dim=1) > 1  # the first word of a row needs no cut: its state is zero anyway
    return begins if bool(begins.any()) else None


def make_packing(borders: torch.Tensor, mask: torch.Tensor | None) -> Packing:
    """Cut the rows at `borders` (B, T) into segments. The first segment of a row continues from the row's state unless
    the row starts with a border."""
    batch, time = borders.shape
    device = borders.device
    begins = borders.clone()
    begins[:, 0] = True  # a segment never spans two rows
    # In flat order the segments follow one another, so each ends where the next one starts.
    starts = begins.flatten().nonzero().flatten()  # (S,)
    lengths = torch.diff(starts, append=starts.new_tensor([batch * time]))
    steps = torch.arange(int(lengths.max()), device=device)  # (L,)
    inside = steps < lengths[:, None]  # (S, L)
    cut = torch.where(inside, starts[:, None] + steps, starts[:, None])  # beyond a segment: any valid index
    # Position p belongs to the segment s that started last: s = (starts up to p) - 1, at step p - starts[s].
    segment = begins.flatten().cumsum(0) - 1  # (B*T,)
    paste = segment * len(steps) + torch.arange(batch * time, device=device) - starts[segment]
    counts = begins.sum(dim=1)  # (B,), segments of each row
    last = counts.cumsum(0) - 1
    # Row B is the zero state that the layer appends to the rows' states.
    first = torch.full_like(starts, batch)
    first[last - counts + 1] = torch.where(borders[:, 0], batch, torch.arange(batch, device=device))
    words = inside if mask is None else inside & mask.flatten()[cut]
    return Packing(make_layout(words), cut, paste, first, last)


class _Permute(torch.autograd.Function):
    """Reorder the rows of a matrix. The gradient of a permutation is its inverse; torch would use the slower
    `index_add`, as it cannot know that no index repeats."""

    generate_vmap_rule = True

    @staticmethod
    def forward(rows, index, inverse):
        return rows.index_select(0, index)

    @staticmethod
    def setup_context(ctx, inputs, output):
        _, index, inverse = inputs
        ctx.save_for_backward(inverse)
        ctx.save_for_forward(index)

    @staticmethod
    def backward(ctx, gradient):
        (inverse,) = ctx.saved_tensors
        return gradient.index_select(0, inverse), None, None

    @staticmethod
    def jvp(ctx, tangent, *_):
        (index,) = ctx.saved_tensors
        return tangent.index_select(0, index)


# `apply` asks for the signature at each call. Finding it out takes as long as the permutation.
_Permute.forward.__signature__ = inspect.signature(_Permute.forward)  # type: ignore[attr-defined]


def permute(states: torch.Tensor, index: torch.Tensor, inverse: torch.Tensor) -> torch.Tensor:
    """`states` (B, T, E) with their B*T positions in the order of the flat `index`, whose inverse is `inverse`."""
    rows = states.reshape(-1, states.shape[-1])
    # A traced graph that calls back into Python could not be saved.
    permuted = rows.index_select(0, index) if torch.jit.is_tracing() else _Permute.apply(rows, index, inverse)
    return permuted.view(states.shape)


def clear_padding(states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """`states` (B, T, E) with zeros where `mask` (B, T) is False, whatever is there, and the same of the gradient."""
    if not can_read(mask) or torch.compiler.is_compiling():
        return states.masked_fill(~mask[..., None], 0.0)
    if not states.is_contiguous() and states.transpose(0, 1).is_contiguous():  # as the kernels write them
        return clear_padding(states.transpose(0, 1), mask.t()).transpose(0, 1)
    # A quarter of the time of `masked_fill`, as there is little padding.
    return states.flatten(0, 1).index_fill(0, (~mask).flatten().nonzero().flatten(), 0.0).view(states.shape)


def reverse(states: torch.Tensor, layout: Layout | None) -> torch.Tensor:
    """Each compacted row of `states` (B, T, E) with its words in reverse order. Doing so twice restores the order."""
    return states.flip(1) if layout is None else permute(states, layout.reverse, layout.reverse)


__all__ = [
    "Layout",
    "Packing",
    "can_read",
    "clear_padding",
    "filler_places",
    "find_borders",
    "has_values",
    "is_transformed",
    "make_layout",
    "make_packing",
    "permute",
    "read_mask",
    "reverse",
    "right_padded",
    "with_words",
    "words_first",
]
