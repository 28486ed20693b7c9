"""The cells of recurrent layers: what a recurrence is, and RNN, GRU and LSTM."""

# Shapes: B batch, T time, E features of the inputs, H hidden_size, G gates, D directions, P parts of the state.
# The state of a cell is a tuple of the parts that it names, each (B, width).

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from torch import nn
from torch.nn import functional as F

from .configuration_recurrent import RecurrentConfig
from .cpu_kernels import can_run, gru, is_faster, rnn
from .cpu_linear import linear
from .layout import Layout, is_transformed, reverse
from .scan import scan

# Up to this many rows, a word is read faster without oneDNN.
FEW_ROWS = 16

State = tuple[torch.Tensor, ...]
Weights = dict[str, torch.Tensor]


class Cell(ABC):
    """A recurrence in one direction: which parameters it has, how they start, and how it runs.

    To add a cell, subclass this and name the class in `CELLS` (recurrence.py). A cell holds no tensors: the layer
    registers its parameters, under the names given here plus `_l0` or `_l0_reverse`, and passes them to `run`.

    Attributes:
        recurrent_weights: names of the hidden-to-hidden matrices, which `weight_dropout` applies to; may be empty.
    """

    recurrent_weights: ClassVar[tuple[str, ...]] = ()

    def __init__(self, input_size: int, hidden_size: int):
        self.input_size = input_size
        self.hidden_size = hidden_size

    @classmethod
    def from_config(cls, config: RecurrentConfig, input_size: int, hidden_size: int) -> Cell:
        """The cell of a layer of these sizes."""
        return cls(input_size, hidden_size)

    @abstractmethod
    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """Name and shape of each parameter."""

    def state_sizes(self) -> dict[str, int]:
        """Name and width of each part of the state. The first part is the output, `hidden_size` wide."""
        return {"hidden": self.hidden_size}

    @abstractmethod
    def initialize(self, name: str, value: torch.Tensor) -> None:
        """Change `value`, zeros in float32, into the initial value of the parameter `name`."""

    @abstractmethod
    def run(
        self, inputs: torch.Tensor, weights: Weights, start: State, layout: Layout | None, return_state: bool
    ) -> tuple[torch.Tensor, State]:
        """Read each row from left to right.

        Args:
            inputs: (B, T, E), the words of each row in front.
            weights: this direction's parameters by name, `recurrent_weights` after dropout.
            start: the parts of the state to start from, each (B, width).
            layout: how many words each row has; None if all T positions are words.
            return_state: whether the whole final state is needed; otherwise its first part is enough.

        Returns:
            Outputs (B, T, H), of any value at padding; and the parts of the state after the last word of each row,
            those of `start` in a row without words. [`after_last_word`] picks them out of the values at all positions.
        """

    def run_directions(
        self,
        inputs: torch.Tensor,
        weights: Sequence[Weights],
        starts: Sequence[State],
        layout: Layout | None,
        return_state: bool,
    ) -> tuple[torch.Tensor, State]:
        """Read each row from left to right and, with two sets of weights, also from right to left.

        Returns:
            Outputs (B, T, D*H) in the order of the words, forward half first, of any value at padding; and the parts of
            the state after the last word of each direction, (B, D*width).
        """
        joined, states = [], []
        for direction, (own, start) in enumerate(zip(weights, starts, strict=True)):
            given = reverse(inputs, layout) if direction else inputs
            outputs, state = self.run(given, own, start, layout, return_state)
            joined.append(reverse(outputs, layout) if direction else outputs)
            states.append(state)
        return _join(joined), tuple(_join(parts) for parts in zip(*states, strict=True))


def _join(parts: Sequence[torch.Tensor]) -> torch.Tensor:
    """The directions side by side, forward first."""
    return parts[0] if len(parts) == 1 else torch.cat(list(parts), dim=-1)


def after_last_word(values: torch.Tensor, start: torch.Tensor, layout: Layout | None) -> torch.Tensor:
    """A part of the state after the last word of each row, (B, W), from its `values` (B, T, W) after each position and
    its value at the `start` (B, W), which an empty row keeps."""
    if layout is None:
        return values[:, -1]
    picked = values.flatten(0, 1).index_select(0, layout.last)
    return torch.where(layout.lengths > 0, picked, start.to(values.dtype))


class FusedCell(Cell):
    """A cell that torch has a fused operator for. Parameters have the names, shapes and gate order of
    `torch.nn.RNN`, `LSTM` and `GRU`, so that weights can be exchanged with them.

    Each gate reads W_ih x + b_ih + W_hh h + b_hh. Hidden-to-hidden matrices start orthogonal, one gate at a time (Saxe
    et al. 2014), input-to-hidden ones Glorot-uniform, biases at zero.
    """

    gates: ClassVar[int]
    operator: ClassVar[Callable[..., Any]]
    kernel: ClassVar[Callable[..., tuple[torch.Tensor, ...]] | None] = None
    """What runs on a CPU in its place, if it is faster there, for one or both directions."""
    recurrent_weights = ("weight_hh",)

    @staticmethod
    @abstractmethod
    def step(
        state: torch.Tensor, inputs: torch.Tensor, weights: list[torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The operator at one position.

        Args:
            state: (P, B, H), the parts of the state.
            inputs: (B, G*H), W_ih x + b_ih.
            weights: W_hh and b_hh.

        Returns:
            The state after the position, twice; see [`scan`].
        """

    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        width = self.gates * self.hidden_size
        return {
            "weight_ih": (width, self.input_size),
            "weight_hh": (width, self.hidden_size),
            "bias_ih": (width,),
            "bias_hh": (width,),
        }

    def initialize(self, name: str, value: torch.Tensor) -> None:
        for gate in value.chunk(self.gates):
            if name == "weight_hh":
                nn.init.orthogonal_(gate)
            elif name == "weight_ih":
                nn.init.xavier_uniform_(gate)

    # Dynamo cannot trace the fused operators, so the graph breaks here. On the CPU the padded operator is used, as
    # PackedSequence takes several times as long; on CUDA the two have not been compared.
    @torch.compiler.disable
    def run(
        self, inputs: torch.Tensor, weights: Weights, start: State, layout: Layout | None, return_state: bool
    ) -> tuple[torch.Tensor, State]:
        if isinstance(inputs.shape[1], torch.SymInt) or is_transformed():
            return self._run_steps(inputs, weights, start, layout, return_state)
        if self._has_kernel_for(inputs, start):
            ((outputs, final),) = self._run_kernel([inputs], [weights], [start], layout)
            return outputs, (final,)
        state = [part[None] for part in start]  # (layers, B, H)
        # (input, state, weights, has_biases, num_layers, dropout, train, bidirectional, batch_first)
        outputs, *final = self.operator(
            inputs, state if len(state) > 1 else state[0], list(weights.values()), True, 1, 0.0, False, False, True
        )
        h, *others = (part[0] for part in final)
        if layout is not None:  # the operator has read on through the padding
            h = after_last_word(outputs, start[0], layout)
        return outputs, (h, *others) if return_state else (h,)

    def run_directions(
        self,
        inputs: torch.Tensor,
        weights: Sequence[Weights],
        starts: Sequence[State],
        layout: Layout | None,
        return_state: bool,
    ) -> tuple[torch.Tensor, State]:
        if self.kernel is None or len(weights) == 1:
            return super().run_directions(inputs, weights, starts, layout, return_state)
        return self._run_both(inputs, weights, starts, layout, return_state)

    @torch.compiler.disable
    def _run_both(
        self,
        inputs: torch.Tensor,
        weights: Sequence[Weights],
        starts: Sequence[State],
        layout: Layout | None,
        return_state: bool,
    ) -> tuple[torch.Tensor, State]:
        """Both directions at once, where there is a kernel: a position takes as many calls as in one."""
        if not self._has_kernel_for(inputs, starts[0]):
            return super().run_directions(inputs, weights, starts, layout, return_state)
        pairs = self._run_kernel([inputs, reverse(inputs, layout)], weights, starts, layout)
        (forward, last), (backward, first) = pairs
        return _join([forward, reverse(backward, layout)]), (_join([last, first]),)

    def _has_kernel_for(self, inputs: torch.Tensor, start: State) -> bool:
        return self.kernel is not None and can_run(inputs, start[0]) and is_faster(start[0])

    def _run_kernel(
        self, inputs: Sequence[torch.Tensor], weights: Sequence[Weights], starts: Sequence[State], layout: Layout | None
    ) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Outputs (B, T, H) and final state (B, H) of each direction, from its inputs (B, T, E)."""
        assert self.kernel is not None
        values = []
        for own, given in zip(weights, inputs, strict=True):
            flat = given.transpose(0, 1).flatten(0, 1)  # one product over all positions, also under autocast
            read = linear(flat, own["weight_ih"], own["bias_ih"]).to(starts[0][0].dtype)
            values.append(read.view(given.shape[1], len(given), -1))
        first = [start for start, *_ in starts]
        states = self.kernel(values, first, *([own[name] for own in weights] for name in ("weight_hh", "bias_hh")))
        outputs = [own.transpose(0, 1) for own in states]
        return [(own, after_last_word(own, start, layout)) for own, start in zip(outputs, first, strict=True)]

    def _run_steps(
        self, inputs: torch.Tensor, weights: Weights, start: State, layout: Layout | None, return_state: bool
    ) -> tuple[torch.Tensor, State]:
        """The same, one position at a time, which is slower: an exported operator only fits texts of one length, and
        `torch.func` has no rules for it."""
        values = F.linear(inputs, weights["weight_ih"], weights["bias_ih"]).transpose(0, 1)  # (T, B, G*H)
        _, states = scan(self.step, torch.stack(start), values, [weights["weight_hh"], weights["bias_hh"]])
        parts = states.permute(1, 2, 0, 3)  # (P, B, T, H)
        final = tuple(after_last_word(*pair, layout) for pair in zip(parts, start, strict=True))
        return parts[0], final if return_state else final[:1]


class RNNCell(FusedCell):
    """h' = tanh(W_ih x + b_ih + W_hh h + b_hh) (Elman 1990)."""

    gates = 1
    operator = staticmethod(torch.rnn_tanh)
    kernel = staticmethod(rnn)

    @staticmethod
    def step(state, inputs, weights):
        after = torch.tanh(inputs + F.linear(state[0], *weights))[None].to(state.dtype)
        return after, after


class GRUCell(FusedCell):
    """Gated recurrent unit (Cho et al. 2014, section 2.3), in cuDNN's form with the reset gate after the matrix
    product: n = tanh(W_in x + b_in + r * (W_hn h + b_hn)). Gates in the order r, z, n."""

    gates = 3
    operator = staticmethod(torch.gru)
    kernel = staticmethod(gru)

    @staticmethod
    def step(state, inputs, weights):
        h = state[0]
        (r, z, n), (r_h, z_h, n_h) = inputs.chunk(3, dim=-1), F.linear(h, *weights).chunk(3, dim=-1)
        z, n = torch.sigmoid(z + z_h), torch.tanh(n + torch.sigmoid(r + r_h) * n_h)
        after = (n + z * (h - n))[None].to(state.dtype)
        return after, after


def _lstm(inputs: torch.Tensor, state: Any, weights: Sequence[torch.Tensor], *options: Any) -> Any:
    """`torch.lstm`, in the precision of the weights where autocast asks for one that it does not run in."""
    run: Callable[..., Any] = torch.lstm
    if inputs.device.type != "cpu" or not torch.is_autocast_enabled("cpu") or _runs_in(torch.get_autocast_dtype("cpu")):
        return run(inputs, state, weights, *options)
    with torch.autocast("cpu", enabled=False):
        return run(inputs.to(weights[0].dtype), state, weights, *options)


@functools.cache
def _runs_in(dtype: torch.dtype) -> bool:
    """Whether `torch.lstm` runs in autocast to `dtype` on this processor, which is tried once. oneDNN has no LSTM in
    bfloat16 for those without AVX-512, where other operators are emulated."""
    inputs, state, weights = torch.zeros(1, 2, 1), torch.zeros(1, 1, 1), [torch.zeros(4, 1)] * 2
    try:
        with torch.autocast("cpu", dtype):
            torch.lstm(inputs, [state, state], weights, False, 1, 0.0, False, False, True)
    except RuntimeError:
        return False
    return True


class LSTMCell(FusedCell):
    """Long short-term memory (Hochreiter & Schmidhuber 1997) with the forget gate of Gers et al. (2000):
    c' = f * c + i * g and h' = o * tanh(c'). Gates in the order i, f, g, o."""

    gates = 4
    operator = staticmethod(_lstm)

    @staticmethod
    def step(state, inputs, weights):
        h, c = state.unbind()
        i, f, g, o = (inputs + F.linear(h, *weights)).chunk(4, dim=-1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        after = torch.stack([torch.sigmoid(o) * torch.tanh(c), c]).to(state.dtype)
        return after, after

    def state_sizes(self) -> dict[str, int]:
        return {"hidden": self.hidden_size, "cell": self.hidden_size}

    def initialize(self, name: str, value: torch.Tensor) -> None:
        super().initialize(name, value)
        if name == "bias_ih":
            _, forget_gate, _, _ = value.chunk(4)
            forget_gate.fill_(1.0)  # remembers at first (Jozefowicz et al. 2015, section 2.2)

    @torch.compiler.disable
    def run(
        self, inputs: torch.Tensor, weights: Weights, start: State, layout: Layout | None, return_state: bool
    ) -> tuple[torch.Tensor, State]:
        if layout is None and self._is_small_step(inputs, start):
            h, c = torch.lstm_cell(inputs[:, 0], start, *weights.values())
            return h[:, None], (h, c)
        if return_state and layout is not None:
            inputs, weights = self._hold_cell_state(inputs, weights, layout)
        return super().run(inputs, weights, start, layout, return_state)

    @staticmethod
    def _is_small_step(inputs: torch.Tensor, start: State) -> bool:
        """Whether this is one word of few rows, as in generation on a CPU. oneDNN's operator then takes most of its
        time for rearranging the weights, which it does on each call."""
        return (
            can_run(inputs, start[0])  # before a size that a graph may leave open
            and inputs.shape[1] == 1
            and inputs.shape[0] <= FEW_ROWS
            and not torch.is_grad_enabled()
            and not torch.is_autocast_enabled("cpu")
        )

    @staticmethod
    def _hold_cell_state(inputs: torch.Tensor, weights: Weights, layout: Layout) -> tuple[torch.Tensor, Weights]:
        """Add a feature to the inputs (B, T, E+1), and a column to `weight_ih` (4*H, E+1), that make c pass through
        padding unchanged.

        The operator returns h at every position, but c after the last one only, which is padding in a shorter row. The
        feature is 1 at padding and 0 at words. Its weights close the input gate and open the forget gate, so that at
        padding c' = 1 * c + 0 * g.
        """
        padding = torch.arange(inputs.shape[1], device=inputs.device) >= layout.lengths  # (B, T)
        weight_ih = weights["weight_ih"]
        input_gate, forget_gate, *others = torch.zeros_like(weight_ih[:, :1]).chunk(4)  # (H, 1) each
        # Large enough to saturate a sigmoid for any other inputs, and still finite in float16.
        column = torch.cat([input_gate - 1e4, forget_gate + 1e4, *others])
        inputs = torch.cat([inputs, padding[..., None].to(inputs.dtype)], dim=-1)
        return inputs, {**weights, "weight_ih": torch.cat([weight_ih, column], dim=1)}


__all__ = ["Cell", "FusedCell", "GRUCell", "LSTMCell", "RNNCell", "State", "Weights", "after_last_word"]
