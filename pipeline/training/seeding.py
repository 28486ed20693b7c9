"""The random generators that a run draws from: seeded, stored and restored; and deterministic algorithms.

They are global: a run that is trained from Python seeds the generators of its process, as transformers' `set_seed`
does. The order of the rows depends on none of them (see data/bucketing.py).
"""

from __future__ import annotations

import contextlib
import os
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from pipeline.errors import UserError, reason


def seed_all(seed: int) -> None:
    """Seed the generators of torch, numpy and Python; `seed`: at least 0."""
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)  # numpy takes 32 bits; nothing here draws from it, but a task may
    random.seed(seed)


def derive(*numbers: int) -> int:
    """A seed that depends on `numbers`, such as seed, rank and step, and on their order."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint32)[0])


def state() -> dict[str, Any]:
    """The state of the generators of torch, each GPU, numpy and Python, as tensors and numbers."""
    _, words, *numbers = np.random.get_state(legacy=True)
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "numpy": (torch.from_numpy(words.astype(np.int64)), *numbers),  # type: ignore[union-attr]
        "python": random.getstate(),
    }


def restore(stored: dict[str, Any]) -> None:
    """Restore what `state` returned. Stored states of missing GPUs are ignored; additional GPUs keep their state."""
    torch.set_rng_state(stored["torch"])
    if torch.cuda.is_available():
        for device, generator in enumerate(stored["cuda"][: torch.cuda.device_count()]):
            torch.cuda.set_rng_state(generator, device)
    words, *numbers = stored["numpy"]
    np.random.set_state(("MT19937", words.numpy().astype(np.uint32), *numbers))
    random.setstate(stored["python"])


@contextlib.contextmanager
def deterministic(is_on: bool) -> Iterator[None]:
    """Use deterministic algorithms in the block if `is_on`: the same inputs give the same bits on the same device.

    The settings of torch, cuDNN and cuBLAS are restored afterwards.

    Raises:
        UserError: an operation has no deterministic algorithm.
    """
    if not is_on:
        yield
        return
    cudnn = torch.backends.cudnn
    before = torch.are_deterministic_algorithms_enabled(), cudnn.deterministic, cudnn.benchmark
    # cuBLAS reads it when it is first used (NVIDIA, cuBLAS Library, "Results Reproducibility").
    is_set = "CUBLAS_WORKSPACE_CONFIG" in os.environ
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    cudnn.deterministic, cudnn.benchmark = True, False
    try:
        yield
    except RuntimeError as error:
        if "deterministic" not in str(error):
            raise
        raise UserError(f"train.deterministic: {reason(error)}; set it to False") from error
    finally:
        if not is_set:
            os.environ.pop("CUBLAS_WORKSPACE_CONFIG", None)
        torch.use_deterministic_algorithms(before[0])
        cudnn.deterministic, cudnn.benchmark = before[1:]
