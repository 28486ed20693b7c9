"""A loop over positions, also in graphs that are recorded for any number of them.

A loop in Python leaves one copy of its body for each position in a graph that `torch.export` or `torch.jit.trace`
records, and the graph then only fits that many.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

# From the state, the values at a position and the weights: the state after it and what to return for it.
Step = Callable[[torch.Tensor, torch.Tensor, list[torch.Tensor]], tuple[torch.Tensor, torch.Tensor]]


def scan(
    step: Step, state: torch.Tensor, values: torch.Tensor, weights: list[torch.Tensor]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Run `step` over the first dimension of `values`.

    Args:
        step: a pure function; it returns a state of the shape and dtype that it got. For `torch.jit.trace` it is
            compiled by TorchScript.
        state: what the first step starts from.
        values: (T, ...), T at least 1.
        weights: what every step gets; a step must not read tensors from elsewhere.

    Returns:
        The state after the last step, and what the steps returned, stacked: (T, ...).
    """

    def loop(
        state: torch.Tensor, values: torch.Tensor, weights: list[torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        outputs = []
        for value in values.unbind():
            state, output = step(state, value, weights)
            outputs.append(output)
        return state, torch.stack(outputs)

    if isinstance(values.shape[0], torch.SymInt):  # exported with a dynamic length
        return _scan_in_graph(step, state, values, weights)
    if torch.jit.is_tracing():
        return torch.jit.script(loop)(state, values, weights)
    return loop(state, values, weights)


def _scan_in_graph(
    step: Step, state: torch.Tensor, values: torch.Tensor, weights: list[torch.Tensor]
) -> tuple[torch.Tensor, torch.Tensor]:
    def combine(state: torch.Tensor, value: torch.Tensor, *weights: torch.Tensor) -> list[torch.Tensor]:
        after, output = step(state, value, list(weights))
        return [after, output.clone()]  # the operator does not allow two names for one tensor

    # The operator itself, as its wrapper in Python would compile `combine`, for the number of positions that it sees.
    final, outputs = torch.ops.higher_order.scan(combine, [state], [values], weights)
    return final, outputs


__all__ = ["scan"]
