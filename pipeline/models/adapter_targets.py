"""Which weights of a model LoRA adapts: modules by name, and matrices that belong to no module that peft knows.

A recurrent layer holds its matrices itself, one for all gates. peft adapts them as parameters: during a forward pass it
replaces the matrix W (O, I) by W + scale * B @ A, so one pair of A (R, I) and B (O, R) serves all gates.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from torch import nn
from transformers import PreTrainedModel

from pipeline.errors import UserError, suggest

SETTING = "model.lora.targets"
# The matrices of a recurrent layer, by torch's names.
RECURRENT = re.compile(r"weight_(ih|hh)_l\d+(_reverse)?")


class Targets(NamedTuple):
    """What peft adapts: its `target_modules`, a list of names or `all-linear`, and its `target_parameters`."""

    modules: Any
    parameters: list[str]


def choose_targets(model: PreTrainedModel, names: Sequence[str] | None) -> Targets:
    """The modules and matrices that `names` mean, each the end of a full name such as `attention.query`.

    `weight_hh` is short for the matrices of that name of all layers and directions. Without names: the matrices of a
    recurrent model, what peft adapts in models of this type, mostly queries and values, or else all linear layers.

    Raises:
        UserError: the model has nothing of a name.
    """
    if names is not None:
        return _named(model, names)
    if recurrent := sorted({leaf for leaf in _leaves(model) if RECURRENT.fullmatch(leaf)}):
        return Targets([], recurrent)
    from peft.utils.constants import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING as USUAL

    return Targets(USUAL.get(model.config.get_text_config().model_type, "all-linear"), [])


def _named(model: nn.Module, names: Sequence[str]) -> Targets:
    modules, parameters = [], set()
    known = {name for name, _ in model.named_modules()}
    for name in names:
        if _ending(known, name):
            modules.append(name)
        else:
            parameters |= set(_matrices(model, name))
    return Targets(modules, sorted(parameters))


def _matrices(model: nn.Module, name: str) -> list[str]:
    """The names of the matrices that `name` means, as peft expects them."""
    found = {full: parameter for full, parameter in model.named_parameters() if parameter.ndim > 1}
    exact = _ending(found, name)
    layers = [full for full in found if RECURRENT.fullmatch(full.rpartition(".")[2]) and _of_layers(full, name)]
    if not exact and not layers:
        leaves = {part for full in found for part in full.split(".") if not part.isdecimal()}
        raise UserError(f"{SETTING}: the model has no module or matrix called {name}{suggest(name, leaves)}")
    return [name] if exact else sorted({full.rpartition(".")[2] for full in layers})


def _of_layers(full: str, name: str) -> bool:
    """Whether `name` is that of a matrix without its layer and direction."""
    return full.rpartition(".")[2].startswith(f"{name}_l")


def _ending(full_names: Iterable[str], name: str) -> list[str]:
    """Those of `full_names` that peft takes for `name`."""
    return [full for full in full_names if full == name or full.endswith(f".{name}")]


def _leaves(model: nn.Module) -> list[str]:
    return [name.rpartition(".")[2] for name, _ in model.named_parameters()]


def tied_to(model: nn.Module, targets: Targets) -> tuple[str, str] | None:
    """A module of `targets` that shares a weight with another module, and that one; None: there is none."""
    modules = [] if isinstance(targets.modules, str) else targets.modules  # a pattern leaves the output layer out
    parameters, owners = targets.parameters, defaultdict[int, list[str]](list)
    for name, parameter in model.named_parameters(remove_duplicate=False):
        owners[id(parameter)].append(name)
    for names in (names for names in owners.values() if len(names) > 1):
        for full in names:
            module = full.rpartition(".")[0]
            if any(_ending([module], name) for name in modules) or any(_ending([full], name) for name in parameters):
                other = next(name for name in names if name != full)
                return module, other.rpartition(".")[0]
    return None


def copies_of_tied(model: nn.Module) -> bool:
    """Give each adapted module its own copy of the weights that it shares with others; whether there were any."""
    from peft.tuners.lora import LoraLayer

    owners: dict[int, int] = defaultdict(int)
    for _, parameter in model.named_parameters(remove_duplicate=False):
        owners[id(parameter)] += 1
    shared = [
        (module.get_base_layer(), name, parameter)
        for module in model.modules()
        if isinstance(module, LoraLayer)
        for name, parameter in module.get_base_layer().named_parameters(recurse=False)
        if owners[id(parameter)] > 1
    ]
    for base, name, parameter in shared:
        setattr(base, name, nn.Parameter(parameter.detach().clone(), requires_grad=parameter.requires_grad))
    return bool(shared)
