"""A context in which models multiply float32 matrices on the CPU by oneDNN, where it is faster than torch's choice."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from pipeline.models.recurrent import cpu_linear


class LinearByOneDNN(TorchFunctionMode):
    """Within this context, `torch.nn.functional.linear` is `cpu_linear.linear`, whose results differ by rounding."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        return (cpu_linear.linear if func is F.linear else func)(*args, **(kwargs or {}))
