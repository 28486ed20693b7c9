"""GRU and RNN on a CPU, forward and backward by hand: torch has one operator for a whole LSTM there, but not for these.

torch's own run a loop under autograd, which records every operation at every position and adds up the gradient of the
weights position by position. Here a position takes a few calls on tensors that were made beforehand, each for all
directions, and the gradient of the weights is one matrix product over all positions. As for that LSTM, there is no
second derivative.
"""

# Shapes: D directions, B batch, T time, H hidden_size, G gates. Time is before the batch, so that a position is
# contiguous.

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch.autograd import forward_ad
from torch.autograd.function import once_differentiable

from .cpu_linear import is_worth_it, product
from .layout import can_read

# Without gradients, texts with fewer units than this, rows times hidden_size, are read faster by torch's operators.
FEWEST_UNITS = 4_096


def can_run(inputs: torch.Tensor, start: torch.Tensor) -> bool:
    """Whether the kernels can read `inputs` from the state `start`. A graph that is recorded and a transform of
    `torch.func` need torch's operators, and so do gradients forward through the computation; half precision is not
    supported on its own, only as autocast."""
    return can_read(inputs) and start.dtype in (torch.float32, torch.float64) and forward_ad._current_level < 0


def is_faster(start: torch.Tensor) -> bool:
    """Whether the kernels read on from the state `start` (B, H) faster than torch's operators, as measured for 1 to 128
    rows and 64 to 512 units. Without gradients to compute, those have little to do at a position."""
    return torch.is_grad_enabled() or start.numel() >= FEWEST_UNITS


class _RNN(torch.autograd.Function):
    """h' = tanh(a + W h + b) over all positions. `operands` holds, for each direction, a (T, B, H), then the states
    (B, H) to start from, then W, then b."""

    @staticmethod
    def forward(ctx, *operands):
        values, starts, weights, biases = _by_kind(operands)
        # tanh(x) is 2 sigmoid(2x) - 1, which takes a fraction of the time of ATen's tanh. The operands hold 2x.
        doubled = values[0].new_empty(len(values), *values[0].shape)
        for own, value, bias in zip(doubled, values, biases, strict=True):
            torch.add(value, bias, out=own)
        doubled *= 2
        states = _room_for_states(values[0], starts)
        step, (minus_one, two) = torch.stack([weight.t() for weight in weights]).mul_(2), _constants(states[:, 0])
        add_product, views = _adder(states[:, 0], step), states.unbind(1)
        for value, before, after in zip(doubled.unbind(1), views[:-1], views[1:], strict=True):
            add_product(value, before, step, out=value)
            torch.addcmul(minus_one, two, torch.sigmoid(value, out=value), out=after)
        ctx.save_for_backward(states, *weights)
        return tuple(states[:, 1:].unbind())

    @staticmethod
    @once_differentiable
    def backward(ctx, *gradients):
        states, *weights = ctx.saved_tensors
        slope = torch.addcmul(states.new_ones(1), states[:, 1:], states[:, 1:], value=-1)  # of tanh, (D, T, B, H)
        inner = torch.empty_like(slope)  # gradient of what is inside of tanh
        outer = _room_for_gradients(gradients)  # of the states
        stacked = torch.stack(weights)
        add_product = _adder(outer[:, 0], stacked)
        for after, before, factor, result in _backward_in_time(outer[:, 1:], outer[:, :-1], slope, inner):
            torch.mul(after, factor, out=result)
            add_product(before, result, stacked, out=before)
        return *inner, *outer[:, 0], *_of_weights(ctx.needs_input_grad, states[:, :-1], inner)


class _GRU(torch.autograd.Function):
    """The cell of Cho et al. (2014) in cuDNN's form over all positions: n = tanh(a_n + r * (W_n h + b_n)), where r and
    z are sigmoids; h' = n + z * (h - n). `operands` as in `_RNN`, where a (T, B, 3*H) is what the gates r, z and n read
    of the inputs."""

    @staticmethod
    def forward(ctx, *operands):
        values, starts, weights, biases = _by_kind(operands)
        size = starts[0].shape[-1]
        gates = values[0].new_empty(len(values), *values[0].shape)  # becomes r, z and 2 * (W_n h + b_n) in place
        new = values[0].new_empty(len(values), *values[0].shape[:2], size)  # becomes n. For the 2, see `_RNN`
        step = torch.stack([weight.t() for weight in weights])
        step[..., 2 * size :] *= 2
        for own, candidate, value, bias in zip(gates, new, values, biases, strict=True):
            torch.add(value[..., : 2 * size], bias[: 2 * size], out=own[..., : 2 * size])
            own[..., 2 * size :] = bias[2 * size :] * 2
            torch.mul(value[..., 2 * size :], 2, out=candidate)
        states = _room_for_states(new[0], starts)
        add_product, (minus_one, two) = _adder(states[:, 0], step), _constants(states[:, 0])
        # Views of every position, made beforehand: indexing takes as long as the arithmetic.
        views = states.unbind(1)
        steps = zip(
            gates.unbind(1),
            gates[..., : 2 * size].unbind(1),
            *(part.unbind(1) for part in gates.split(size, dim=-1)),
            new.unbind(1),
            views[:-1],
            views[1:],
            strict=True,
        )
        for all_gates, both, r, z, read, n, before, after in steps:
            add_product(all_gates, before, step, out=all_gates)
            torch.sigmoid(both, out=both)
            torch.addcmul(n, r, read, out=n)
            torch.addcmul(minus_one, two, torch.sigmoid(n, out=n), out=n)
            torch.lerp(n, before, z, out=after)
        ctx.save_for_backward(states, gates, new, *weights)
        return tuple(states[:, 1:].unbind())

    @staticmethod
    @once_differentiable
    def backward(ctx, *gradients):
        states, gates, n, *weights = ctx.saved_tensors
        before, size = states[:, :-1], n.shape[-1]
        r, z, hidden = gates.split(size, dim=-1)
        z = z.contiguous()
        # What the gradient of a state is multiplied by to get that of the gates before their sigmoid and tanh.
        kept = 1 - z
        by_new = torch.addcmul(kept, kept * n, n, value=-1)  # (1 - z) * (1 - n^2)
        factors = n.new_empty(*n.shape[:3], 3, size)
        by_hidden = torch.mul(by_new, r, out=factors[..., 2, :])
        torch.mul(by_hidden * (1 - r), hidden * 0.5, out=factors[..., 0, :])
        torch.mul((before - n) * z, kept, out=factors[..., 1, :])
        inner = torch.empty_like(factors)  # gradient of W h + b
        outer = _room_for_gradients(gradients)
        flat, stacked = inner.flatten(-2), torch.stack(weights)
        add_product = _adder(flat[:, 0], stacked)
        after = outer[:, 1:]
        steps = _backward_in_time(after, after[..., None, :], outer[:, :-1], z, factors, inner, flat)
        for own, for_each_gate, earlier, update, factor, result, read in steps:
            torch.mul(for_each_gate, factor, out=result)
            earlier.addcmul_(own, update)
            add_product(earlier, read, stacked, out=earlier)
        of_weights = _of_weights(ctx.needs_input_grad, before, flat)
        if any(ctx.needs_input_grad[: len(weights)]):  # what the gate n reads of the inputs is not multiplied by r
            torch.mul(by_new, after, out=flat[..., 2 * size :])
        return *flat, *outer[:, 0], *of_weights


def _by_kind(operands: Sequence[torch.Tensor]) -> Iterator[Sequence[torch.Tensor]]:
    """Values, starts, weights and biases, one of each for each direction."""
    count = len(operands) // 4
    return (operands[first : first + count] for first in range(0, len(operands), count))


def _adder(left: torch.Tensor, right: torch.Tensor) -> Callable[..., torch.Tensor]:
    """What writes added + left @ right to `out` for tensors like these, with the arguments of `torch.baddbmm`. It is
    chosen once, not at every position."""
    return _add_products if is_worth_it(left[0], right[0].t()) else torch.baddbmm


def _add_products(added: torch.Tensor, left: torch.Tensor, right: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
    for own, one, other, result in zip(added, left, right, out, strict=True):
        torch.add(own, product(one, other.t()), out=result)
    return out


def _of_weights(needed: Sequence[bool], before: torch.Tensor, inner: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
    """The gradients of weights and biases, the second half of the inputs that are `needed`, from the states (D, T, B,
    H) before each position and the gradient (D, T, B, G*H) of W h + b."""
    directions = len(before)
    rows, flat = before.flatten(1, 2), inner.flatten(1, 2)
    weights, biases = needed[2 * directions : 3 * directions], needed[3 * directions :]
    return (
        *(product(h.t(), g.t()).t() if need else None for h, g, need in zip(rows, flat, weights, strict=True)),
        *(g.sum(dim=0) if need else None for g, need in zip(flat, biases, strict=True)),
    )


def _room_for_states(values: torch.Tensor, starts: Sequence[torch.Tensor]) -> torch.Tensor:
    """(D, T+1, B, H), the first positions of which are `starts`."""
    states = values.new_empty(len(starts), len(values) + 1, *starts[0].shape)
    for own, start in zip(states, starts, strict=True):
        own[0] = start
    return states


def _constants(start: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """-1 and 2 in the shape of a state: a number in Python would be made a tensor at each position."""
    return torch.full_like(start, -1.0), torch.full_like(start, 2.0)


def _room_for_gradients(gradients: Sequence[torch.Tensor]) -> torch.Tensor:
    """Gradients (D, T+1, B, H) of all states: what comes from outside, to which later positions add."""
    first = gradients[0]
    outer = first.new_empty(len(gradients), len(first) + 1, *first.shape[1:])
    outer[:, 0] = 0.0
    for own, gradient in zip(outer, gradients, strict=True):
        own[1:] = gradient
    return outer


def _backward_in_time(*parts: torch.Tensor) -> Iterator[tuple[torch.Tensor, ...]]:
    """Each position of the `parts` (D, T, ...), the last one first."""
    return zip(*(reversed(part.unbind(1)) for part in parts), strict=True)


def rnn(
    values: Sequence[torch.Tensor],
    starts: Sequence[torch.Tensor],
    weights: Sequence[torch.Tensor],
    biases: Sequence[torch.Tensor],
) -> tuple[torch.Tensor, ...]:
    """The states (T, B, H) of a plain RNN with tanh in each direction. There is one of each argument for each.

    Args:
        values: (T, B, H), W_ih x + b_ih, in the dtype of `starts`.
        starts: (B, H), float32 or float64.
        weights, biases: (H, H) and (H,), W_hh and b_hh.
    """
    with torch.autocast("cpu", enabled=False):
        return _RNN.apply(*values, *starts, *weights, *biases)


def gru(
    values: Sequence[torch.Tensor],
    starts: Sequence[torch.Tensor],
    weights: Sequence[torch.Tensor],
    biases: Sequence[torch.Tensor],
) -> tuple[torch.Tensor, ...]:
    """The states (T, B, H) of a GRU in each direction. There is one of each argument for each.

    Args:
        values: (T, B, 3*H), W_ih x + b_ih, gates in the order r, z, n, in the dtype of `starts`.
        starts: (B, H), float32 or float64.
        weights, biases: (3*H, H) and (3*H,), W_hh and b_hh.
    """
    with torch.autocast("cpu", enabled=False):
        return _GRU.apply(*values, *starts, *weights, *biases)


__all__ = ["can_run", "gru", "is_faster", "rnn"]
