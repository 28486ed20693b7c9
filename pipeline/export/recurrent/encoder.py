"""The encoder in the graph: embeddings, characters, and the stack of recurrent layers."""

# Shapes: B batch, T time, N rows of the encoder, W width of the outputs of a layer.

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, cast

from pipeline.models.recurrent import RecurrentModel
from pipeline.models.recurrent.recurrence import Recurrence

from .cells import CELLS
from .characters import encode as encode_characters
from .graph import Graph, Value
from .layout import Layout


class Encoded(NamedTuple):
    """What the encoder returns.

    Attributes:
        states: (T, N, W), the outputs of the last layer, the words of each row in front; of any value at padding.
        finals: for each layer, the parts of its state after the last word, (N, W) each. A row without words keeps the
            state that was given; without one, its state is of any value.
    """

    states: Value
    finals: list[list[Value]]


def encode(
    graph: Graph,
    model: RecurrentModel,
    ids: Value,
    layout: Layout,
    char_ids: Value | None = None,
    past: Sequence[Sequence[Value]] | None = None,
) -> Encoded:
    """Read `ids` (N, T), and `char_ids` (N, T, W) if the model reads characters, from the state `past` of each layer,
    or from zeros."""
    op = graph.op
    states = _embed(graph, model, ids, layout, char_ids)
    sequence_lens = layout.sequence_lens(op)
    cell, finals = CELLS[model.config.cell_type], []
    for index, layer in enumerate(model.layers):
        with graph.scope(f"model.layers.{index}"):
            start = None if past is None else past[index]
            states, parts = cell(graph, cast(Recurrence, layer), states, sequence_lens, start)
            if start is not None:
                parts = [op.Where(layout.empty, old, new) for old, new in zip(start, parts, strict=True)]
            finals.append(parts)
    return Encoded(states, finals)


def _embed(graph: Graph, model: RecurrentModel, ids: Value, layout: Layout, char_ids: Value | None) -> Value:
    """(T, N, E), the words of each row in front: embeddings, then the features of their characters."""
    op = graph.op
    with graph.scope("model.embed_tokens"):
        words = op.Gather(op.Reshape(ids, [-1]), layout.order)  # (T, N)
        embedded = op.Gather(graph.weight(model.embed_tokens.weight), words)
    if model.characters is None or char_ids is None:
        return embedded
    rows = op.Reshape(char_ids, op.Concat([-1], op.Shape(char_ids, start=2, end=3), axis=0))  # (N*T, W)
    features = encode_characters(graph, model.characters, rows)
    return op.Concat(embedded, op.Gather(features, layout.order), axis=-1)


def in_place(graph: Graph, states: Value, width: int, layout: Layout) -> Value:
    """`states` (T, N, W) at the positions of their words, as rows (N*T, W); zeros at padding."""
    op = graph.op
    rows = op.Gather(op.Reshape(states, [-1, width]), op.Reshape(layout.places, [-1]))
    return op.Where(op.Reshape(layout.mask, [-1, 1]), rows, 0.0)
