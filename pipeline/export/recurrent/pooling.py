"""From the states of a text to its vector in the graph, and the comparison of two texts."""

# Shapes: N rows, T time, W width of a state.

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch

from pipeline.models.recurrent import RecurrentForSequenceClassification

from .encoder import Encoded
from .graph import FLOAT, Graph, Value
from .layout import Layout

LOWEST = torch.finfo(torch.float32).min


class Words(NamedTuple):
    """What is pooled: `states` (N, T, W) with words in front, True in `layout.front`, and the last state (N, W)."""

    states: Value
    final: Value
    layout: Layout


def pool(graph: Graph, model: RecurrentForSequenceClassification, encoded: Encoded, layout: Layout) -> Value:
    """The vector of each row, (N, W), or (N, 3*W) with `pooling="concat"`; zeros for a row without words."""
    op = graph.op
    with graph.scope("pooler"):
        words = Words(op.Transpose(encoded.states, perm=[1, 0, 2]), encoded.finals[-1][0], layout)
        return op.Where(layout.empty, 0.0, POOLINGS[model.config.pooling](graph, model, words))


def _last(graph, model, words):
    return words.final


def _mean(graph, model, words):
    counted = graph.op.Cast(words.layout.front, to=FLOAT)
    lengths = graph.op.Cast(graph.op.Max(words.layout.lengths, 1), to=FLOAT)
    return _weighted_sum(graph, graph.op.Div(counted, lengths), words.states)


def _max(graph, model, words):
    inside = graph.op.Unsqueeze(words.layout.front, [2])
    return graph.op.ReduceMax(graph.op.Where(inside, words.states, LOWEST), [1], keepdims=0)


def _attention(graph, model, words):
    op, pooler, width = graph.op, model.pooler, model.config.output_size
    rows = op.Tanh(graph.linear(op.Reshape(words.states, [-1, width]), pooler.projection))
    # Not a MatMul: quantized by channels, ONNX Runtime cannot multiply by a vector.
    scores = op.ReduceSum(op.Mul(rows, graph.weight(pooler.query)), [1], keepdims=0)  # (N*T,)
    scores = op.Where(words.layout.front, op.Reshape(scores, op.Shape(words.layout.front)), LOWEST)
    return _weighted_sum(graph, op.Softmax(scores, axis=-1), words.states)


def _weighted_sum(graph: Graph, weights: Value, states: Value) -> Value:
    """(N, W), the sum of the `states` (N, T, W) times their `weights` (N, T)."""
    return graph.op.Squeeze(graph.op.MatMul(graph.op.Unsqueeze(weights, [1]), states), [1])


def _concat(graph, model, words):
    return graph.op.Concat(*(pooling(graph, model, words) for pooling in (_last, _max, _mean)), axis=-1)


POOLINGS: dict[str, Callable[[Graph, RecurrentForSequenceClassification, Words], Value]] = {
    "last": _last,
    "mean": _mean,
    "max": _max,
    "attention": _attention,
    "concat": _concat,
}


def compare(graph: Graph, pooled: Value) -> Value:
    """(B, 4*W) features of pairs, [u, v, |u - v|, u * v], from the vectors `pooled` (2*B, W) of the first texts, then
    of the second (Conneau et al. 2017, section 3.1)."""
    op = graph.op
    first, second = op.Split(pooled, num_outputs=2, axis=0, _outputs=2)
    return op.Concat(first, second, op.Abs(op.Sub(first, second)), op.Mul(first, second), axis=-1)
