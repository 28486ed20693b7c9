"""Gradual unfreezing: the head of a pretrained model is trained first, then one more layer at a time below it.

Howard & Ruder 2018, section 3.3. Which parameters are frozen depends on the number of the update alone, so a resumed
run goes on exactly.
"""

from __future__ import annotations

from accelerate import Accelerator
from torch import nn

from pipeline.config.training import Optim
from pipeline.errors import UserError
from pipeline.models.layers import depths_of
from pipeline.training.distributed import deepspeed


class Unfreezing:
    """When each parameter begins to be trained.

    Of L layers, depth d begins with update share * total * (L + 1 - d) / (L + 1), rounded down: the head with the first
    one, the embeddings (depth 0) when the share is over. A frozen parameter loses its gradient before the gradients are
    clipped, so neither its weights nor its moments change, and it has no part in the norm. Its gradient is computed all
    the same: data-parallel training waits for it.
    """

    def __init__(self, starts: dict[nn.Parameter, int] | None = None):
        """`starts`: updates that are done when a parameter begins to be trained; those not named always are."""
        self._starts = starts or {}

    @classmethod
    def of(cls, model: nn.Module, settings: Optim, total_updates: int) -> Unfreezing:
        """What `settings` ask for.

        Raises:
            UserError: the layers of `model` are unknown.
        """
        share = settings.gradual_unfreezing
        if share is None:
            return cls()
        depths = depths_of(model, "optim.gradual_unfreezing")
        top = max(depths.values())
        return cls(
            {
                parameter: int(share * total_updates * (top - depths[name]) / top)
                for name, parameter in model.named_parameters()
                if parameter.requires_grad
            }
        )

    def drop_gradients(self, done: int) -> None:
        """Remove the gradients of what is frozen after `done` updates."""
        for parameter, start in self._starts.items():
            if done < start:
                parameter.grad = None

    def trained(self, done: int) -> int | None:
        """The number of parameters that the update after `done` trains, if it trains more than the one before."""
        if done not in self._starts.values():
            return None
        return sum(parameter.numel() for parameter, start in self._starts.items() if start <= done)


def check_launch(settings: Optim, accelerator: Accelerator) -> None:
    """Refuse gradual unfreezing with DeepSpeed, whose optimiser counts the steps of a frozen parameter.

    Raises:
        UserError: as above.
    """
    if settings.gradual_unfreezing is not None and deepspeed.is_asked_for(accelerator):
        raise UserError("optim.gradual_unfreezing: DeepSpeed updates all weights; use fsdp.yaml or ddp.yaml")
