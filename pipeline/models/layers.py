"""The depth of each parameter of a model, below its layers, in one of them, or above them; and its output layer."""

from __future__ import annotations

from typing import Any

from torch import nn

from pipeline.errors import UserError


def depths_of(model: nn.Module, setting: str) -> dict[str, int]:
    """The depth of each parameter by name: 0 below the L layers, such as embeddings, 1 to L in a layer, L + 1 above.

    Raises:
        UserError: the model has no list of L layers. The message starts with `setting`.
    """
    config: Any = model.config
    count = config.get_text_config().num_hidden_layers
    stacks = (name for name, part in model.named_modules() if isinstance(part, nn.ModuleList) and len(part) == count)
    stack = next(stacks, None)
    if stack is None:
        raise UserError(
            f"{setting}: a model of the type {config.model_type} has no list of {count} layers; remove this setting"
        )
    depths, seen = {}, False
    for name, _ in model.named_parameters():
        inside = name.startswith(f"{stack}.")
        seen = seen or inside
        number = name.removeprefix(f"{stack}.").partition(".")[0]
        depths[name] = int(number) + 1 if inside else (count + 1 if seen else 0)
    return depths


def output_layer(model: nn.Module) -> nn.Linear | None:
    """The linear layer that computes the logits: the last one with as many outputs; None if there is none."""
    config: Any = model.config
    layers = (part for part in model.modules() if isinstance(part, nn.Linear))
    return next((part for part in reversed(list(layers)) if part.out_features == config.num_labels), None)


def freeze(model: nn.Module, layers: int, setting: str) -> None:
    """Freeze the first `layers` layers of `model` and everything below them.

    Raises:
        UserError: the model has fewer layers, or no list of layers. The message starts with `setting`.
    """
    depths = depths_of(model, setting)
    most = max(depths.values()) - 1
    if layers > most:
        raise UserError(f"{setting}: {layers} is out of range; the model has {most} layers")
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(depths[name] > layers)
