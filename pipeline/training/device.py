"""What the device can do, and how much of it was used."""

from __future__ import annotations

import resource
import sys

import psutil
import torch


def has_fast_bf16(device: torch.device) -> bool:
    """Whether `device` computes in bfloat16 rather than emulating it."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    capabilities = torch.backends.cpu.get_cpu_capability()
    return capabilities.startswith("AVX512") and getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)()


def memory_bytes(device: torch.device) -> int:
    """Memory held now: of the GPU if `device` is one, else of this process."""
    return torch.cuda.memory_allocated(device) if device.type == "cuda" else psutil.Process().memory_info().rss


def peak_memory_bytes(device: torch.device) -> int:
    """Most memory held so far: of the GPU if `device` is one, else of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024  # getrusage counts KiB, on macOS bytes
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
