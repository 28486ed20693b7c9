"""How far a gradient reaches back through time: the norm of d loss_T / d state_t in a recurrent classifier.

Pascanu et al. (2013, section 2.1) write it as a product of Jacobians, which shrinks or grows exponentially with T - t;
Hochreiter & Schmidhuber (1997, section 3.2) built the LSTM against that.
"""

# Shapes: N texts, T time, P parts of a state (h and, in an LSTM, c), H units, G gates.

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from pipeline.models.recurrent import RecurrentForSequenceClassification


def state_gradients(
    model: RecurrentForSequenceClassification, input_ids: torch.Tensor, labels: torch.Tensor
) -> torch.Tensor:
    """The gradient of each text's loss, read from the last state, with respect to every state before it.

    The layer is run step by step, because torch's fused operators do not return the state of an LSTM at each position.

    Args:
        model: one layer that reads from left to right, with `pooling="last"`.
        input_ids: (N, T), texts of the same length, without padding.
        labels: (N,) class ids.

    Returns:
        (T, P, N, H), in the dtype of the model.

    Raises:
        ValueError: the model is of another kind.
    """
    config = model.config
    if config.num_hidden_layers != 1 or config.bidirectional or config.pooling != "last":
        raise ValueError("the model must have one layer, one direction and pooling='last'")
    states = _states(model, input_ids)
    logits = model.classifier(states[-1][0])
    # A text's loss depends on its own states only, so the gradient of the sum holds that of each.
    loss = F.cross_entropy(logits, labels, reduction="sum")
    return torch.stack(torch.autograd.grad(loss, states))


def _states(model: RecurrentForSequenceClassification, input_ids: torch.Tensor) -> list[torch.Tensor]:
    """The state after each of the T words, (P, N, H) each, connected by the graph of autograd."""
    layer: Any = model.model.layers[0]
    cell = layer.cell
    weights = {name: getattr(layer, f"{name}_l0") for name in cell.parameter_shapes()}
    values = F.linear(model.model.embed_tokens(input_ids), weights["weight_ih"], weights["bias_ih"])  # (N, T, G*H)
    state = values.new_zeros(len(cell.state_sizes()), len(input_ids), layer.cell.hidden_size)
    states = []
    for value in values.unbind(dim=1):
        state, _ = cell.step(state, value, [weights["weight_hh"], weights["bias_hh"]])
        states.append(state)
    return states


def norms_by_distance(gradients: torch.Tensor, part: int | None = None) -> np.ndarray:
    """Norms relative to that at the last position, by distance: (T, N), with 1 at distance 0.

    Args:
        gradients: (T, P, N, H), of `state_gradients`.
        part: 0 for h alone, 1 for the c of an LSTM; None for the whole state. Relative to the whole state at T.
    """
    whole = gradients.double().square().sum(dim=(1, 3)).sqrt()  # (T, N)
    chosen = whole if part is None else gradients[:, part].double().norm(dim=-1)
    return (chosen / whole[-1].clamp(min=torch.finfo(torch.double).tiny)).flip(0).numpy()


def reach(medians: np.ndarray, share: float) -> int:
    """The largest distance up to which the relative norm never falls under `share`; T - 1 if it never does.

    Args:
        medians: (T,), by distance from 0 on.
    """
    below = np.flatnonzero(~(medians >= share))  # a NaN has vanished, too
    return int(below[0]) - 1 if len(below) else len(medians) - 1


def start_like_torch(model: RecurrentForSequenceClassification) -> None:
    """Give the recurrent layer the initial weights of `torch.nn.RNN`: uniform in ±1 / sqrt(H), biases as well."""
    layer: Any = model.model.layers[0]
    bound = 1 / math.sqrt(layer.cell.hidden_size)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.uniform_(-bound, bound)
