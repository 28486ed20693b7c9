"""The layer that runs a cell over a batch in one or both directions."""

# Shapes: B batch, T time, E features of the inputs, H hidden_size, D directions; S segments of a packed batch, L the
# length of the longest one.
# The state of a layer is a tuple of the parts that its cell names, each (B, D*width), forward half first.

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F
from transformers import initialization as init
from transformers.modeling_layers import GradientCheckpointingLayer

from .cells import Cell, GRUCell, LSTMCell, RNNCell, State, Weights
from .configuration_recurrent import RecurrentConfig
from .dropout import dropout
from .layout import Layout, Packing, clear_padding, permute
from .minimal_cells import MinGRUCell, MinLSTMCell
from .per_sample import refuse_hooks

# A new cell also needs its name in the `Literal` of `cell_type` in configuration_recurrent.py.
CELLS: dict[str, type[Cell]] = {
    "rnn": RNNCell,
    "lstm": LSTMCell,
    "gru": GRUCell,
    "mingru": MinGRUCell,
    "minlstm": MinLSTMCell,
}


def make_cell(config: RecurrentConfig, layer_idx: int) -> Cell:
    """The cell of a layer. The first layer reads the embeddings, the others what the layer below returns."""
    input_size = config.units_of(layer_idx - 1) * config.directions if layer_idx else config.input_size
    return CELLS[config.cell_type].from_config(config, input_size, config.units_of(layer_idx))


class Recurrence(nn.Module):
    """The parameters of a cell for one or both directions, and the initial values of both."""

    def __init__(self, cell: Cell, bidirectional: bool = False, weight_dropout: float = 0.0):
        super().__init__()
        self.cell = cell
        self.weight_dropout = weight_dropout
        self.suffixes = ("_l0", "_l0_reverse") if bidirectional else ("_l0",)
        for suffix in self.suffixes:
            for name, shape in cell.parameter_shapes().items():
                self.register_parameter(name + suffix, nn.Parameter(torch.empty(shape)))

    def init_weights(self) -> None:
        """The cell's initial values, computed in float32: orthogonal matrices do not exist in half precision."""
        for suffix in self.suffixes:
            for name in self.cell.parameter_shapes():
                parameter = getattr(self, name + suffix)
                value = torch.zeros(parameter.shape, dtype=torch.float32, device=parameter.device)
                self.cell.initialize(name, value)
                init.copy_(parameter, value)

    def run_directions(
        self, inputs: torch.Tensor, layout: Layout | None, state: State | None = None, return_state: bool = False
    ) -> tuple[torch.Tensor, State]:
        """What [`Cell.run_directions`] returns for compacted `inputs` (B, T, E), from `state` or from zeros."""
        weights = [self._weights(suffix) for suffix in self.suffixes]
        return self.cell.run_directions(inputs, weights, self._start_states(inputs, state), layout, return_state)

    def _weights(self, suffix: str) -> Weights:
        weights = {name: getattr(self, name + suffix) for name in self.cell.parameter_shapes()}
        if self.weight_dropout and self.training:
            # One mask for all positions, because weights are dropped, not states (Merity et al. 2017, section 2).
            for name in self.cell.recurrent_weights:
                weights[name] = dropout(weights[name], self.weight_dropout)
        return weights

    def _start_states(self, inputs: torch.Tensor, state: State | None) -> list[State]:
        """The state that each direction starts from: its half of `state`, or zeros."""
        if state is not None:
            halves = [part.chunk(len(self.suffixes), dim=-1) for part in state]
            return list(zip(*halves, strict=True))
        name = next(iter(self.cell.parameter_shapes())) + self.suffixes[0]
        dtype = getattr(self, name).dtype  # not that of the inputs, which autocast may have lowered
        sizes = self.cell.state_sizes().values()
        zeros = tuple(inputs.new_zeros(inputs.shape[0], size, dtype=dtype) for size in sizes)
        return [zeros] * len(self.suffixes)


class RecurrentLayer(GradientCheckpointingLayer, Recurrence):
    """One layer of a recurrent model. Padding has no influence on any output."""

    def __init__(self, config: RecurrentConfig, layer_idx: int):
        cell = make_cell(config, layer_idx)
        if config.weight_dropout and not cell.recurrent_weights:
            raise ValueError(
                f"`weight_dropout` is {config.weight_dropout}; a cell of the type {config.cell_type!r} has no"
                " hidden-to-hidden weights to drop. Set it to 0."
            )
        super().__init__(cell, config.bidirectional, config.weight_dropout)

    def forward(
        self,
        hidden_states: torch.Tensor,
        *state: torch.Tensor,
        layout: Layout | Packing | None = None,
        return_state: bool = False,
    ) -> tuple[torch.Tensor, ...]:
        """
        Args:
            hidden_states: (B, T, E).
            state: the parts of the state to start from; none of them for zeros. Reentrant checkpointing only passes
                gradients to positional tensors.
            layout: where the words are; a packing if rows hold several texts, None if every position is a word.
            return_state: whether to return the whole final state, to continue from. The output alone is cheaper.

        Returns:
            Outputs at every position, (B, T, D*H), zero at padding; then the parts of the state after each direction's
            last word, (B, D*width): all of them with `return_state`, otherwise the first, (B, D*H). A row without
            words keeps the state that it started from.
        """
        refuse_hooks(self)
        if isinstance(layout, Packing):
            return self._packed(hidden_states, layout, state or None, return_state)
        return self._padded(hidden_states, layout, state or None, return_state)

    def _padded(
        self, hidden_states: torch.Tensor, layout: Layout | None, state: State | None, return_state: bool
    ) -> tuple[torch.Tensor, ...]:
        """The layer over rows that hold one text each: move the words to the front, run, and move them back."""
        if layout is not None and layout.compact is not None:
            hidden_states = permute(hidden_states, *layout.compact)
        output, final = self.run_directions(hidden_states, layout, state, return_state)
        if layout is not None:
            if layout.compact is not None:
                output = permute(output, *reversed(layout.compact))
            output = clear_padding(output, layout.mask)
        return output, *final  # a flat tuple: reentrant checkpointing only finds tensors at the top level

    def _packed(
        self, hidden_states: torch.Tensor, packing: Packing, state: State | None, return_state: bool
    ) -> tuple[torch.Tensor, ...]:
        """The layer over each text of a packed batch on its own. The final state of a row is that of its last text."""
        segments = hidden_states.flatten(0, 1)[packing.cut]  # (S, L, E)
        if state is not None:
            # A row of zeros, with the index B, for the segments that do not start from the state of a row.
            state = tuple(F.pad(part, (0, 0, 0, 1))[packing.first] for part in state)
        outputs, *finals = self._padded(segments, packing.layout, state, return_state)
        pasted = outputs.flatten(0, 1)[packing.paste].view(*hidden_states.shape[:2], -1)
        return pasted, *(part[packing.last] for part in finals)


__all__ = ["CELLS", "Recurrence", "RecurrentLayer", "make_cell"]
