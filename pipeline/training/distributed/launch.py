"""Connects the processes of a run as the launcher was asked to, or refuses the run."""

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

# What a launcher's file can set but the recipe decides -> the value that sets nothing, its name there, our setting.
DECIDED_BY_THE_RECIPE = {
    "ACCELERATE_MIXED_PRECISION": ("no", "mixed_precision", "train.precision"),
    "ACCELERATE_GRADIENT_ACCUMULATION_STEPS": ("1", "gradient_accumulation_steps", "train.accumulation"),
    "ACCELERATE_GRADIENT_CLIPPING": ("none", "gradient_clipping", "optim.max_grad_norm"),
}
# gloo raises a bare RuntimeError, recognised by its message.
_LOST = re.compile(r"Connection (closed|reset) by peer|Broken pipe|\bgloo\b|\bNCCL\b", re.IGNORECASE)
# How long a process waits for the others when it starts: long enough for imports over a slow network.
JOINING = datetime.timedelta(minutes=5)
# What shards a model -> the variable with which a launcher asks for it.
SHARDINGS = {DistributedType.FSDP: "ACCELERATE_USE_FSDP", DistributedType.DEEPSPEED: "ACCELERATE_USE_DEEPSPEED"}

# From this number of processes on, the order in which gradients are summed depends on the layout of DDP's buckets. (The
# sum of two numbers is the same in either order.)
ORDER_MATTERS = 3


def start() -> Accelerator:
    """Join the processes that the launcher started, or start alone if there was no launcher.

    Accelerate keeps the process group and its own state for the lifetime of the process, and so does this.

    Raises:
        UserError: fewer processes are connected than were launched, or the launcher's file asks for something that is
            not available or that the recipe decides.
    """
    _check_launch(os.environ)
    accelerator = _join()
    wants_shards = _is_set(os.environ, SHARDINGS[DistributedType.FSDP])
    if wants_shards and accelerator.distributed_type == DistributedType.MULTI_CPU:
        _shard()
    _check_world(accelerator, os.environ)
    return accelerator


def _join() -> Accelerator:
    wants_deepspeed = _is_set(os.environ, SHARDINGS[DistributedType.DEEPSPEED])
    try:
        accelerator = _deepspeed() if wants_deepspeed else _accelerator(cpu=not torch.cuda.is_available())
    except RuntimeError as error:
        if not _is_lost_connection(error):
            raise
        raise UserError(
            f"launch: not all {launched_processes(os.environ)} processes connected within"
            f" {JOINING.total_seconds():.0f} seconds; see the output of the others, and start all of them again"
        ) from error
    if torch.distributed.is_initialized():  # later one process may wait much longer, while another prepares the data
        backend = torch.distributed.get_backend()
        distributed_c10d._set_pg_timeout(distributed_c10d._get_default_timeout(backend))
    return accelerator


def _accelerator(cpu: bool = False, **settings: Any) -> Accelerator:
    # DDP rebuilds its buckets after the first update, in the order in which gradients arrived. A resumed run would
    # start with the first layout again and sum one update in another order, so its last bits would differ. With
    # find_unused_parameters DDP never rebuilds; walking the graph for it takes a tenth of a small update.
    buckets = DistributedDataParallelKwargs(find_unused_parameters=launched_processes(os.environ) >= ORDER_MATTERS)
    handlers = [InitProcessGroupKwargs(timeout=JOINING, **settings), buckets]
    return Accelerator(cpu=cpu, gradient_accumulation_steps=1, kwargs_handlers=handlers)


def _deepspeed() -> Accelerator:
    """Name the backend explicitly: without GPUs, accelerate chooses none for DeepSpeed and silently starts alone."""
    if torch.cuda.is_available():
        return _accelerator()
    os.environ.setdefault("DS_ACCELERATOR", "cpu")  # stays: DeepSpeed reads it whenever it first needs its device
    import deepspeed

    # An extension for inference only, which would be compiled when DeepSpeed first communicates.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    return _accelerator(backend="gloo")


def _shard() -> None:
    """Turn on FSDP without GPUs, which gloo can do: accelerate silently falls back to DDP there.

    Accelerate has no public way to do this; its state is kept for the life of the process in any case.
    """
    plugin = FullyShardedDataParallelPlugin()
    PartialState._shared_state["distributed_type"] = DistributedType.FSDP
    AcceleratorState._shared_state.update(distributed_type=DistributedType.FSDP, fsdp_plugin=plugin)


def leave(code: int) -> None:
    """End this process with `code` if it is one of several; otherwise do nothing.

    An interpreter that shuts down, or drops an error whose frames hold the model, frees the process group. This waits
    for gloo's threads with the GIL held, which one of them may be waiting for: an occasional deadlock.
    """
    if PartialState._shared_state and torch.distributed.is_initialized():
        for stream in (sys.stdout, sys.stderr):
            if stream:
                stream.flush()
        os._exit(code)


def has_lost_another(error: BaseException) -> bool:
    """Whether `error` means that another process of the run has died."""
    return torch.distributed.is_initialized() and _is_lost_connection(error)


def _is_lost_connection(error: BaseException) -> bool:
    says_so = isinstance(error, torch.distributed.DistError) or _LOST.search(str(error)) is not None
    return isinstance(error, RuntimeError) and says_so


def launched_processes(environment: Mapping[str, str]) -> int:
    """The number of processes that the launcher says it has started.

    Raises:
        UserError: it is not a number above 0.
    """
    found = next((environment[name] for name in WORLD_SIZES if environment.get(name)), "1")
    if not found.isdecimal() or int(found) < 1:
        raise UserError(f"launch: {found!r} is not a number of processes; set {BY_HAND} as torchrun does")
    return int(found)


def _check_launch(environment: Mapping[str, str]) -> None:
    """Refuse a launch that would not train as asked, before anything waits for another process."""
    launched, several = "ACCELERATE_MIXED_PRECISION" in environment, "MASTER_ADDR" in environment
    if launched and several and "WORLD_SIZE" not in environment:
        raise UserError(
            "launch: accelerate was asked for several processes and has started one, as it does with --cpu and"
            f" `use_cpu: true`; {REMEDY}"
        )
    missing = [name for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR") if name not in environment]
    if launched_processes(environment) > 1 and missing:
        raise UserError(
            f"launch: {launched_processes(environment)} processes were started that do not know each other, without"
            f" {' and '.join(missing)}; set {BY_HAND} in each, or {REMEDY}"
        )
    for name, (nothing, field, setting) in DECIDED_BY_THE_RECIPE.items():
        if environment.get(name, nothing).lower() != nothing:
            raise UserError(
                f"launch: the launcher's file sets {field} {environment[name]}, which {setting} decides; remove it"
            )
    if _is_set(environment, "ACCELERATE_USE_DEEPSPEED") and importlib.util.find_spec("deepspeed") is None:
        raise UserError(
            'launch: DeepSpeed was asked for and is not installed; pip install "finetune-pipeline[deepspeed]", or use'
            " recipes/accelerate/fsdp.yaml"
        )


def _check_world(accelerator: Accelerator, environment: Mapping[str, str]) -> None:
    wanted = launched_processes(environment)
    if accelerator.num_processes != wanted:
        raise UserError(
            f"launch: {wanted} processes were asked for, but only {accelerator.num_processes} connected; set"
            f" {BY_HAND} in each, or {REMEDY}"
        )
    for kind, name in SHARDINGS.items():
        if _is_set(environment, name) and accelerator.distributed_type != kind:
            raise UserError(
                f"launch: {kind.value} was asked for, but accelerate would run {accelerator.distributed_type.value} on"
                f" {accelerator.device.type}; start it on GPUs, or use ddp.yaml or cpu.yaml in recipes/accelerate"
            )


def _is_set(environment: Mapping[str, str], name: str) -> bool:
    return environment.get(name, "false").lower() in ("1", "true", "yes", "on")
