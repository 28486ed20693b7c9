"""Where the words of a batch are in the graph: padding in any pattern, texts without words, and pairs of texts."""

# Shapes: B batch, T time, N rows of the encoder: B, or 2*B for pairs.

from __future__ import annotations

from typing import NamedTuple

from onnxscript import OpBuilder

from .graph import BOOL, INT32, INT64, Value


class Layout(NamedTuple):
    """How the words of each row are moved to its front, and back.

    Attributes:
        mask: (N, T) bool, True at words.
        lengths: (N, 1) int64, the number of words.
        empty: (N, 1) bool, True for a row without words.
        order: (T, N) int64, the flat index n * T + t of the position that comes to each place; time first, as the
            recurrent operators read it.
        places: (N, T) int64, the flat index t * N + n of the place where each position has gone.
        front: (N, T) bool, True at the places with words.
    """

    mask: Value
    lengths: Value
    empty: Value
    order: Value
    places: Value
    front: Value

    def sequence_lens(self, op: OpBuilder) -> Value:
        """(N,) int32, at least 1: ONNX leaves open what the operators return for a row of length 0."""
        return op.Cast(op.Squeeze(op.Max(self.lengths, 1), [1]), to=INT32)


def size(op: OpBuilder, values: Value, axis: int) -> Value:
    """The size of an axis as a scalar."""
    return op.Squeeze(op.Shape(values, start=axis, end=axis + 1), [0])


def steps(op: OpBuilder, values: Value, axis: int) -> Value:
    """0, 1, ... along an axis."""
    return op.Range(0, size(op, values, axis), 1)


def make_layout(op: OpBuilder, mask: Value) -> Layout:
    """The layout of rows with words where `mask` (N, T) is True."""
    rows, time = steps(op, mask, 0), size(op, mask, 1)
    positions = steps(op, mask, 1)
    words = op.Cast(mask, to=INT64)
    lengths = op.ReduceSum(words, [1], keepdims=1)
    # Words by position, then padding by position. Sorting a permutation inverts it.
    keys = op.Add(positions, op.Mul(op.Sub(1, words), time))
    order = _argsort(op, keys)
    places = _argsort(op, order)
    row = op.Unsqueeze(rows, [1])  # (N, 1)
    return Layout(
        mask=mask,
        lengths=lengths,
        empty=op.Equal(lengths, 0),
        order=op.Transpose(op.Add(order, op.Mul(row, time)), perm=[1, 0]),
        places=op.Add(op.Mul(places, size(op, mask, 0)), row),
        front=op.Less(positions, lengths),
    )


def _argsort(op: OpBuilder, keys: Value) -> Value:
    """The order (N, T) that sorts each row of `keys` (N, T), which are all different."""
    return op.TopK(keys, op.Shape(keys, start=1, end=2), axis=1, largest=0, _outputs=2)[1]


def at_least_one(op: OpBuilder, *inputs: Value) -> list[Value]:
    """The `inputs` (B, T, ...) of integers, with one position of zeros if T is 0."""
    missing = op.Max(op.Sub(1, op.Shape(inputs[0], start=1, end=2)), [0])  # (1,)
    pads = op.Concat([0], missing, axis=0)
    return [op.Pad(values, pads, None, [1]) for values in inputs]


def with_words(op: OpBuilder, ids: Value, mask: Value, token: int | None) -> tuple[Value, Value]:
    """`ids` and `mask` (B, T), T at least 1, with `token`, if there is one, at the last position of each row without
    words."""
    if token is None:
        return ids, mask
    has_words = op.Cast(op.ReduceMax(op.Cast(mask, to=INT32), [1]), to=BOOL)  # (B, 1)
    is_last = op.Equal(steps(op, ids, 1), op.Sub(size(op, ids, 1), 1))  # (T,)
    places = op.And(op.Not(has_words), is_last)
    return op.Where(places, token, ids), op.Or(mask, places)
