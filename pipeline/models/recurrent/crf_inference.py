"""Exact inference in a linear-chain CRF: the partition, the score of a path, the best path, marginals, max-marginals.

The score of tags y for emissions e is start[y_1] + sum_t e_t[y_t] + sum_t transitions[y_t, y_t+1] + end[y_n], and
their probability is exp(score) / Z, where the partition Z is the sum of exp(score) over all sequences (Lafferty et al.
2001, section 3; Lample et al. 2016, section 2.2).
"""

# Shapes: B batch, T time, C tags. The recursions run over compacted rows, time first, and in both directions at once:
# in a (2, B, C) tensor, index 0 is the forward state and index 1 the backward one, which reads each row reversed within
# its length. Values beyond the length of a row are computed, but never read.

from __future__ import annotations

import inspect
from typing import NamedTuple

import torch

from .layout import can_read, words_first
from .scan import scan

# Logit of a tag that no valid sequence has at its position: zero after a softmax, and a number in every dtype.
IMPOSSIBLE = -1e4
# By how much the tags of the best path stand out if rounding or a tie would hide them.
MARGIN = 1e-6
# How far apart, in natural logarithms, the scores of a position may be for float64 to hold their exponentials: a state
# that matters is at most a few transitions and emissions behind the best one, and exp(-700) is still a normal number.
SPREAD = 100.0


class Rows(NamedTuple):
    """Where the tagged positions of a batch are, as indices that move them to the front; see `compact_rows`.

    Attributes:
        mask: (B, T) bool, True at tagged positions.
        lengths: (B,) number of tagged positions.
        order: (B, T') the positions of each row, the tagged ones first; T' is the largest length if that is known.
        reverse: (T', B) index that reverses each row within its length. It is its own inverse.
    """

    mask: torch.Tensor
    lengths: torch.Tensor
    order: torch.Tensor
    reverse: torch.Tensor

    def gather(self, values: torch.Tensor) -> torch.Tensor:
        """`values` (B, T, ...) compacted, time first: (T', B, ...)."""
        rows = torch.arange(values.shape[0], device=values.device)
        return values[rows, self.order.T]

    def flip(self, values: torch.Tensor) -> torch.Tensor:
        """Compacted `values` (T', B, ...) with each row reversed within its length."""
        return values[self.reverse, torch.arange(values.shape[1], device=values.device)]

    def scatter(self, values: torch.Tensor, template: torch.Tensor) -> torch.Tensor:
        """The inverse of `gather`: `template` (B, T, C) with compacted `values` (T', B, C) at the tagged positions."""
        # The n-th tagged position was moved to place n - 1. The clamp is for untagged ones before the first.
        places = (self.mask.cumsum(dim=1) - 1).clamp(min=0)
        rows = torch.arange(self.mask.shape[0], device=self.mask.device)[:, None]
        return torch.where(self.mask[..., None], values[places, rows], template)


def compact_rows(mask: torch.Tensor) -> Rows:
    """The tagged positions, where `mask` (B, T) is True, in any pattern. Rows may have none."""
    lengths = mask.sum(dim=1)
    longest = max(int(lengths.max()), 1) if can_read(mask) and mask.numel() else mask.shape[1]
    order = words_first(mask)[0][:, :longest]
    steps = torch.arange(longest, device=mask.device)[:, None]
    return Rows(mask, lengths, order, torch.where(steps < lengths, lengths - 1 - steps, steps))


class Weights(NamedTuple):
    """Scores of the first tag (C,), of the step from one tag (row) to the next (column) (C, C), and of the last tag
    (C,)."""

    start: torch.Tensor
    transitions: torch.Tensor
    end: torch.Tensor

    def both_ways(self) -> tuple[torch.Tensor, torch.Tensor]:
        """What the forward and the backward recursion start from, (2, 1, C), and step by, (2, C, C): read backward, a
        sequence starts with its last tag and each step goes from column to row."""
        starts = torch.stack([self.start, self.end])[:, None]
        return starts, torch.stack([self.transitions, self.transitions.T])


class _LogPartition(torch.autograd.Function):
    """log Z by the scaled forward-backward algorithm (Rabiner 1989, section V.A): matrix products in place of
    logsumexps, in float64, and a gradient that is known once the forward pass ends. Exact while the scores of a
    position are within `SPREAD` of each other."""

    generate_vmap_rule = True

    # The tensors that `backward` needs are outputs as well, because `setup_context` only sees those.
    @staticmethod
    def forward(emissions, start, transitions, end, rows):
        # Take the largest score out of each factor before exp, and add it again at the end.
        peaks = emissions.amax(dim=-1)  # (T, B)
        local = (emissions - peaks[..., None]).double().exp()
        tops = [weights.max() for weights in (start, transitions, end)]
        weights = Weights(*(w.sub(t).double().exp() for w, t in zip((start, transitions, end), tops, strict=True)))
        first, step = weights.both_ways()
        before, states, scales = [first.expand(2, emissions.shape[1], -1)], [], []
        for emitted in torch.stack([local, rows.flip(local)], dim=1).unbind():  # (2, B, C)
            state = before[-1] * emitted
            # Rabiner's scaling: each state sums to 1, and log Z is the sum of the logs of the scales.
            scale = state.sum(dim=-1, keepdim=True)
            state = state / scale
            states.append(state)
            scales.append(scale[0, :, 0])
            before.append(torch.bmm(state, step))
        # (T, 2, B, C): `inside` includes the emission at its own position, `outside` stops short of it.
        inside, outside = torch.stack(states), torch.stack(before[:-1])
        forward, backward = inside[:, 0], rows.flip(inside[:, 1])
        tagged = torch.arange(len(emissions), device=emissions.device)[:, None] < rows.lengths
        # p(y_t) is proportional to forward (with e_t) times backward (without e_t, which would count twice).
        marginals = forward * rows.flip(outside[:, 1])  # (T, B, C)
        marginals = (marginals / marginals.sum(dim=-1, keepdim=True)).masked_fill(~tagged[..., None], 0.0)
        # p(y_t-1, y_t) = forward[t-1] * exp(transition) * backward[t] / pairs[t]. The division happens here, once for
        # each position, so that `backward` below is a single matrix product.
        pairs = (outside[:, 0] * backward).sum(dim=-1, keepdim=True)
        backward = (backward / pairs).masked_fill(~tagged[..., None], 0.0)
        at_end = (rows.flip(forward)[0] * weights.end).sum(dim=-1).log()  # flipped, a row's last tag is its first
        total = (torch.stack(scales).log() + peaks) * tagged
        result = total.sum(dim=0) + at_end + tops[0] + tops[1] * (rows.lengths - 1) + tops[2]
        result = torch.where(rows.lengths > 0, result, 0.0).to(emissions.dtype)
        return result, marginals, forward, backward, weights.transitions

    @staticmethod
    def setup_context(ctx, inputs, output):
        emissions, *_, ctx.rows = inputs
        ctx.dtype = emissions.dtype
        ctx.mark_non_differentiable(*output[1:])
        ctx.save_for_backward(*output[1:])

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient, *_):
        # The gradient of log Z by a score is the probability of what the score is for.
        marginals, forward, backward, transitions = ctx.saved_tensors
        weight = gradient.double()[:, None] * (ctx.rows.lengths > 0)[:, None]  # (B, 1)
        emissions = marginals * weight
        pairs = (forward[:-1] * weight).flatten(0, 1).T @ backward[1:].flatten(0, 1)  # (C, C), summed over T and B
        start, end = emissions[0].sum(dim=0), ctx.rows.flip(emissions)[0].sum(dim=0)
        gradients = (emissions, start, pairs * transitions, end)
        return *(part.to(ctx.dtype) for part in gradients), None


# `apply` asks for the signature at each call, and would find it out each time.
_LogPartition.forward.__signature__ = inspect.signature(_LogPartition.forward)  # type: ignore[attr-defined]


def log_partition(emissions: torch.Tensor, weights: Weights, rows: Rows) -> torch.Tensor:
    """log Z of each row, (B,), from compacted `emissions` (T, B, C); 0 for a row without tagged positions."""
    if can_read(emissions) and _spread(emissions, weights) < SPREAD:
        return _LogPartition.apply(emissions, *weights, rows)[0]
    # The forward algorithm in log space: slower, and exact for scores of any size.
    before = weights.start.expand(emissions.shape[1:])
    _, states = scan(_sum_step, before, emissions, [weights.transitions])
    last = rows.flip(states)[0]  # (B, C), the state at each row's last tag
    return torch.where(rows.lengths > 0, torch.logsumexp(last + weights.end, dim=-1), 0.0)


def log_marginals(emissions: torch.Tensor, weights: Weights, rows: Rows) -> torch.Tensor:
    """The logarithm of the probability of each tag at each position, (T, B, C), from compacted `emissions` (T, B, C),
    by the forward-backward algorithm (Rabiner 1989, section III.B); -inf where no valid sequence has the tag.

    Gradients flow to the emissions and the weights. Computed in float64: by scaled products if the scores of a position
    are within `SPREAD` of each other, else in log space, which is slower and exact for scores of any size.
    """
    small = can_read(emissions) and _spread(emissions, weights) < SPREAD
    emissions, weights, dtype = emissions.double(), Weights(*(part.double() for part in weights)), emissions.dtype
    if not small:
        inside, outside = _log_states(emissions, weights, rows)
        return (inside[:, 0] + rows.flip(outside[:, 1])).log_softmax(dim=-1).to(dtype)
    # What is left out of a factor here, to keep its exponential in range, is the same for all tags of a position.
    first, step = (part.exp() for part in weights.both_ways())
    local = (emissions - emissions.detach().amax(dim=-1, keepdim=True)).exp()
    state = first.expand(2, emissions.shape[1], -1)
    states, before = [], []
    for emitted in torch.stack([local, rows.flip(local)], dim=1).unbind():  # (2, B, C)
        before.append(state)
        states.append(state * emitted)
        state = torch.bmm(states[-1] / states[-1].detach().sum(dim=-1, keepdim=True), step)
    products = torch.stack(states)[:, 0] * rows.flip(torch.stack(before)[:, 1])
    never = products == 0.0
    return products.masked_fill(never, 1.0).log().masked_fill(never, float("-inf")).log_softmax(dim=-1).to(dtype)


def log_pair_marginals(emissions: torch.Tensor, weights: Weights, rows: Rows) -> torch.Tensor:
    """The logarithm of the probability of each tag (row) at a position and each tag (column) at the next one,
    (T - 1, B, C, C), in float64; see `log_marginals`."""
    emissions, weights = emissions.double(), Weights(*(part.double() for part in weights))
    inside, _ = _log_states(emissions, weights, rows)
    after = rows.flip(inside[:, 1])  # with the emission at its own position
    pairs = inside[:-1, 0, :, :, None] + weights.transitions + after[1:, :, None]
    return pairs.flatten(2).log_softmax(dim=-1).view(pairs.shape)


def _log_states(emissions: torch.Tensor, weights: Weights, rows: Rows) -> tuple[torch.Tensor, torch.Tensor]:
    """The states of both recursions in log space, (T, 2, B, C): with the emission at their own position, and without;
    see `_LogPartition`."""
    first, step = weights.both_ways()
    both = torch.stack([emissions, rows.flip(emissions)], dim=1)
    _, outside = scan(_sum_both_step, first.expand(both.shape[1:]), both, [step[:, None]])
    return outside + both, outside


# The steps of the recursions: from the state that stops short of the emission at a position to that at the next one.
def _sum_step(
    before: torch.Tensor, emitted: torch.Tensor, weights: list[torch.Tensor]
) -> tuple[torch.Tensor, torch.Tensor]:
    state = before + emitted
    return torch.logsumexp(state[:, :, None] + weights[0], dim=1), state


def _sum_both_step(
    before: torch.Tensor, emitted: torch.Tensor, weights: list[torch.Tensor]
) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.logsumexp((before + emitted)[..., None] + weights[0], dim=-2), before


def _max_step(
    before: torch.Tensor, emitted: torch.Tensor, weights: list[torch.Tensor]
) -> tuple[torch.Tensor, torch.Tensor]:
    return (_max_state(before, emitted)[..., None] + weights[0]).amax(dim=-2), before


def _max_state(before: torch.Tensor, emitted: torch.Tensor) -> torch.Tensor:
    state = before + emitted
    return state - state.amax(dim=-1, keepdim=True)  # sums over a long row would lose their last digits


def _back_step(
    after: torch.Tensor, state: torch.Tensor, weights: list[torch.Tensor]
) -> tuple[torch.Tensor, torch.Tensor]:
    """`after` (B, C) is the score of the step from each tag to the one that was found at the next position."""
    tag = (state + after).argmax(dim=-1)
    return weights[0][tag], tag


def _spread(emissions: torch.Tensor, weights: Weights) -> float:
    """How far apart the scores of the tags at one position can be, forbidden ones aside. NaN if a score is."""
    with torch.no_grad():
        spread = (emissions.amax(dim=-1) - emissions.amin(dim=-1)).max()
        for part in weights:
            finite = part[part != float("-inf")]
            spread = spread + (finite.max() - finite.min())
        return float(spread)


def path_score(emissions: torch.Tensor, tags: torch.Tensor, weights: Weights, rows: Rows) -> torch.Tensor:
    """Score of the sequences `tags` (T, B), (B,); -inf if a sequence is forbidden."""
    tagged = torch.arange(len(emissions), device=emissions.device)[:, None] < rows.lengths
    emitted = emissions.gather(-1, tags[..., None]).squeeze(-1)
    # The step from a to b has the flat index a * C + b. The gradient of index_select is a fast sum; that of indexing
    # with two tensors is slow.
    steps = weights.transitions.flatten().index_select(0, (tags[:-1] * emissions.shape[-1] + tags[1:]).flatten())
    steps = steps.view(tags[1:].shape).masked_fill(~tagged[1:], 0.0)
    ends = weights.start[tags[0]] + weights.end[rows.flip(tags)[0]]
    return emitted.masked_fill(~tagged, 0.0).sum(dim=0) + steps.sum(dim=0) + ends.masked_fill(rows.lengths == 0, 0.0)


def max_marginals(emissions: torch.Tensor, weights: Weights, rows: Rows) -> torch.Tensor:
    """For each position and tag, the score of the best sequence through it less that of the best sequence, (T, B, C).

    The tags of one best sequence, the Viterbi path, have the score 0, and all others are below it, by `MARGIN` if they
    tie. So the argmax at each position is a valid sequence, and the best one.
    """
    first, step = weights.both_ways()
    # Forward-backward with max in place of the sum; see `_LogPartition` for `inside` and `outside`.
    both = torch.stack([emissions, rows.flip(emissions)], dim=1)  # (T, 2, B, C)
    _, outside = scan(_max_step, first.expand(both.shape[1:]), both, [step[:, None]])
    inside = _max_state(outside, both)
    scores = inside[:, 0] + rows.flip(outside[:, 1])
    scores = scores - scores.amax(dim=-1, keepdim=True)
    best = _trace_back(inside[:, 0], weights, rows)[..., None] == torch.arange(scores.shape[-1], device=scores.device)
    return scores.clamp(IMPOSSIBLE, -MARGIN).masked_fill(best, 0.0)


@torch.no_grad()
def _trace_back(states: torch.Tensor, weights: Weights, rows: Rows) -> torch.Tensor:
    """The Viterbi path (T, B), from its last tag to its first, given the `states` (T, B, C) of the forward recursion.

    No back pointers are kept: the best tag before `tag` is the argmax of state + transitions[:, tag].
    """
    # Rows of the transposed transitions go by the later tag.
    _, tags = scan(_back_step, weights.end.expand(states.shape[1:]), rows.flip(states), [weights.transitions.T])
    return rows.flip(tags)


__all__ = [
    "IMPOSSIBLE",
    "Rows",
    "Weights",
    "compact_rows",
    "log_marginals",
    "log_pair_marginals",
    "log_partition",
    "max_marginals",
    "path_score",
]
