"""A model sharded over the processes (FSDP2): sharding it, gathering it and loading weights into it.

Each process holds a part of every parameter, of its gradient and of the optimiser's moments, and gathers a block's
parameters while it computes with them (Zhao et al. 2023). Checkpoints hold full tensors, so a run can be resumed with
another number of processes, or without sharding.
"""

from __future__ import annotations

import copy
import functools
from collections import Counter
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, distribute_tensor
from transformers import GenerationMixin

from pipeline.errors import UserError


def is_asked_for(accelerator: Accelerator) -> bool:
    """Whether the launcher wants the model to be sharded."""
    return accelerator.distributed_type == DistributedType.FSDP


def is_sharded(model: nn.Module) -> bool:
    return isinstance(model, FSDPModule)


def shard(model: nn.Module, accelerator: Accelerator) -> nn.Module:
    """Shard the parameters of `model` in place: each block is a group, and the rest is another.

    Raises:
        UserError: the launcher's file asks for something unsupported, or the model has low-rank adapters.
    """
    plugin = accelerator.state.fsdp_plugin
    for name, is_asked in {
        "fsdp_version 1": plugin.fsdp_version == 1,
        "fsdp_activation_checkpointing": plugin.activation_checkpointing,
        "fsdp_cpu_ram_efficient_loading": plugin.cpu_ram_efficient_loading,
    }.items():
        if is_asked:
            raise UserError(f"launch: {name} is not supported; use the settings in recipes/accelerate/fsdp.yaml")
    if hasattr(model, "peft_config"):
        raise UserError("model.lora: adapters are too small to be sharded; start the run with ddp.yaml")
    options = {"offload_policy": plugin.cpu_offload}
    model.to(accelerator.device)
    for block in _blocks(model):
        fully_shard(block, reshard_after_forward=plugin.reshard_after_forward, **options)
    fully_shard(model, **options)
    # A process without rows in an update runs a micro-batch at weight 0, which may not reach all parameters.
    model.set_reduce_scatter_unused_params(True)  # type: ignore[operator]
    _generate_in_step(model)
    return model


def _generate_in_step(model: nn.Module) -> None:
    """Have `model.generate` gather the parameters that belong to no block, which it uses before the first forward pass,
    and go on until all processes have finished their texts: each forward pass needs the parts of all of them."""
    if isinstance(model, GenerationMixin):
        register_fsdp_forward_method(model, "generate")
        model.generate = functools.partial(model.generate, synced_gpus=True)


def _blocks(model: nn.Module) -> list[nn.Module]:
    """Modules that `model` names as blocks (`_no_split_modules`) and that are in no other block.

    A block that shares a weight with the rest of the model, as embeddings do with a head, is left out: its weight must
    stay gathered while either computes with it.
    """
    names = set(getattr(model, "_no_split_modules", None) or ())
    # A tied weight has several names; a block may be sharded alone only if it has all of them.
    places = Counter(id(parameter) for _, parameter in model.named_parameters(remove_duplicate=False))
    blocks: list[nn.Module] = []
    inside: set[nn.Module] = set()
    for module in model.modules():
        own = Counter(id(parameter) for _, parameter in module.named_parameters(remove_duplicate=False))
        is_block = type(module).__name__ in names and module not in inside
        if is_block and all(places[key] == count for key, count in own.items()):
            blocks.append(module)
            inside.update(module.modules())
    return blocks


def meta_copy(model: nn.Module) -> nn.Module:
    """A copy of `model` whose parameters are on the meta device and take no memory."""
    memo: dict[int, Any] = {
        id(parameter): nn.Parameter(torch.empty_like(parameter, device="meta"), parameter.requires_grad)
        for parameter in model.parameters()
    }
    return copy.deepcopy(model, memo)


def full_model(model: nn.Module, meta: nn.Module, accelerator: Accelerator) -> nn.Module:
    """`meta`, the `meta_copy` of `model`, filled with its full weights in host memory.

    All processes must call this; only the first gets the weights. Buffers that change in training, such as running
    means, differ between processes: those of the first are taken.
    """
    tensors = [*model.named_parameters(), *model.named_buffers()]
    gathered = {name: gather(value, accelerator.is_main_process) for name, value in tensors}
    if accelerator.is_main_process:
        meta.load_state_dict(gathered, strict=False, assign=True)
        meta.tie_weights()  # type: ignore[operator]
        meta.to("cpu")
    return meta.train(model.training)


def gather(tensor: Tensor, is_kept: bool = True) -> Tensor:
    """A full copy of `tensor` in host memory, or an empty one. All processes must call this for a sharded tensor."""
    tensor = tensor.detach()
    if isinstance(tensor, DTensor):
        tensor = tensor.full_tensor()
    return tensor.to("cpu", copy=True).contiguous() if is_kept else tensor.new_empty(0)


def shard_like(tensor: Tensor, like: Tensor) -> Tensor:
    """This process's part of the full `tensor`, sharded as `like` is; `tensor` itself if `like` is not sharded."""
    if not isinstance(like, DTensor):
        return tensor
    moved = tensor.to(like.device, like.dtype)
    # No source rank: each process has read the full tensor, so nothing needs to be sent.
    return distribute_tensor(moved, like.device_mesh, like.placements, src_data_rank=None)


def load(model: nn.Module, weights: dict[str, Tensor]) -> None:
    """Load full weights into `model`, sharded or not.

    Args:
        weights: each parameter under the first of its names, and buffers.

    Raises:
        LookupError: one is missing, or unknown to `model`.
        RuntimeError: one has another shape.
    """
    reshard(model)
    own = model.state_dict(keep_vars=True)
    lacking = [name for name, _ in model.named_parameters() if name not in weights]
    if lacking:
        raise LookupError(f"{lacking[0]} is missing")
    with torch.no_grad():
        for name, value in weights.items():
            if value.shape != own[name].shape:
                raise RuntimeError(f"{name} has another shape")
            own[name].copy_(shard_like(value, own[name]))


def reshard(model: nn.Module) -> None:
    """Free the parameters gathered for a forward pass without a backward pass; they would miss the next update."""
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.reshard()
