"""minGRU and minLSTM (Feng et al. 2024): cells whose gates read the input alone, not the state before."""

# Shapes: B batch, T time, E features of the inputs, H hidden_size, D directions, G gates with the candidate, K
# conv_kernel.

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import nn
from torch.nn import functional as F

from .cells import Cell, State, Weights, after_last_word
from .configuration_recurrent import RecurrentConfig
from .cpu_kernels import can_run
from .cpu_linear import linear
from .layout import Layout
from .mixing import mix, mix_on_cpu


class MinimalCell(Cell):
    """h' = h + z * (c - h), where the candidate c = W_c x + b_c and the gate z depend on the input alone (Feng et al.
    2024, section 3). There are no hidden-to-hidden weights, so that all products are one, over all positions.

    A convolution in front lets gates and candidates depend on the words before as well: x' = x + SiLU(sum of w_k * x_k
    + b) over the last K positions, each feature on its own, as in Mamba (Gu & Dao 2023, section 3.4).

    Args:
        update_bias: what z starts from: z = sigmoid(update_bias) for an input of zeros.
        conv_kernel: K, the width of the convolution, the current position included; None for none.
    """

    gates: ClassVar[int]

    def __init__(self, input_size: int, hidden_size: int, update_bias: float = 0.0, conv_kernel: int | None = None):
        super().__init__(input_size, hidden_size)
        self.update_bias = update_bias
        self.conv_kernel = conv_kernel

    @classmethod
    def from_config(cls, config: RecurrentConfig, input_size: int, hidden_size: int) -> MinimalCell:
        return cls(input_size, hidden_size, config.update_bias, config.conv_kernel)

    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        width = self.gates * self.hidden_size
        shapes: dict[str, tuple[int, ...]] = {"weight_ih": (width, self.input_size), "bias_ih": (width,)}
        if self.conv_kernel:
            shapes |= {"conv_weight": (self.conv_kernel, self.input_size), "conv_bias": (self.input_size,)}
        return shapes

    def state_sizes(self) -> dict[str, int]:
        """The state, and what the convolution reads of the words before: (K-1)*E, the oldest first."""
        sizes = super().state_sizes()
        return {**sizes, "inputs": (self.conv_kernel - 1) * self.input_size} if self.conv_kernel else sizes

    def initialize(self, name: str, value: torch.Tensor) -> None:
        if name == "weight_ih":
            for gate in value.chunk(self.gates):
                nn.init.xavier_uniform_(gate)
        elif name == "conv_weight":
            nn.init.uniform_(value, -(len(value) ** -0.5), len(value) ** -0.5)

    # As in the fused cells: Dynamo would record one operation for each position.
    @torch.compiler.disable
    def run(
        self, inputs: torch.Tensor, weights: Weights, start: State, layout: Layout | None, return_state: bool
    ) -> tuple[torch.Tensor, State]:
        state, *earlier = start
        read = self._convolve(inputs, earlier[0], weights) if self.conv_kernel else inputs
        values = linear(read, weights["weight_ih"], weights["bias_ih"]).to(state.dtype)
        if can_run(values, state):
            outputs, final = mix_on_cpu(values, state, None if layout is None else layout.lengths, directions=1)
        else:
            outputs = mix(values, state)
            final = after_last_word(outputs, state, layout)
        if return_state and self.conv_kernel:
            return outputs, (final, self._last_inputs(inputs, earlier[0], layout))
        return outputs, (final,)

    @torch.compiler.disable
    def run_directions(
        self,
        inputs: torch.Tensor,
        weights: Sequence[Weights],
        starts: Sequence[State],
        layout: Layout | None,
        return_state: bool,
    ) -> tuple[torch.Tensor, State]:
        start = torch.cat([state for state, *_ in starts], dim=-1)
        # A convolution reads other words in each direction.
        if len(weights) == 1 or self.conv_kernel or not can_run(inputs, start):
            return super().run_directions(inputs, weights, starts, layout, return_state)
        stacked = (torch.cat([own[name] for own in weights]) for name in ("weight_ih", "bias_ih"))
        # Time first in memory, as the loop reads them and as the layer below has written the inputs.
        values = linear(inputs.transpose(0, 1), *stacked).to(start.dtype).transpose(0, 1)
        outputs, final = mix_on_cpu(values, start, None if layout is None else layout.lengths, directions=2)
        return outputs, (final,)

    def _convolve(self, inputs: torch.Tensor, earlier: torch.Tensor, weights: Weights) -> torch.Tensor:
        """x' for `inputs` (B, T, E) after the `earlier` ones (B, (K-1)*E)."""
        padded = self._after(earlier, inputs)
        total = weights["conv_bias"]
        for place, weight in enumerate(weights["conv_weight"].unbind()):
            total = torch.addcmul(total, padded[:, place : place + inputs.shape[1]], weight)
        return inputs + F.silu(total)

    def _after(self, earlier: torch.Tensor, inputs: torch.Tensor) -> torch.Tensor:
        """(B, K-1+T, E)"""
        return torch.cat([earlier.unflatten(1, (-1, self.input_size)).to(inputs.dtype), inputs], dim=1)

    def _last_inputs(self, inputs: torch.Tensor, earlier: torch.Tensor, layout: Layout | None) -> torch.Tensor:
        """The K-1 inputs up to the last word of each row, (B, (K-1)*E), from `inputs` (B, T, E) and those before."""
        assert self.conv_kernel is not None
        padded = self._after(earlier, inputs.to(earlier.dtype))
        if layout is None:
            return padded[:, inputs.shape[1] :].flatten(1)
        places = layout.lengths + torch.arange(self.conv_kernel - 1, device=inputs.device)  # (B, K-1)
        return padded.gather(1, places[..., None].expand(-1, -1, self.input_size)).flatten(1)


class MinGRUCell(MinimalCell):
    """z = sigmoid(W_z x + b_z) (Feng et al. 2024, section 3.1)."""

    gates = 2

    def initialize(self, name: str, value: torch.Tensor) -> None:
        super().initialize(name, value)
        if name == "bias_ih":
            update, _ = value.chunk(2)
            update.fill_(self.update_bias)


class MinLSTMCell(MinimalCell):
    """z = i / (f + i), with i = sigmoid(W_i x + b_i) and f = sigmoid(W_f x + b_f) (Feng et al. 2024, section 3.2).
    Gates in the order i, f."""

    gates = 3

    def initialize(self, name: str, value: torch.Tensor) -> None:
        super().initialize(name, value)
        if name == "bias_ih":  # log i - log f is then update_bias
            i, f, _ = value.chunk(3)
            i.fill_(self.update_bias)
            f.fill_(-self.update_bias)


__all__ = ["MinGRUCell", "MinLSTMCell", "MinimalCell"]
