"""The hardware of a run: what the device can do, its memory, and the environment that is reported with a run."""

from __future__ import annotations

import contextlib
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

from pipeline.errors import UserError

CGROUPS = Path("/sys/fs/cgroup")
LIBRARIES = ("torch", "transformers", "accelerate", "datasets", "tokenizers", "huggingface_hub")


def held(device: torch.device) -> int:
    """Bytes held now: of the GPU if `device` is one, else of this process."""
    return torch.cuda.memory_allocated(device) if device.type == "cuda" else psutil.Process().memory_info().rss


def peak(device: torch.device) -> int:
    """Most bytes held so far, or since `forget_peak`: of the GPU if `device` is one, else of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    status = Path("/proc/self/status")
    if status.is_file():
        words = status.read_text().split()
        return int(words[words.index("VmHWM:") + 1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024  # getrusage counts KiB, on macOS bytes
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def forget_peak(device: torch.device) -> None:
    """Let the peak begin at what is held now, where the system can do that."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:  # another system: the peak of all that was before counts, which is on the safe side
        return


def free(device: torch.device) -> int:
    """Bytes that this process may still take: on the GPU, or within the machine's memory and the limits that the
    shell (`ulimit -v`) and the scheduler (control groups) set. Processes of the run beside it get as much each."""
    if device.type == "cuda":
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + cached
    beside = int(os.environ.get("LOCAL_WORLD_SIZE") or os.environ.get("WORLD_SIZE") or 1)
    shared = min([psutil.virtual_memory().available, *_left_in_groups()])
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    own = [] if limit == resource.RLIM_INFINITY else [limit - psutil.Process().memory_info().vms]
    return max(min([shared // beside, *own]), 0)


def ran_out(error: BaseException) -> bool:
    """Whether `error` says that the device's memory does not suffice."""
    return isinstance(error, MemoryError) or (isinstance(error, Exception) and should_reduce_batch_size(error))


@contextlib.contextmanager
def sufficing(remedy: str) -> Iterator[None]:
    """Tell in one line, with `remedy`, that memory ran out inside.

    Raises:
        UserError: it did; whatever else is raised passes.
    """
    try:
        yield
    except Exception as error:
        if not ran_out(error):
            raise
        raise UserError(f"memory ran out; {remedy}") from error


def _left_in_groups() -> list[int]:
    """Bytes left in each control group of this process that has a limit, of either version."""
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
    except (OSError, ValueError):  # there is no limit, which is written "max", or the group is another container's
        return []


def has_fast_bf16(device: torch.device) -> bool:
    """Whether `device` computes in bfloat16 rather than emulating it."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    capabilities = torch.backends.cpu.get_cpu_capability()
    return capabilities.startswith("AVX512") and getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)()


def environment() -> dict[str, Any]:
    """Versions, processor and accelerators, JSON-able."""
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
