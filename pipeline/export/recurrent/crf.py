"""The linear-chain CRF in the graph: max-marginals, whose argmax is the Viterbi path."""

# Shapes: B batch, T time, C tags.

from __future__ import annotations

import torch

from pipeline.models.recurrent.crf import LinearChainCRF
from pipeline.models.recurrent.crf_inference import IMPOSSIBLE, MARGIN, Weights
from pipeline.models.recurrent.tag_constraints import read_constraints
from pipeline.models.recurrent.tag_labels import learned_labels

from .graph import BOOL, INT32, INT64, Graph, Value
from .layout import make_layout, steps


def decode(graph: Graph, crf: LinearChainCRF, emissions: Value, mask: Value) -> Value:
    """The logits (B, T, C) of a CRF in evaluation: the max-marginals where `mask` (B, T) is True, and the log-softmax
    of the `emissions` (B, T, C) elsewhere."""
    op, size = graph.op, crf.config.num_labels
    with graph.scope("crf"):
        layout = make_layout(op, mask)
        compacted = op.Gather(op.Reshape(emissions, [-1, size]), layout.order)  # (T, B, C)
        scores = _max_marginals(graph, _weights(crf), compacted, op.Cast(op.Squeeze(layout.lengths, [1]), to=INT64))
        decoded = op.Gather(op.Reshape(scores, [-1, size]), layout.places)  # (B, T, C)
        return op.Where(op.Unsqueeze(mask, [2]), decoded, op.LogSoftmax(emissions, axis=-1))


def tagged(op, ids: Value, mask: Value, special: list[int] | None) -> Value:
    """The positions to decode, (B, T) bool: the words of `mask` that are not `special` tokens."""
    if not special:
        return mask
    is_special = op.Cast(op.Equal(op.Unsqueeze(ids, [2]), special), to=INT32)
    return op.And(mask, op.Not(op.Cast(op.ReduceMax(is_special, [2], keepdims=0), to=BOOL)))


def _weights(crf: LinearChainCRF) -> Weights:
    """The scores, with minus infinity for what the tagging scheme forbids."""
    scores = [w.detach().float().cpu() for w in (crf.start_transitions, crf.transitions, crf.end_transitions)]
    forbidden = read_constraints(tuple(learned_labels(crf.config)), torch.device("cpu"))
    if forbidden is None:
        return Weights(*scores)
    return Weights(*(w.masked_fill(f, float("-inf")) for w, f in zip(scores, forbidden, strict=True)))


def _max_marginals(graph: Graph, weights: Weights, emissions: Value, lengths: Value) -> Value:
    """For each place and tag, the score of the best sequence through it less that of the best sequence, from compacted
    emissions (T, B, C). See `crf_inference.py` for the recursions, which run in both directions at once: in a
    (2, B, C) tensor, the backward state is behind the forward one and reads each row reversed within its length."""
    op = graph.op

    def flipped(values: Value) -> Value:
        return op.ReverseSequence(values, lengths, time_axis=0, batch_axis=1)

    starts, transitions = weights.both_ways()
    # The tag before on the last axis, as the maximum over it is faster there.
    into = graph.constant("crf.into", transitions.transpose(1, 2)[:, None])  # (2, 1, C, C)

    def max_step(op, before, emitted):
        state = op.Add(before, emitted)
        state = op.Sub(state, op.ReduceMax(state, [-1]))  # sums over a long row would lose their last digits
        after = op.ReduceMax(op.Add(op.Unsqueeze(state, [2]), into), [-1], keepdims=0)
        return after, op.Identity(before)

    both = op.Concat(op.Unsqueeze(emissions, [1]), op.Unsqueeze(flipped(emissions), [1]), axis=1)  # (T, 2, B, C)
    start = op.Expand(graph.constant("crf.starts", starts), op.Shape(both, start=1))
    outside = graph.scan(max_step, start, both)  # (T, 2, B, C)
    inside = op.Add(outside, both)
    forward, backward = op.Gather(inside, 0, axis=1), op.Gather(outside, 1, axis=1)
    scores = op.Add(forward, flipped(backward))
    scores = op.Sub(scores, op.ReduceMax(scores, [-1]))
    path = flipped(_trace_back(graph, weights, flipped(forward)))  # (T, B)
    is_best = op.Equal(op.Unsqueeze(path, [2]), steps(op, scores, 2))
    return op.Where(is_best, 0.0, op.Clip(scores, IMPOSSIBLE, -MARGIN))


def _trace_back(graph: Graph, weights: Weights, states: Value) -> Value:
    """The Viterbi path (T, B) from its last tag to its first, given the forward `states` (T, B, C) in that order: the
    best tag before another is the argmax of its state and of the transition to the other, so no back pointers are
    kept."""
    op = graph.op
    transposed = graph.constant("crf.transitions", weights.transitions.T)

    def back_step(op, after, state):
        tag = op.ArgMax(op.Add(state, after), axis=-1, keepdims=0)
        return op.Gather(transposed, tag), op.Identity(tag)

    start = op.Expand(graph.constant("crf.end", weights.end), op.Shape(states, start=1))
    return graph.scan(back_step, start, states)
