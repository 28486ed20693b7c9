"""AdamW, its parameter groups and its learning rate schedule."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR
from transformers import get_scheduler

from pipeline.config.training import Optim
from pipeline.models.layers import depths_of, output_layer

# Those of transformers.
SCHEDULES = {"linear": "linear", "cosine": "cosine", "constant": "constant_with_warmup"}
# Of one-cycle: the first and the last learning rate relative to the peak, the defaults of torch's OneCycleLR.
FIRST, LAST = 1 / 25, 1 / 250_000


def parameter_groups(model: nn.Module, settings: Optim, output_scale: float = 1.0) -> list[dict]:
    """Trainable parameters in groups of equal weight decay and learning rate.

    Biases, norms and embeddings do not decay. With `layer_decay`, a parameter of depth d of L layers learns at
    learning_rate * layer_decay ** (L + 1 - d): the head at the full rate, the embeddings at the lowest (Clark et al.
    2020, appendix B). Groups are sorted from the head down, those that decay first.

    With `output_scale`, the output layer learns at as many times the rate, so that Adam, whose steps do not grow with
    the gradient, reaches outputs on this scale in as many updates as others on the scale of 1.

    Raises:
        UserError: `layer_decay` is set, and the layers of `model` are unknown.
    """
    spared_ids = {id(p) for module in model.modules() if _is_spared(module) for p in module.parameters(recurse=False)}
    depths = {} if settings.layer_decay is None else depths_of(model, "optim.layer_decay")
    top = max(depths.values(), default=0)
    output = None if output_scale == 1.0 else output_layer(model)
    scaled_ids = {id(parameter) for parameter in output.parameters()} if output else set()
    groups: dict[tuple[bool, int, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            spared = parameter.ndim < 2 or id(parameter) in spared_ids
            group = (id(parameter) in scaled_ids, top - depths.get(name, 0), spared)
            groups.setdefault(group, []).append(parameter)
    return [
        {
            "params": parameters,
            # AdamW multiplies the decay by the learning rate.
            "weight_decay": 0.0 if spared else settings.weight_decay / (output_scale if scaled else 1.0),
            "lr": settings.learning_rate * (settings.layer_decay or 1.0) ** below * (output_scale if scaled else 1.0),
        }
        for (scaled, below, spared), parameters in sorted(groups.items())
    ]


def _is_spared(module: nn.Module) -> bool:
    return isinstance(module, nn.Embedding) or "norm" in type(module).__name__.lower()


def build_optimizer(model: nn.Module, settings: Optim, output_scale: float = 1.0) -> torch.optim.AdamW:
    """AdamW (Loshchilov & Hutter 2019) over the trainable parameters of `model`, in one fused kernel."""
    groups = parameter_groups(model, settings, output_scale)
    return torch.optim.AdamW(groups, lr=settings.learning_rate, fused=True)


def build_scheduler(optimizer: torch.optim.Optimizer, settings: Optim, total_updates: int) -> LambdaLR:
    """The schedule over `total_updates` updates, stepped once per update on any number of processes."""
    if settings.schedule not in SCHEDULES:
        return Schedule(optimizer, settings, total_updates)
    return get_scheduler(
        SCHEDULES[settings.schedule],
        optimizer,
        num_warmup_steps=math.ceil(settings.warmup_ratio * total_updates),
        num_training_steps=total_updates,
    )


class Schedule(LambdaLR):
    """The schedule as a function of the share of the training that is over, lowered at each plateau of the validation
    score if the settings say so.

    Attributes:
        reductions: how often a plateau has lowered the learning rate.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, settings: Optim, total_updates: int):
        self._settings, self.reductions = settings, 0
        super().__init__(optimizer, lambda done: self._factor(done / total_updates))

    def _factor(self, share: float) -> float:
        return factor(self._settings, min(share, 1.0)) * self._settings.plateau_factor**self.reductions

    def observe(self, stale: int) -> None:
        """Take note of a validation, the last of `stale` in a row without a better score; 0: this one was better."""
        if self._settings.schedule != "reduce-on-plateau" or not stale or stale % self._settings.plateau_patience:
            return
        self.reductions += 1
        rates = [base * of(self.last_epoch) for base, of in zip(self.base_lrs, self.lr_lambdas, strict=True)]
        for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
            group["lr"] = rate
        self._last_lr = rates

    def state_dict(self) -> dict[str, Any]:
        return {name: value for name, value in super().state_dict().items() if name not in ("_settings", "_measure")}


class TimedSchedule(Schedule):
    """The schedule over a budget of time: a function of the share that is used, or of the share of `total_updates` that
    are done if that is larger.

    Attributes:
        share: of the budget, as measured after the last update.
    """

    def __init__(
        self, optimizer: torch.optim.Optimizer, settings: Optim, total_updates: int, measure: Callable[[], float]
    ):
        """`measure`: the share of the budget that is used, in [0, 1], the same on all processes."""
        self._measure, self.share = measure, 0.0
        super().__init__(optimizer, settings, total_updates)

    def _factor(self, share: float) -> float:
        return super()._factor(max(self.share, share))

    def step(self, epoch: int | None = None) -> None:
        self.share = self._measure()
        super().step(epoch)


def factor(settings: Optim, share: float) -> float:
    """The learning rate relative to its peak after a `share` of the training, in [0, 1]: what `build_scheduler` gives
    after as large a share of many updates, without plateaus."""
    warmup, is_cycle = settings.warmup_ratio, settings.schedule == "one-cycle"
    if share < warmup:
        return _cosine(FIRST, 1.0, share / warmup) if is_cycle else share / warmup
    if settings.schedule in ("constant", "reduce-on-plateau"):
        return 1.0
    done = (share - warmup) / (1.0 - warmup) if warmup < 1.0 else 0.0
    if settings.schedule == "linear":
        return 1.0 - done
    return _cosine(1.0, LAST if is_cycle else 0.0, done)


def _cosine(start: float, end: float, share: float) -> float:
    """From `start` to `end` along half a period of a cosine."""
    return end + (start - end) * (1.0 + math.cos(math.pi * share)) / 2.0
