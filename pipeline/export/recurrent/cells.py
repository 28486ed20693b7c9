"""The cells of recurrent layers as ONNX operators: which one, the order of its gates, and the layout of its weights."""

# Shapes: T time, N rows, E features of the inputs, H units, D directions.

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch

from pipeline.models.recurrent.recurrence import Recurrence

from .graph import Graph, Value


class Cell(Protocol):
    """How a layer is written into a graph."""

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of the parts of the state, the output first."""

    def __call__(
        self, graph: Graph, layer: Recurrence, inputs: Value, sequence_lens: Value, start: Sequence[Value] | None
    ) -> tuple[Value, list[Value]]:
        """
        Args:
            layer: the parameters.
            inputs: (T, N, E), the words of each row in front.
            sequence_lens: (N,) int32, at least 1.
            start: the parts of the state to start from, (N, H) each, in a layer of one direction; None for zeros.

        Returns:
            Outputs (T, N, D*H), of any value at padding; and the parts of the state after the last word that each
            direction reads, (N, D*H) each.
        """


@dataclass(frozen=True)
class Fused:
    """A cell with an operator of its own in ONNX.

    Attributes:
        operator: its name.
        gates: where each gate of the operator is in torch's parameters.
        parts: see [`Cell`].
        attributes: other attributes of the operator.
    """

    operator: str
    gates: tuple[int, ...]
    parts: tuple[str, ...] = ("hidden",)
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
            _outputs=1 + len(self.parts),
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


# torch has the gates of an LSTM in the order i, f, g, o and those of a GRU as r, z, n; ONNX as i, o, f, g and z, r, n.
CELLS: dict[str, Cell] = {
    "rnn": Fused("RNN", gates=(0,)),
    "lstm": Fused("LSTM", gates=(0, 3, 1, 2), parts=("hidden", "cell")),
    "gru": Fused("GRU", gates=(1, 0, 2), attributes={"linear_before_reset": 1}),
}
