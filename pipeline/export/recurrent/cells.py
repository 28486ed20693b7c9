"""The cells of recurrent layers in the graph: an ONNX operator, the order of its gates and the layout of its weights;
or a `Scan`, where ONNX has no operator."""

# Shapes: T time, N rows, E features of the inputs, H units, D directions, K width of a convolution.

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

import torch

from pipeline.models.recurrent.minimal_cells import MinimalCell
from pipeline.models.recurrent.recurrence import Recurrence

from .graph import INT64, Graph, Value
from .layout import steps

TINY = torch.finfo(torch.float32).tiny  # both gates of a minLSTM may be zero


class Cell(Protocol):
    """How a layer is written into a graph."""

    def __call__(
        self, graph: Graph, layer: Recurrence, inputs: Value, sequence_lens: Value, start: Sequence[Value] | None
    ) -> tuple[Value, list[Value]]:
        """
        Args:
            layer: the parameters.
            inputs: (T, N, E), the words of each row in front.
            sequence_lens: (N,) int32, at least 1.
            start: the parts of the state to start from, (N, width) each, in a layer of one direction; None for zeros.

        Returns:
            Outputs (T, N, D*H), of any value at padding; and the parts of the state after the last word that each
            direction reads, (N, D*width) each.
        """


@dataclass(frozen=True)
class Fused:
    """A cell with an operator of its own in ONNX.

    Attributes:
        operator: its name.
        gates: where each gate of the operator is in torch's parameters.
        attributes: other attributes of the operator.
    """

    operator: str
    gates: tuple[int, ...]
    attributes: dict[str, Any] = field(default_factory=dict)

    def __call__(
        self, graph: Graph, layer: Recurrence, inputs: Value, sequence_lens: Value, start: Sequence[Value] | None
    ) -> tuple[Value, list[Value]]:
        op = graph.op
        starts = [] if start is None else [op.Unsqueeze(part, [0]) for part in start]  # (D, N, H)
        outputs, *finals = getattr(op, self.operator)(
            inputs,
            *self._weights(graph, layer),
            sequence_lens,
            *starts,
            hidden_size=layer.cell.hidden_size,
            direction="bidirectional" if len(layer.suffixes) == 2 else "forward",
            _outputs=1 + len(layer.cell.state_sizes()),
            **self.attributes,
        )
        outputs = op.Reshape(op.Transpose(outputs, perm=[0, 2, 1, 3]), [0, 0, -1])  # from (T, D, N, H)
        return outputs, [op.Reshape(op.Transpose(part, perm=[1, 0, 2]), [0, -1]) for part in finals]

    def _weights(self, graph: Graph, layer: Recurrence) -> list[Value]:
        """The inputs W (D, G*H, E), R (D, G*H, H) and B (D, 2*G*H) of the operator, under the names of the torch
        parameters without the direction."""

        def stacked(name: str) -> torch.Tensor:
            return torch.stack([self._reorder(layer.get_parameter(name + suffix)) for suffix in layer.suffixes])

        bias = torch.cat([stacked("bias_ih"), stacked("bias_hh")], dim=1)
        values = {"weight_ih": stacked("weight_ih"), "weight_hh": stacked("weight_hh"), "bias": bias}
        prefix = graph.name_of(layer.get_parameter("weight_ih_l0")).removesuffix("weight_ih_l0")
        return [graph.constant(prefix + name, value) for name, value in values.items()]

    def _reorder(self, parameter: torch.Tensor) -> torch.Tensor:
        chunks = parameter.detach().chunk(len(self.gates))
        return torch.cat([chunks[gate] for gate in self.gates])


def scanned(
    graph: Graph, layer: Recurrence, inputs: Value, sequence_lens: Value, start: Sequence[Value] | None
) -> tuple[Value, list[Value]]:
    """minGRU and minLSTM: h' = (1 - z) * h + z * c at each place, in both directions at once. See [`Cell`]."""
    op, cell = graph.op, cast(MinimalCell, layer.cell)
    lengths = op.Cast(sequence_lens, to=INT64)
    is_word = op.Unsqueeze(op.Less(op.Unsqueeze(steps(op, inputs, 0), [1]), lengths), [2])  # (T, N, 1)

    def flipped(values: Value) -> Value:
        return op.ReverseSequence(values, lengths, time_axis=0, batch_axis=1)

    shares, candidates, finals = [], [], []
    for suffix in layer.suffixes:
        own = flipped(inputs) if suffix.endswith("reverse") else inputs
        if cell.conv_kernel:
            own, last = _convolved(graph, layer, suffix, own, lengths, None if start is None else start[1])
            finals.append(last)
        weight, bias = (layer.get_parameter(name + suffix) for name in ("weight_ih", "bias_ih"))
        values = op.Add(op.MatMul(own, graph.constant(graph.name_of(weight), weight.t())), graph.weight(bias))
        *gates, candidate = op.Split(values, num_outputs=cell.gates, axis=-1, _outputs=cell.gates)
        i, *f = map(op.Sigmoid, gates)
        share = op.Div(i, op.Add(op.Add(f[0], i), TINY)) if f else i
        shares.append(op.Where(is_word, share, 0.0))  # a state stays as it is at padding
        candidates.append(candidate)
    share = op.Concat(*shares, axis=-1)  # (T, N, D*H)

    def step(op, before, kept, added):
        after = op.Add(op.Mul(before, kept), added)
        return after, op.Identity(after)

    added = op.Mul(share, op.Concat(*candidates, axis=-1))
    first = op.Expand(0.0, op.Shape(added, start=1)) if start is None else start[0]
    states = graph.scan(step, first, op.Sub(1.0, share), added)
    finals = [op.Gather(states, -1, axis=0), *([op.Concat(*finals, axis=-1)] if finals else [])]
    if len(layer.suffixes) == 2:
        forward, backward = op.Split(states, num_outputs=2, axis=-1, _outputs=2)
        states = op.Concat(forward, flipped(backward), axis=-1)
    return states, finals


def _convolved(
    graph: Graph, layer: Recurrence, suffix: str, inputs: Value, lengths: Value, earlier: Value | None
) -> tuple[Value, Value]:
    """The inputs (T, N, E) after the convolution in front of a layer, and those that it reads at the next word, (N,
    (K-1)*E)."""
    op = graph.op
    weight, bias = (layer.get_parameter(name + suffix) for name in ("conv_weight", "conv_bias"))
    kernel, width = weight.shape
    if earlier is None:
        before = op.Expand(0.0, op.Concat([kernel - 1], op.Shape(inputs, start=1), axis=0))
    else:
        before = op.Transpose(op.Reshape(earlier, [0, kernel - 1, width]), perm=[1, 0, 2])
    padded = op.Concat(before, inputs, axis=0)  # (K-1+T, N, E)
    time, weights, total = op.Shape(inputs, start=0, end=1), graph.weight(weight), graph.weight(bias)
    for place in range(kernel):
        words = op.Slice(padded, [place], op.Add(time, place), [0])
        total = op.Add(total, op.Mul(words, op.Gather(weights, place)))
    places = op.Unsqueeze(op.Add(op.Unsqueeze(lengths, [1]), list(range(kernel - 1))), [2])  # (N, K-1, 1)
    last = op.GatherND(op.Transpose(padded, perm=[1, 0, 2]), places, batch_dims=1)
    return op.Add(inputs, op.Mul(total, op.Sigmoid(total))), op.Reshape(last, [0, -1])


# torch has the gates of an LSTM in the order i, f, g, o and those of a GRU as r, z, n; ONNX as i, o, f, g and z, r, n.
CELLS: dict[str, Cell] = {
    "rnn": Fused("RNN", gates=(0,)),
    "lstm": Fused("LSTM", gates=(0, 3, 1, 2)),
    "gru": Fused("GRU", gates=(1, 0, 2), attributes={"linear_before_reset": 1}),
    "mingru": scanned,
    "minlstm": scanned,
}
