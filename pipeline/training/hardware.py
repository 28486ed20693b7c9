"""The hardware of a run: the memory of a device, what it can compute with, and the environment in metrics.json.

"Memory" is that of the GPU if the device is one, otherwise that of this process.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import os
import platform
import resource
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import torch
from accelerate.utils.memory import should_reduce_batch_size

from pipeline import malloc
from pipeline.errors import UserError

CGROUPS = Path("/sys/fs/cgroup")
# Address space that a run takes beside its batches, which only `ulimit -v` counts: stacks of threads, and mapped files.
MAPPED = 128 * 2**20
LIBRARIES = ("torch", "transformers", "accelerate", "datasets", "tokenizers", "huggingface_hub")


def used_memory(device: torch.device) -> int:
    """Bytes in use now."""
    return torch.cuda.memory_allocated(device) if device.type == "cuda" else _process(os.getpid()).memory_info().rss


@functools.cache
def _process(number: int) -> psutil.Process:
    """To find out about a process takes far longer than to read its memory."""
    return psutil.Process(number)


def peak_memory(device: torch.device) -> int:
    """Most bytes in use at once so far, or since `reset_peak_memory`."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    status = Path("/proc/self/status")
    if status.is_file():
        words = status.read_text().split()
        return int(words[words.index("VmHWM:") + 1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024  # getrusage counts KiB, on macOS bytes
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def reset_peak_memory(device: torch.device) -> None:
    """Let the peak start at what is in use now. Without a GPU, this only works on Linux; elsewhere the peak stays."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    malloc.release()
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # man 5 proc_pid_clear_refs: resets VmHWM


def free_memory(device: torch.device) -> int:
    """Bytes that this process may still take.

    Without a GPU, this is the smallest of what the machine and the control groups have left, shared with the run's
    other processes on the machine, and what `ulimit -v` leaves this process.
    """
    if device.type == "cuda":
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + cached
    malloc.release()
    processes = int(os.environ.get("LOCAL_WORLD_SIZE") or os.environ.get("WORLD_SIZE") or 1)
    shared = min([psutil.virtual_memory().available, *_left_in_groups()])
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    own = [] if limit == resource.RLIM_INFINITY else [limit - psutil.Process().memory_info().vms - MAPPED]
    return max(min([shared // processes, *own]), 0)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether `error` means that memory ran out."""
    return isinstance(error, MemoryError) or (isinstance(error, Exception) and should_reduce_batch_size(error))


@contextlib.contextmanager
def out_of_memory_is_refused(remedy: str) -> Iterator[None]:
    """Turn an out-of-memory error in the block into one line that ends with `remedy`.

    Raises:
        UserError: memory ran out. Other errors pass.
    """
    try:
        yield
    except Exception as error:  # each backend raises its own when memory runs out
        if not is_out_of_memory(error):
            raise
        raise UserError(f"memory ran out; {remedy}") from error


def _left_in_groups() -> list[int]:
    """Bytes left in each control group with a limit above this process, in version 1 and 2.

    /proc/self/cgroup has lines ID:CONTROLLERS:PATH; in version 2 the controllers are empty (man 7 cgroups). A limit
    applies to all groups below it.
    """
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []
    found = []
    for _, controllers, path in (line.split(":", 2) for line in lines):
        if controllers == "":
            root, names = CGROUPS, ("memory.max", "memory.current")
        elif "memory" in controllers.split(","):
            root, names = CGROUPS / "memory", ("memory.limit_in_bytes", "memory.usage_in_bytes")
        else:
            continue
        group = root / path.lstrip("/")
        for folder in [group, *group.parents[: len(group.relative_to(root).parts)]]:
            found += _left_in(folder, *names)
    return found


def _left_in(folder: Path, limit: str, used: str) -> list[int]:
    try:
        return [int((folder / limit).read_text()) - int((folder / used).read_text())]
    except (OSError, ValueError):  # no limit, which is written "max", or a group outside this container
        return []


def has_fast_bf16(device: torch.device) -> bool:
    """Whether `device` computes in bfloat16 rather than emulating it."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    capabilities = torch.backends.cpu.get_cpu_capability()
    return capabilities.startswith("AVX512") and getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)()


def environment() -> dict[str, Any]:
    """Versions, processor, memory and accelerators, for JSON."""
    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return {
        "python": platform.python_version(),
        "libraries": {name: importlib.metadata.version(name) for name in LIBRARIES},
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_bytes": psutil.virtual_memory().total,
        "accelerators": gpus,
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()
