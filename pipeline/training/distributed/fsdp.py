"""A model that its processes share (FSDP2): cut up, evaluated, stored and loaded as if it were one.

Each process holds a part of every parameter, of its gradient and of the optimiser's moments, and gathers a block's
parameters for as long as it computes with them (Zhao et al. 2023). What is stored is whole, so that a run goes on with
another number of processes, or without sharding.
"""

from __future__ import annotations

import copy
from collections import Counter
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from pipeline.errors import UserError


def is_asked_for(accelerator: Accelerator) -> bool:
    """Whether the launcher wants the model to be sharded."""
    return accelerator.distributed_type == DistributedType.FSDP


def is_sharded(model: nn.Module) -> bool:
    return isinstance(model, FSDPModule)


def shard(model: nn.Module, accelerator: Accelerator) -> nn.Module:
    """Cut up the parameters of `model`, in place: those of each block together, and those of what is left.

    Raises:
        UserError: the launcher's file asks for what is not done here, or the model has low-rank adapters.
    """
    plugin = accelerator.state.fsdp_plugin
    for name, is_asked in {
        "fsdp_version 1": plugin.fsdp_version == 1,
        "fsdp_activation_checkpointing": plugin.activation_checkpointing,
        "fsdp_cpu_ram_efficient_loading": plugin.cpu_ram_efficient_loading,
    }.items():
        if is_asked:
            raise UserError(f"launch: {name} is not supported; take the settings of recipes/accelerate/fsdp.yaml")
    if hasattr(model, "peft_config"):
        raise UserError("model.lora: adapters are too small to be sharded; start the run with ddp.yaml")
    options = {"offload_policy": plugin.cpu_offload}
    model.to(accelerator.device)
    for block in _blocks(model):
        fully_shard(block, reshard_after_forward=plugin.reshard_after_forward, **options)
    fully_shard(model, **options)
    # A process that has no row left in an update runs one without a loss, which may not reach all parameters.
    model.set_reduce_scatter_unused_params(True)  # type: ignore[operator]
    return model


def _blocks(model: nn.Module) -> list[nn.Module]:
    """Modules that the class of `model` names as blocks (`_no_split_modules`), but for those that share a weight with
    what is around them, as embeddings do with a head: it has to stay whole for as long as either computes with it."""
    names = set(getattr(model, "_no_split_modules", None) or ())
    places = Counter(id(parameter) for _, parameter in model.named_parameters(remove_duplicate=False))
    blocks = []
    for module in model.modules():
        own = Counter(id(parameter) for _, parameter in module.named_parameters(remove_duplicate=False))
        if type(module).__name__ in names and all(places[key] == count for key, count in own.items()):
            blocks.append(module)
    return blocks


def skeleton(model: nn.Module) -> nn.Module:
    """A copy of `model` whose parameters take no memory."""
    memo: dict[int, Any] = {
        id(parameter): nn.Parameter(torch.empty_like(parameter, device="meta"), parameter.requires_grad)
        for parameter in model.parameters()
    }
    return copy.deepcopy(model, memo)


def whole(model: nn.Module, bones: nn.Module, accelerator: Accelerator) -> nn.Module:
    """`bones`, the skeleton of `model`, with its weights in host memory; on processes but the first, without them.

    Buffers that change in training, such as running means, are each process's own: the first one's are taken. All
    processes have to call it.
    """
    tensors = [*model.named_parameters(), *model.named_buffers()]
    gathered = {name: gather(value, accelerator.is_main_process) for name, value in tensors}
    if accelerator.is_main_process:
        bones.load_state_dict(gathered, strict=False, assign=True)
        bones.tie_weights()  # type: ignore[operator]
        bones.to("cpu")
    return bones.train(model.training)


def gather(tensor: Tensor, is_kept: bool = True) -> Tensor:
    """A copy of `tensor`, whole and in host memory, or nothing of it. All processes have to call it for a shard."""
    tensor = tensor.detach()
    if isinstance(tensor, DTensor):
        tensor = tensor.full_tensor()
    return tensor.to("cpu", copy=True).contiguous() if is_kept else tensor.new_empty(0)


def cut(tensor: Tensor, like: Tensor) -> Tensor:
    """This process's part of a whole tensor, cut as `like` is."""
    if not isinstance(like, DTensor):
        return tensor
    moved = tensor.to(like.device, like.dtype)
    return distribute_tensor(moved, like.device_mesh, like.placements, src_data_rank=None)


def load(model: nn.Module, weights: dict[str, Tensor]) -> None:
    """Put whole `weights`, which hold each parameter under the first of its names, and buffers, into `model`, or its
    parts where it is sharded.

    Raises:
        LookupError: one is missing, or unknown to `model`.
        RuntimeError: one is of another shape.
    """
    settle(model)
    own = model.state_dict(keep_vars=True)
    lacking = [name for name, _ in model.named_parameters() if name not in weights]
    if lacking:
        raise LookupError(f"{lacking[0]} is missing")
    with torch.no_grad():
        for name, value in weights.items():
            if value.shape != own[name].shape:
                raise RuntimeError(f"{name} is of another shape")
            own[name].copy_(cut(value, own[name]))


def settle(model: nn.Module) -> None:
    """Give back what was gathered for a forward pass that no backward pass has followed: it would go stale."""
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.reshard()
