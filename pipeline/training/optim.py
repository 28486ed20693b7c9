"""AdamW, its parameter groups and its learning rate schedule."""

from __future__ import annotations

import math

import torch
from torch import nn
from transformers import get_scheduler

from pipeline.config.training import Optim
from pipeline.models.layers import depths_of

SCHEDULES = {"linear": "linear", "cosine": "cosine", "constant": "constant_with_warmup"}


def parameter_groups(model: nn.Module, settings: Optim) -> list[dict]:
    """Trainable parameters in groups of equal weight decay and learning rate.

    Biases, norms and embeddings do not decay. With `layer_decay`, a parameter of depth d of L layers learns at
    learning_rate * layer_decay ** (L + 1 - d): the head at the full rate, the embeddings at the lowest (Clark et al.
    2020, appendix B). Groups are sorted from the head down, those that decay first.

    Raises:
        UserError: `layer_decay` is set, and the layers of `model` are unknown.
    """
    spared_ids = {id(p) for module in model.modules() if _is_spared(module) for p in module.parameters(recurse=False)}
    depths = {} if settings.layer_decay is None else depths_of(model, "optim.layer_decay")
    top = max(depths.values(), default=0)
    groups: dict[tuple[int, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            decays = parameter.ndim >= 2 and id(parameter) not in spared_ids
            groups.setdefault((top - depths.get(name, 0), decays), []).append(parameter)
    return [
        {
            "params": parameters,
            "weight_decay": settings.weight_decay if decays else 0.0,
            "lr": settings.learning_rate * (settings.layer_decay or 1.0) ** below,
        }
        for (below, decays), parameters in sorted(groups.items(), key=lambda group: (group[0][0], not group[0][1]))
    ]


def _is_spared(module: nn.Module) -> bool:
    return isinstance(module, nn.Embedding) or "norm" in type(module).__name__.lower()


def build_optimizer(model: nn.Module, settings: Optim) -> torch.optim.AdamW:
    """AdamW (Loshchilov & Hutter 2019) over the trainable parameters of `model`, in one fused kernel."""
    return torch.optim.AdamW(parameter_groups(model, settings), lr=settings.learning_rate, fused=True)


def build_scheduler(
    optimizer: torch.optim.Optimizer, settings: Optim, total_updates: int
) -> torch.optim.lr_scheduler.LambdaLR:
    """The schedule over `total_updates` updates, stepped once per update on any number of processes."""
    return get_scheduler(
        SCHEDULES[settings.schedule],
        optimizer,
        num_warmup_steps=math.ceil(settings.warmup_ratio * total_updates),
        num_training_steps=total_updates,
    )
