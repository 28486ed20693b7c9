"""AdamW and its schedule."""

from __future__ import annotations

import math

import torch
from torch import nn
from transformers import get_scheduler

from pipeline.recipe import Optim

SCHEDULES = {"linear": "linear", "cosine": "cosine", "constant": "constant_with_warmup"}


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict]:
    """Trainable parameters, those that decay apart from those that do not: biases, norms and embeddings."""
    spared_ids = {id(p) for module in model.modules() if _is_spared(module) for p in module.parameters(recurse=False)}
    decayed: list[nn.Parameter] = []
    spared: list[nn.Parameter] = []
    for parameter in model.parameters():
        if parameter.requires_grad:
            (spared if parameter.ndim < 2 or id(parameter) in spared_ids else decayed).append(parameter)
    groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": spared, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]


def _is_spared(module: nn.Module) -> bool:
    return isinstance(module, nn.Embedding) or "norm" in type(module).__name__.lower()


def build_optimizer(model: nn.Module, settings: Optim) -> torch.optim.AdamW:
    """AdamW over the trainable parameters of `model`, in one fused kernel."""
    return torch.optim.AdamW(parameter_groups(model, settings.weight_decay), lr=settings.learning_rate, fused=True)


def build_scheduler(
    optimizer: torch.optim.Optimizer, settings: Optim, total_updates: int
) -> torch.optim.lr_scheduler.LambdaLR:
    """The schedule over `total_updates` updates. It is stepped once per update on any number of processes."""
    return get_scheduler(
        SCHEDULES[settings.schedule],
        optimizer,
        num_warmup_steps=math.ceil(settings.warmup_ratio * total_updates),
        num_training_steps=total_updates,
    )
