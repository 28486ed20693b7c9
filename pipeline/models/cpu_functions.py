"""Contexts in which transformers compute on a CPU with functions that are faster there than torch's choice."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from pipeline.models.cpu_attention import attention
from pipeline.models.recurrent import RecurrentPreTrainedModel
from pipeline.models.recurrent.cpu_linear import linear
from pipeline.models.recurrent.dropout import dropout

Functions = Mapping[Callable[..., Any], Callable[..., Any]]
# torch's function -> what replaces it. All of them leave to torch what they are not made for, such as tensors on a GPU.
ANSWERING: Functions = {F.linear: linear}
TRAINING: Functions = {F.linear: linear, F.dropout: dropout, F.scaled_dot_product_attention: attention}


class _Replacing(TorchFunctionMode):
    """Within this context, each of torch's functions in `functions` is what it maps to."""

    def __init__(self, functions: Functions):
        super().__init__()
        self._functions = functions

    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        chosen = func if _may_be_repeated() else self._functions.get(func, func)
        return chosen(*args, **(kwargs or {}))


def _may_be_repeated() -> bool:
    """Whether this is a part of a model whose activations are not kept (`torch.utils.checkpoint`). It runs without
    gradients, or with hooks on what it saves, and is repeated in the pass backward. torch leaves our context there, and
    another function would then draw other masks."""
    if torch.is_inference_mode_enabled():
        return False
    return not torch.is_grad_enabled() or torch._C._autograd._top_saved_tensors_default_hooks(True) is not None


def faster(model: nn.Module, functions: Functions) -> contextlib.AbstractContextManager:
    """A context for forward passes of `model`, to train it or under `torch.inference_mode`. It can be entered again. A
    recurrent model needs none: it calls these functions itself. A model on a GPU has no use for one, and would wait
    for it at each call."""
    is_recurrent = any(isinstance(module, RecurrentPreTrainedModel) for module in model.modules())
    elsewhere = any(parameter.device.type != "cpu" for parameter in model.parameters())
    return contextlib.nullcontext() if is_recurrent or elsewhere else _Replacing(functions)
