"""The recurrence h' = h + z * (c - h), whose gates z and candidates c do not depend on h.

It is linear in h, so a position costs one operation, and positions may also be combined in pairs.
"""

# Shapes: B batch, T time, H hidden_size, D directions, G what is computed from a word: the gates and the candidate.
# `values` hold, for each direction, what the gates read of the inputs, and the candidates. With G = 2 the gate is z =
# sigmoid(v_z); with G = 3 it is z = i / (f + i), with i = sigmoid(v_i) and f = sigmoid(v_f).

from __future__ import annotations

from typing import Any

import torch
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from .scan import scan


def mix_on_cpu(
    values: torch.Tensor, start: torch.Tensor, lengths: torch.Tensor | None, directions: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """The states (B, T, D*H) after each position, and those after the last word of each direction, (B, D*H).

    Args:
        values: (B, T, D*G*H), where `can_run` allows it.
        start: (B, D*H).
        lengths: (B, 1), the number of words, which are in front; None if all positions are words.
        directions: 1, or 2 if the second half is read from right to left.
    """
    with torch.autocast("cpu", enabled=False):
        return _Mix.apply(values, start, lengths, directions)


def mix(values: torch.Tensor, start: torch.Tensor) -> torch.Tensor:
    """The same states (B, T, H) in one direction by operations that torch can record, map over and differentiate."""
    i, *f, candidates = values.transpose(0, 1).chunk(values.shape[-1] // start.shape[-1], dim=-1)
    # i / (f + i) is sigmoid(log i - log f), which has a gradient even where both are zero.
    gates = torch.sigmoid(F.logsigmoid(i) - F.logsigmoid(f[0]) if f else i)
    if isinstance(values.shape[1], torch.SymInt) or torch.jit.is_tracing():
        states = scan(_step, start, torch.cat([gates, candidates], dim=-1), [])[1]
    else:
        states = _in_pairs(gates, candidates, start)
    return states.transpose(0, 1)


def _step(state: torch.Tensor, inputs: torch.Tensor, weights: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    gate, candidate = inputs.chunk(2, dim=-1)
    after = state + gate * (candidate - state)
    return after, after


def _in_pairs(gates: torch.Tensor, candidates: torch.Tensor, start: torch.Tensor) -> torch.Tensor:
    """The states (T, B, H) in log2(T) rounds of whole tensors (Hillis & Steele 1986), for `torch.func` and for GPUs,
    where starting an operation at each position takes longer than its arithmetic. It has not been tried on a GPU.

    After a round with the distance d, `added` and `kept` say what the last 2*d positions make of a state h: added +
    kept * h. Shares are in [0, 1], so nothing overflows, and no logarithms are needed.
    """
    kept, added = 1 - gates, gates * candidates
    added = torch.cat([added[:1] + kept[:1] * start, added[1:]])
    distance = 1
    while distance < len(gates):
        combined = added[distance:] + kept[distance:] * added[:-distance]
        added = torch.cat([added[:distance], combined])
        kept = torch.cat([kept[:distance], kept[distance:] * kept[:-distance]])
        distance *= 2
    return added


class _Mix(torch.autograd.Function):
    """On a CPU: one operation at each position, forward and backward, on contiguous tensors (T, B, H) that were made
    beforehand. As for torch's LSTM, there is no second derivative.

    Where z is 0, a state stays exactly as it is. The backward direction passes through the padding in this way, so that
    words need not be reversed.
    """

    @staticmethod
    def forward(ctx, values, start, lengths, directions):
        size, saved, outputs, finals = start.shape[-1] // directions, [], [], []
        halves = values.transpose(0, 1).chunk(directions, dim=-1), start.chunk(directions, dim=-1)
        for backward, (own, first) in enumerate(zip(*halves, strict=True)):
            *gates, candidates = (torch.empty(part.shape, dtype=part.dtype) for part in own.split(size, dim=-1))
            for gate, read in zip(gates, own.split(size, dim=-1), strict=False):
                torch.sigmoid(read, out=gate)
            candidates.copy_(own[..., -size:])
            i, *f = gates
            share = i / (f[0] + i + torch.finfo(i.dtype).tiny) if f else i  # both may be zero
            if backward and lengths is not None:
                # An eighth of the time of `masked_fill`, as there is little padding.
                padding = (torch.arange(len(share))[:, None] >= lengths.t()).flatten().nonzero().flatten()
                for part in (share, candidates):
                    part.flatten(0, 1).index_fill_(0, padding, 0.0)
            states = _room(own, size)
            views = _in_order(states, backward)
            states[-1 if backward else 0] = first
            for before, after, candidate, z in zip(
                views[:-1], views[1:], _in_order(candidates, backward), _in_order(share, backward), strict=True
            ):
                torch.lerp(before, candidate, z, out=after)
            saved += [share, candidates, states, *gates[len(gates) % 2 :]]
            outputs.append(states[:-1] if backward else states[1:])
            finals.append(states[0] if backward else states[_last(states, lengths)])
        ctx.save_for_backward(lengths, *saved)
        ctx.directions = directions
        return torch.cat(outputs, dim=-1).transpose(0, 1), torch.cat(finals, dim=-1)

    @staticmethod
    @once_differentiable
    def backward(ctx, of_outputs, of_final):
        lengths, *saved = ctx.saved_tensors
        count = len(saved) // ctx.directions
        size = of_final.shape[-1] // ctx.directions
        batch, time, _ = of_outputs.shape
        gates = 2 if count == 3 else 3
        of_values = of_outputs.new_empty(time, batch, ctx.directions * gates * size).transpose(0, 1)
        of_start = torch.empty_like(of_final)
        parts = (values.chunk(ctx.directions, dim=-1) for values in (of_outputs.transpose(0, 1), of_final, of_start))
        slots = of_values.transpose(0, 1).split(size, dim=-1)
        for backward, (own, last, result) in enumerate(zip(*parts, strict=True)):
            share, candidates, states, *sigmoids = saved[backward * count : (backward + 1) * count]
            outer = _room(own, size)  # gradient of each state
            start = -1 if backward else 0
            outer[start] = 0.0
            (outer[:-1] if backward else outer[1:]).copy_(own)
            outer[0 if backward else _last(states, lengths)] += last
            views, kept = _in_order(outer, not backward), 1 - share
            for after, before, factor in zip(views[:-1], views[1:], _in_order(kept, not backward), strict=True):
                before.addcmul_(after, factor)
            result.copy_(outer[start])
            outer, before = (outer[:-1], states[1:]) if backward else (outer[1:], states[:-1])
            *of_gates, of_candidates = slots[backward * gates : (backward + 1) * gates]
            torch.mul(share, outer, out=of_candidates)
            of_share = torch.sub(candidates, before).mul_(outer)
            # A sigmoid also in log(i) - log(f).
            if not sigmoids:
                torch.ops.aten.sigmoid_backward(of_share, share, grad_input=of_gates[0])
                continue
            of_logit = torch.ops.aten.sigmoid_backward(of_share, share)
            i, f = sigmoids
            torch.addcmul(of_logit, of_logit, i, value=-1, out=of_gates[0])
            torch.addcmul(of_logit.neg(), of_logit, f, out=of_gates[1])
        return of_values, of_start, None, None


def _room(values: torch.Tensor, size: int) -> torch.Tensor:
    """(T+1, B, H), contiguous, for the states before and after each position."""
    return values.new_empty(len(values) + 1, values.shape[1], size)


def _in_order(values: torch.Tensor, backward: bool | int) -> tuple[torch.Tensor, ...]:
    """Each position of `values`, made beforehand: indexing takes as long as the arithmetic."""
    views = values.unbind()
    return views[::-1] if backward else views


def _last(states: torch.Tensor, lengths: torch.Tensor | None) -> Any:
    """Index of the state after the last word of each row."""
    return -1 if lengths is None else (lengths[:, 0], torch.arange(len(lengths)))


__all__ = ["mix", "mix_on_cpu"]
