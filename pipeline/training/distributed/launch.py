"""The processes of a run: as many, and spread as, the launcher was asked for, or the run is refused."""

from __future__ import annotations

import datetime
import importlib.util
import os
import re
import sys
from collections.abc import Mapping
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import (
    DistributedDataParallelKwargs,
    DistributedType,
    FullyShardedDataParallelPlugin,
    InitProcessGroupKwargs,
)
from torch.distributed import distributed_c10d

from pipeline.errors import UserError

# Where launchers write how many processes they have started: torchrun and accelerate; Slurm's srun; Open MPI; MPICH.
WORLD_SIZES = ("WORLD_SIZE", "SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE")
BY_HAND = "RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT"
REMEDY = "start it with `torchrun --nproc-per-node N`, or `accelerate launch --config_file recipes/accelerate/cpu.yaml`"

# What a launcher's file can ask for and the recipe decides -> the value that asks for nothing, and what decides it.
DECIDED_BY_THE_RECIPE = {
    "ACCELERATE_MIXED_PRECISION": ("no", "mixed_precision", "train.precision"),
    "ACCELERATE_GRADIENT_ACCUMULATION_STEPS": ("1", "gradient_accumulation_steps", "train.accumulation"),
    "ACCELERATE_GRADIENT_CLIPPING": ("none", "gradient_clipping", "optim.max_grad_norm"),
}
# gloo raises a bare RuntimeError.
_LOST = re.compile(r"Connection (closed|reset) by peer|Broken pipe|\bgloo\b|\bNCCL\b", re.IGNORECASE)
# How long a process waits for the others when it starts: long enough for imports over a slow network.
JOINING = datetime.timedelta(minutes=5)
# What shards a model -> how a launcher asks for it, and what it takes.
SHARDINGS = {DistributedType.FSDP: "ACCELERATE_USE_FSDP", DistributedType.DEEPSPEED: "ACCELERATE_USE_DEEPSPEED"}

# From so many processes on, the order in which gradients are added depends on how they are laid out for the exchange.
ORDER_MATTERS = 3


def start() -> Accelerator:
    """Join the processes that the launcher started; alone where there was none.

    Raises:
        UserError: fewer processes are connected than were asked for, or the launcher's file asks for what is not there
            or what the recipe decides.
    """
    _check_launch(os.environ)
    accelerator = _join()
    wants_shards = _is_set(os.environ, SHARDINGS[DistributedType.FSDP])
    if wants_shards and accelerator.distributed_type == DistributedType.MULTI_CPU:
        _shard(accelerator)
    _check_world(accelerator, os.environ)
    return accelerator


def _join() -> Accelerator:
    wants_deepspeed = _is_set(os.environ, SHARDINGS[DistributedType.DEEPSPEED])
    try:
        accelerator = _deepspeed() if wants_deepspeed else _accelerator(cpu=not torch.cuda.is_available())
    except RuntimeError as error:
        if not _tells_of_a_loss(error):
            raise
        raise UserError(
            f"launch: not all of {asked(os.environ)} processes have come within {JOINING.total_seconds():.0f} seconds;"
            " see what the others say, and start all of them again"
        ) from error
    if torch.distributed.is_initialized():  # from here on, one may wait long for another that prepares the data
        backend = torch.distributed.get_backend()
        distributed_c10d._set_pg_timeout(distributed_c10d._get_default_timeout(backend))
    return accelerator


def _accelerator(cpu: bool = False, **settings: Any) -> Accelerator:
    # Otherwise gradients are laid out anew after the first update, in the order in which they came: a run that goes on
    # would have one update in the first layout again. It takes another look at the graph, a tenth of a small update.
    layout = DistributedDataParallelKwargs(find_unused_parameters=asked(os.environ) >= ORDER_MATTERS)
    handlers = [InitProcessGroupKwargs(timeout=JOINING, **settings), layout]
    return Accelerator(cpu=cpu, gradient_accumulation_steps=1, kwargs_handlers=handlers)


def _deepspeed() -> Accelerator:
    """accelerate gives DeepSpeed a backend on GPUs only, and without them starts one process and tells nobody."""
    if torch.cuda.is_available():
        return _accelerator()
    os.environ.setdefault("DS_ACCELERATOR", "cpu")
    import deepspeed

    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False  # compiled at each first start, for inference alone
    return _accelerator(backend="gloo")


def _shard(accelerator: Accelerator) -> None:
    """accelerate shards on GPUs only, and without them trains in another way and tells nobody; gloo can do it."""
    plugin = FullyShardedDataParallelPlugin()
    PartialState._shared_state["distributed_type"] = DistributedType.FSDP
    AcceleratorState._shared_state.update(distributed_type=DistributedType.FSDP, fsdp_plugin=plugin)


def leave(code: int) -> None:
    """End this process with `code`, if it is one of several; else do nothing.

    An interpreter that ends in the usual way, or lets go of an error whose frames hold the model, frees the process
    group. That waits for gloo's threads while it holds the interpreter's lock, which one of them may want: now and
    then, for ever.
    """
    if PartialState._shared_state and torch.distributed.is_initialized():
        for stream in (sys.stdout, sys.stderr):
            if stream:
                stream.flush()
        os._exit(code)


def has_lost_another(error: BaseException) -> bool:
    """Whether `error` says that another process of the run has gone."""
    return torch.distributed.is_initialized() and _tells_of_a_loss(error)


def _tells_of_a_loss(error: BaseException) -> bool:
    is_told = isinstance(error, torch.distributed.DistError) or _LOST.search(str(error)) is not None
    return isinstance(error, RuntimeError) and is_told


def asked(environment: Mapping[str, str]) -> int:
    """The number of processes that the launcher says it has started."""
    found = next((environment[name] for name in WORLD_SIZES if environment.get(name)), "1")
    if not found.isdecimal() or int(found) < 1:
        raise UserError(f"launch: {found!r} is no number of processes; set {BY_HAND} as torchrun does")
    return int(found)


def _check_launch(environment: Mapping[str, str]) -> None:
    """Refuse what would end in another run than the one that was asked for, before anything waits for a process."""
    launched, several = "ACCELERATE_MIXED_PRECISION" in environment, "MASTER_ADDR" in environment
    if launched and several and "WORLD_SIZE" not in environment:
        raise UserError(
            "launch: accelerate was asked for several processes and has started one, as --cpu and `use_cpu: true` make"
            f" it do; {REMEDY}"
        )
    missing = [name for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR") if name not in environment]
    if asked(environment) > 1 and missing:
        raise UserError(
            f"launch: {asked(environment)} processes were started that do not know of each other, without"
            f" {' and '.join(missing)}; set {BY_HAND} in each, or {REMEDY}"
        )
    for name, (nothing, field, setting) in DECIDED_BY_THE_RECIPE.items():
        if environment.get(name, nothing).lower() != nothing:
            raise UserError(
                f"launch: {field} {environment[name]} in the launcher's file, where {setting} decides; remove it there"
            )
    if _is_set(environment, "ACCELERATE_USE_DEEPSPEED") and importlib.util.find_spec("deepspeed") is None:
        raise UserError(
            'launch: DeepSpeed was asked for and is not installed; pip install "finetune-pipeline[deepspeed]", or use'
            " recipes/accelerate/fsdp.yaml"
        )


def _check_world(accelerator: Accelerator, environment: Mapping[str, str]) -> None:
    wanted = asked(environment)
    if accelerator.num_processes != wanted:
        raise UserError(
            f"launch: {wanted} processes were asked for, {accelerator.num_processes} is connected; set {BY_HAND} in"
            f" each, or {REMEDY}"
        )
    for kind, name in SHARDINGS.items():
        if _is_set(environment, name) and accelerator.distributed_type != kind:
            raise UserError(
                f"launch: {kind.value} was asked for, and accelerate makes {accelerator.distributed_type.value} of it"
                f" on {accelerator.device.type}; start it on GPUs, or use ddp.yaml or cpu.yaml in recipes/accelerate"
            )


def _is_set(environment: Mapping[str, str], name: str) -> bool:
    return environment.get(name, "false").lower() in ("1", "true", "yes", "on")
