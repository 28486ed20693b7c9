"""The character encoders of words in the graph: the CNN and the bidirectional LSTM."""

# Shapes: N words, W characters of a word, E char_embedding_size, H char_hidden_size.

from __future__ import annotations

import torch

from pipeline.models.recurrent.characters import CharacterCNN, CharacterEncoder, CharacterLSTM

from .cells import CELLS
from .graph import INT32, INT64, Graph, Value
from .layout import steps

LOWEST = torch.finfo(torch.float32).min


def encode(graph: Graph, module: CharacterEncoder, char_ids: Value) -> Value:
    """Features (N, H), or (N, 2*H) of the LSTM, from `char_ids` (N, W); zeros for words without characters."""
    op, encoder = graph.op, module.encoder
    with graph.scope("model.characters"):
        lengths = op.ReduceSum(op.Cast(op.Not(op.Equal(char_ids, 0)), to=INT64), [1], keepdims=1)  # (N, 1)
        embeddings = graph.weight(module.embedding.weight)
        if isinstance(encoder, CharacterCNN):
            features = _cnn(graph, encoder, embeddings, char_ids, lengths)
        else:
            features = _lstm(graph, encoder, embeddings, char_ids, lengths)
        return op.Where(op.Equal(lengths, 0), 0.0, features)


def _cnn(graph: Graph, encoder: CharacterCNN, embeddings: Value, char_ids: Value, lengths: Value) -> Value:
    op = graph.op
    inside = op.Unsqueeze(op.Less(steps(op, char_ids, 1), lengths), [1])  # (N, 1, W)
    embedded = op.Transpose(op.Gather(embeddings, char_ids), perm=[0, 2, 1])  # (N, E, W)
    # torch's model multiplies windows of three characters, (H, 3*E); a convolution has the kernel (H, E, 3).
    kernel = encoder.weight.unflatten(1, (3, -1)).transpose(1, 2)
    filtered = op.Conv(
        op.Where(inside, embedded, 0.0),
        graph.constant(graph.name_of(encoder.weight), kernel),
        graph.weight(encoder.bias),
        pads=[1, 1],
    )  # (N, H, W)
    return op.ReduceMax(op.Where(inside, filtered, LOWEST), [2], keepdims=0)


def _lstm(graph: Graph, encoder: CharacterLSTM, embeddings: Value, char_ids: Value, lengths: Value) -> Value:
    op = graph.op
    embedded = op.Gather(embeddings, op.Transpose(char_ids, perm=[1, 0]))  # (W, N, E)
    sequence_lens = op.Cast(op.Squeeze(op.Max(lengths, 1), [1]), to=INT32)
    _, (final, _) = CELLS["lstm"](graph, encoder, embedded, sequence_lens, None)
    return final
