"""Averages of the weights over updates, which are scored, selected and saved in place of the weights themselves.

Training goes on from the weights themselves: an average changes nothing in the updates.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.config.training import Optim
from pipeline.training.distributed import fsdp


class WeightAverage:
    """A running average of the trainable parameters of a model, as `optim.average` asks for.

    - ema: w' = d w' + (1 - d) w after each update, with d = min(decay, (1 + n) / (10 + n)) if the average is of n
      weights already, so that the first ones are soon forgotten (as in TensorFlow's ExponentialMovingAverage).
    - swa: the mean of the weights after each update from a share of the training on (Izmailov et al. 2018, who take
      the weights once an epoch).
    - nt-asgd: the same from the first validation whose score is worse than one of more than `average_interval`
      validations before (Merity et al. 2017, algorithm 1, there with SGD). This is the condition of their code; that
      of the preprint, which looks at the last `average_interval` validations, is a misprint, as they have said.

    Every process of a run has the average of its own parameters, or shards, which follow the same rule.

    Attributes:
        count: number of weights that the average is of; 0: it has not begun.
    """

    def __init__(self, parameters: dict[str, nn.Parameter] | None = None, settings: Optim | None = None):
        """`parameters`: by name, those that are trained; none: nothing is averaged."""
        self._parameters, self._settings = parameters or {}, settings or Optim()
        self._averages: dict[str, Tensor] = {}
        self._scores: list[float] = []
        self._triggered = False
        self.count = 0

    @classmethod
    def of(cls, model: nn.Module, settings: Optim) -> WeightAverage:
        """What `settings` ask for; `model`: with its parameters sharded already, if they will be."""
        if settings.average is None:
            return cls()
        return cls({name: p for name, p in model.named_parameters() if p.requires_grad}, settings)

    @property
    def is_kept(self) -> bool:
        """Whether anything is, or will be, averaged."""
        return bool(self._parameters)

    @torch.no_grad()
    def add(self, share: float) -> bool:
        """Take the weights after an update into the average, and return whether they are the first.

        Args:
            share: of the training that is over, in [0, 1].
        """
        if not self.count and not self._is_due(share):
            return False
        self.count += 1
        if self.count == 1:
            self._averages = {name: value.detach().clone() for name, value in self._parameters.items()}
        else:
            averages = [self._averages[name] for name in self._parameters]
            values = [value.detach() for value in self._parameters.values()]
            torch._foreach_lerp_(averages, values, self._weight())
        return self.count == 1

    def _is_due(self, share: float) -> bool:
        kind = self._settings.average
        if kind == "swa":
            return share >= self._settings.average_start
        return kind == "ema" or self._triggered

    def _weight(self) -> float:
        """The weight of the newest weights in the average."""
        if self._settings.average == "ema":
            return 1.0 - min(self._settings.average_decay, self.count / (9 + self.count))
        return 1.0 / self.count

    def observe(self, score: float) -> bool:
        """Take note of the `score` of a validation, higher is better, and return whether the average begins with the
        next update for it."""
        if self._settings.average != "nt-asgd" or self._triggered:
            return False
        before = self._scores[: max(len(self._scores) - self._settings.average_interval, 0)]
        self._scores.append(-math.inf if math.isnan(score) else score)
        self._triggered = bool(before) and score < max(before)
        return self._triggered

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """The model has the average, if it has begun; at the end exactly its own weights again."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for name, average in self._averages.items():
            own = self._parameters[name].detach()
            kept = own.clone()
            own.copy_(average)
            average.copy_(kept)

    def state_dict(self) -> dict[str, Any]:
        return {
            "count": self.count,
            "scores": self._scores,
            "triggered": int(self._triggered),
            "weights": dict(self._averages),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned, with full tensors.

        Raises:
            ValueError, LookupError: it belongs to another model.
        """
        self.count, self._scores, self._triggered = state["count"], list(state["scores"]), bool(state["triggered"])
        self._averages = {}
        for name, value in state["weights"].items():
            own = self._parameters[name].detach()
            if value.shape != own.shape:
                raise ValueError(f"the average of {name} has another shape")
            self._averages[name] = fsdp.shard_like(value, own).to(own.device, own.dtype, copy=True)
