"""GRU and RNN on a CPU, forward and backward by hand: torch has one operator for a whole LSTM there, but not for these.

torch's own run a loop under autograd, which records every operation at every position and adds up the gradient of the
weights position by position. Here a position takes a few calls on tensors that were made beforehand, and the gradient
of the weights is one matrix product over all positions. As for that LSTM, there is no second derivative.
"""

# Shapes: B batch, T time, H hidden_size, G gates. Everything is time first, so that a position is contiguous.

from __future__ import annotations

from collections.abc import Callable, Sequence

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
    """h' = tanh(a + W h + b) over all positions, where `values` (T, B, H) holds a."""

    @staticmethod
    def forward(ctx, values, start, weight, bias):
        # tanh(x) is 2 sigmoid(2x) - 1, which takes a fraction of the time of ATen's tanh. The operands hold 2x.
        doubled = torch.add(values, bias).mul_(2)
        states = _room_for_states(values, start)
        step, (minus_one, two) = weight.t() * 2, _constants(start)
        add_product, views = _adder(start, step), states.unbind()
        for value, before, after in zip(doubled.unbind(), views[:-1], views[1:], strict=True):
            add_product(value, before, step, out=value)
            torch.addcmul(minus_one, two, torch.sigmoid(value, out=value), out=after)
        ctx.save_for_backward(states, weight)
        return states[1:]

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        states, weight = ctx.saved_tensors
        slope = torch.addcmul(torch.ones_like(states[:1]), states[1:], states[1:], value=-1)  # of tanh, (T, B, H)
        inner = torch.empty_like(slope)  # gradient of what is inside of tanh
        outer = _room_for_gradients(gradient)  # of the states
        add_product = _adder(gradient[0], weight)
        for after, before, own, factor, result in _backward_in_time(outer, gradient, slope, inner):
            torch.mul(after, factor, out=result)
            add_product(own, result, weight, out=before)
        return inner, outer[0], *_of_weights(ctx.needs_input_grad, states[:-1], inner)


class _GRU(torch.autograd.Function):
    """The cell of Cho et al. (2014) in cuDNN's form over all positions, where `values` (T, B, 3*H) holds what the gates
    r, z and n read of the inputs: n = tanh(. + r * (W_n h + b_n)), where r and z are sigmoids; h' = n + z * (h - n).
    """

    @staticmethod
    def forward(ctx, values, start, weight, bias):
        size = start.shape[-1]
        # Two tensors that become the gates in place: slices of one would not be contiguous.
        gates = values[..., : 2 * size] + bias[: 2 * size]  # (T, B, 2*H): r and z
        new = values[..., 2 * size :] * 2  # (T, B, H): n. For the 2, see `_RNN`
        hidden = torch.empty_like(new)  # 2 * (W_n h + b_n)
        states = _room_for_states(new, start)
        gates_step, new_step = weight[: 2 * size].t().contiguous(), weight[2 * size :].t() * 2
        new_bias, (minus_one, two) = bias[2 * size :] * 2, _constants(start)
        add_gates, add_new = _adder(start, gates_step), _adder(start, new_step)
        # Views of every position, made beforehand: indexing takes as long as the arithmetic.
        views = states.unbind()
        steps = zip(
            gates.unbind(),
            gates[..., :size].unbind(),
            gates[..., size:].unbind(),
            new.unbind(),
            hidden.unbind(),
            views[:-1],
            views[1:],
            strict=True,
        )
        for both, r, z, n, read, before, after in steps:
            torch.sigmoid(add_gates(both, before, gates_step, out=both), out=both)
            add_new(new_bias, before, new_step, out=read)
            torch.addcmul(n, r, read, out=n)
            torch.addcmul(minus_one, two, torch.sigmoid(n, out=n), out=n)
            torch.lerp(n, before, z, out=after)
        ctx.save_for_backward(states, gates, new, hidden, weight)
        return states[1:]

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        states, gates, n, hidden, weight = ctx.saved_tensors
        before, (time, batch, size) = states[:-1], n.shape
        r, z = gates[..., :size], gates[..., size:].contiguous()
        # What the gradient of a state is multiplied by to get that of the gates before their sigmoid and tanh.
        kept = 1 - z
        by_new = torch.addcmul(kept, kept * n, n, value=-1)  # (1 - z) * (1 - n^2)
        factors = n.new_empty(time, batch, 3, size)
        by_hidden = torch.mul(by_new, r, out=factors[:, :, 2])
        torch.mul(by_hidden * (1 - r), hidden * 0.5, out=factors[:, :, 0])
        torch.mul((before - n) * z, kept, out=factors[:, :, 1])
        inner = torch.empty_like(factors)  # gradient of W h + b
        outer = _room_for_gradients(gradient)
        flat = inner.view(time, batch, 3 * size)
        add_product = _adder(flat[0], weight)
        steps = zip(reversed(z.unbind()), reversed(flat.unbind()), strict=True)
        for (after, earlier, own, factor, result), (update, read) in zip(
            _backward_in_time(outer, gradient, factors, inner), steps, strict=True
        ):
            torch.mul(after[:, None], factor, out=result)
            torch.addcmul(own, after, update, out=earlier)
            add_product(earlier, read, weight, out=earlier)
        of_weights = _of_weights(ctx.needs_input_grad, before, flat)
        if ctx.needs_input_grad[0]:  # what the gate n reads of the inputs is not multiplied by r
            torch.mul(by_new, outer[1:], out=flat[..., 2 * size :])
        return flat, outer[0], *of_weights


def _adder(left: torch.Tensor, right: torch.Tensor) -> Callable[..., torch.Tensor]:
    """What writes added + left @ right to `out` for tensors like these, with the arguments of `torch.addmm`. It is
    chosen once, not at every position."""
    return _add_product if is_worth_it(left, right.t()) else torch.addmm


def _add_product(added: torch.Tensor, left: torch.Tensor, right: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
    return torch.add(added, product(left, right.t()), out=out)


def _of_weights(
    needed: Sequence[bool], before: torch.Tensor, inner: torch.Tensor
) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    """The gradients of weight and bias, the last two of the inputs that are `needed`, from the states (T, B, H) before
    each position and the gradient (T, B, G*H) of W h + b."""
    flat = inner.flatten(0, 1)
    of_weight = product(before.flatten(0, 1).t(), flat.t()).t() if needed[2] else None
    return of_weight, flat.sum(dim=0) if needed[3] else None


def _room_for_states(values: torch.Tensor, start: torch.Tensor) -> torch.Tensor:
    """(T+1, B, H), the first of which is `start`."""
    states = values.new_empty(len(values) + 1, *start.shape)
    states[0] = start
    return states


def _constants(start: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """-1 and 2 in the shape of a state: a number in Python would be made a tensor at each position."""
    return torch.full_like(start, -1.0), torch.full_like(start, 2.0)


def _room_for_gradients(gradient: torch.Tensor) -> torch.Tensor:
    """(T+1, B, H), the last of which is that of the last state, which no later position adds to."""
    outer = gradient.new_empty(len(gradient) + 1, *gradient.shape[1:])
    outer[-1] = gradient[-1]
    return outer


def _backward_in_time(outer, gradient, factors, inner):
    """From the last position to the first: the gradient of the state after it and of that before it (to be filled in),
    the part of the latter that comes from outside, the factors and the gradients of the gates (to be filled in)."""
    own = [torch.zeros_like(gradient[0]), *gradient[:-1].unbind()]
    parts = (outer[1:].unbind(), outer[:-1].unbind(), own, factors.unbind(), inner.unbind())
    return zip(*map(reversed, parts), strict=True)


def rnn(values: torch.Tensor, start: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """The states (T, B, H) of a plain RNN with tanh.

    Args:
        values: (T, B, H), W_ih x + b_ih, in the dtype of `start`.
        start: (B, H), float32 or float64.
        weight, bias: (H, H) and (H,), W_hh and b_hh.
    """
    with torch.autocast("cpu", enabled=False):
        return _RNN.apply(values, start, weight, bias)


def gru(values: torch.Tensor, start: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """The states (T, B, H) of a GRU.

    Args:
        values: (T, B, 3*H), W_ih x + b_ih, gates in the order r, z, n, in the dtype of `start`.
        start: (B, H), float32 or float64.
        weight, bias: (3*H, H) and (3*H,), W_hh and b_hh.
    """
    with torch.autocast("cpu", enabled=False):
        return _GRU.apply(values, start, weight, bias)


__all__ = ["can_run", "gru", "is_faster", "rnn"]
