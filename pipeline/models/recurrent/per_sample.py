"""Refuses to compute the gradients of single rows in a way that would give wrong ones.

The right way is `torch.func`: `vmap(grad(loss), (None, 0, 0))`, with a `loss` of one row that runs the model by
`functional_call`.
"""

from __future__ import annotations

from torch import nn

HOOKS = (
    "opacus: GradSampleModule runs a layer again on its first input alone, but {} also reads the mask. Use"
    ' grad_sample_mode="no_op" and set `grad_sample` of each parameter to its gradient by torch.func: vmap(grad(loss))'
)


def refuse_hooks(module: nn.Module) -> None:
    """Refuse the hooks that opacus has put on `module`.

    Raises:
        NotImplementedError: there are some.
    """
    if "ft_compute_sample_grad" in vars(module):  # how opacus marks a layer that it has no rule for
        raise NotImplementedError(HOOKS.format(type(module).__name__))


__all__ = ["refuse_hooks"]
