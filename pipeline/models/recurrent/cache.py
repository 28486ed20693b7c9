"""The state of a recurrent model after the words that it has read."""

# Shapes: B batch, W width of a part of the state.

from __future__ import annotations

from typing import Any

import torch
from transformers.cache_utils import Cache, LinearAttentionLayer

from .cells import State
from .configuration_recurrent import RecurrentConfig
from .recurrence import make_cell


class RecurrentCacheLayer(LinearAttentionLayer):
    """The state of one layer, batch first. A new state replaces the old tensors instead of being copied into them, as
    autograd may still need those."""

    is_compileable = False
    cumulative_length = 0

    def get_state(self) -> State | None:
        """The state to continue from; None before the first word."""
        if not all(self.has_previous_state.values()):
            return None
        return tuple(part for part in self.recurrent_states.values() if part is not None)

    def set_state(self, state: State, length: int) -> None:
        """Store the parts of the `state`, (B, W) each, after `length` more positions."""
        for index, part in enumerate(state):
            self.update_recurrent_state(part, index)
        self.cumulative_length += length

    def update_recurrent_state(self, recurrent_states: torch.Tensor, state_idx: int = 0, **kwargs) -> torch.Tensor:
        self.device, self.dtype = recurrent_states.device, recurrent_states.dtype
        self.recurrent_states[state_idx] = recurrent_states
        self.is_recurrent_states_initialized[state_idx] = self.has_previous_state[state_idx] = True
        return recurrent_states

    def _map(self, change) -> None:
        for index, part in self.recurrent_states.items():
            if part is not None:
                self.recurrent_states[index] = change(part)

    def detach(self) -> None:
        """Detach the state: no gradient flows into earlier positions."""
        self._map(torch.Tensor.detach)

    def batch_repeat_interleave(self, repeats: int) -> None:
        self._map(lambda part: part.repeat_interleave(repeats, dim=0))

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        self._map(lambda part: part[indices])

    def reset(self) -> None:
        for index in self.recurrent_states:
            self.recurrent_states[index] = None
            self.is_recurrent_states_initialized[index] = self.has_previous_state[index] = False
        self.cumulative_length = 0

    def crop(self, tokens_to_remove: int) -> None:
        raise RuntimeError("crop: a recurrent state cannot be rewound to an earlier position")


class RecurrentCache(Cache):
    """The state of a [`RecurrentModel`] after the words that it has read. Its size does not grow with their number.

    Pass it as `past_key_values` to continue from there. The model updates it to the new state.
    """

    layers: list[RecurrentCacheLayer]

    def __init__(self, config: RecurrentConfig):
        states = len(make_cell(config, layer_idx=0).state_sizes())
        super().__init__(layers=[RecurrentCacheLayer(states) for _ in range(config.num_hidden_layers)])

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Positions read so far, padding included."""
        return self.layers[layer_idx].cumulative_length

    def detach(self) -> None:
        """Detach the states, as between two chunks of truncated back-propagation through time."""
        for layer in self.layers:
            layer.detach()

    def state_dict(self) -> dict[str, Any]:
        """The state of each layer and the number of positions read."""
        return {"layers": [list(layer.get_state() or ()) for layer in self.layers], "length": self.get_seq_length()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.reset()
        for layer, parts in zip(self.layers, state["layers"], strict=True):
            layer.set_state(tuple(parts), state["length"])


__all__ = ["RecurrentCache", "RecurrentCacheLayer"]
