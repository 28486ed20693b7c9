"""Matrix products by oneDNN: torch leaves those of float32 to MKL, which is half as fast on AMD's processors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

# From this many rows on, the product takes longer than bringing inputs and weights into the layout of oneDNN.
ROWS = 256


class LinearByOneDNN(TorchFunctionMode):
    """Within this context, `torch.nn.functional.linear` has oneDNN multiply large float32 matrices on the CPU.

    The results differ from those of MKL by rounding. Without gradients only, as in `torch.inference_mode`.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        if func is F.linear and not kwargs and _is_worth_it(*args):
            inputs, weight, *bias = args
            # oneDNN's layout of float32 weights is made anew: a copy would take as much memory as the model.
            rows = inputs.reshape(-1, inputs.shape[-1])
            product = F.linear(rows.to_mkldnn(), weight.to_mkldnn(), *bias)
            return product.to_dense().view(*inputs.shape[:-1], -1)
        return func(*args, **(kwargs or {}))


def _is_worth_it(inputs: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> bool:
    is_plain = inputs.device.type == weight.device.type == "cpu" and inputs.dtype == weight.dtype == torch.float32
    return (
        is_plain
        and inputs.numel() >= ROWS * inputs.shape[-1]
        and torch.backends.mkldnn.is_available()
        and not torch.is_grad_enabled()
        and not torch.is_autocast_enabled("cpu")
    )
