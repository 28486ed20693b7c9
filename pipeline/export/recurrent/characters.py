"""The character encoders of words in the graph: the CNN and the bidirectional LSTM."""

# Shapes: N words, W characters of a word, E char_embedding_size, H char_hidden_size,
# V char_vocab_size.

from __future__ import annotations

import torch
from torch import nn

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
        longest = op.ReduceMax(lengths, [0], keepdims=0)  # (1,)
        char_ids = op.Slice(char_ids, [0], op.Max(longest, 1), [1])
        if isinstance(encoder, CharacterCNN):
            features = _cnn(graph, encoder, module.embedding, char_ids, lengths)
        else:
            features = _lstm(graph, encoder, module.embedding, char_ids, lengths)
        return op.Where(op.Equal(lengths, 0), 0.0, features)


def _cnn(graph: Graph, encoder: CharacterCNN, embedding: nn.Embedding, char_ids: Value, lengths: Value) -> Value:
    """A filter over a window is a sum of what each of the three characters adds to it. These summands are computed
    here, once for each character of the vocabulary; the graph looks them up, which is faster than a convolution."""
    op, prefix = graph.op, graph.name_of(encoder.weight).removesuffix("weight")
    embeddings = embedding.weight.double().clone()
    embeddings[0] = 0.0  # padding, also in front of the first character and behind the last
    tables = torch.einsum("ve,hke->kvh", embeddings, encoder.weight.double().unflatten(1, (3, -1)))  # (3, V, H)
    tables[1] += encoder.bias
    ids = op.Pad(char_ids, [1, 1], None, [1])  # (N, W+2)
    width = op.Shape(char_ids, start=1, end=2)
    added = op.Unsqueeze(op.Where(op.Less(steps(op, char_ids, 1), lengths), 0.0, LOWEST), [2])  # (N, W, 1)
    for start, (name, table) in enumerate(zip(("before", "at", "after"), tables, strict=True)):
        window = op.Slice(ids, [start], op.Add(width, start), [1])
        added = op.Add(op.Gather(graph.constant(prefix + name, table), window), added)
    return op.ReduceMax(added, [1], keepdims=0)


def _lstm(graph: Graph, encoder: CharacterLSTM, embedding: nn.Embedding, char_ids: Value, lengths: Value) -> Value:
    op = graph.op
    embedded = op.Gather(graph.weight(embedding.weight), op.Transpose(char_ids, perm=[1, 0]))  # (W, N, E)
    sequence_lens = op.Cast(op.Squeeze(op.Max(lengths, 1), [1]), to=INT32)
    _, (final, _) = CELLS["lstm"](graph, encoder, embedded, sequence_lens, None)
    return final
