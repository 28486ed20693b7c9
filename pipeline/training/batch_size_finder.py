"""The largest micro-batch that fits into memory, found before the run on updates of a copy of the model."""

from __future__ import annotations

import copy
import dataclasses

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils.memory import clear_device_cache

from pipeline.config.recipe import Recipe
from pipeline.errors import UserError
from pipeline.training import hardware, seeding
from pipeline.training.hidden_state import HiddenStateCarry
from pipeline.training.optim import build_optimizer
from pipeline.training.trainer import Run

SHARE = 0.9  # of the free memory; fragmentation keeps an allocator from using every byte


def with_found_batch_size(run: Run, earlier: Recipe | None) -> Recipe:
    """The recipe of `run` with the largest `train.batch_size` that fits, and as many rows in an update as before.

    Args:
        run: its model is copied; neither its weights nor the random state change.
        earlier: recipe of the unfinished run to resume, if any. Its batch size is kept: other micro-batches would
            round differently.

    Raises:
        UserError: not even micro-batches of one row fit.
    """
    train = run.recipe.train
    rows = train.batch_size * train.accumulation
    if earlier and earlier.train.auto_batch and earlier.train.batch_size * earlier.train.accumulation == rows:
        size = earlier.train.batch_size
    else:
        size = _largest(run, rows)
    return dataclasses.replace(run.recipe, train=dataclasses.replace(train, batch_size=size, accumulation=rows // size))


def _largest(run: Run, rows: int) -> int:
    """The largest divisor of `rows` that fits on all processes. Sizes that cannot fit are not tried."""
    device, random = run.accelerator.device, seeding.state()
    limit, start = int(hardware.free_memory(device) * SHARE), hardware.used_memory(device)
    measured: list[tuple[int, int]] = []  # micro-batch, and the bytes that it took
    for size in (number for number in range(1, rows + 1) if rows % number == 0):
        peak = peak_memory(run, size) if _predicted(measured, size) <= limit else None
        if not _on_all_processes(peak is not None and peak - start <= limit, run.accelerator):
            break
        measured.append((size, (peak or 0) - start))
    seeding.restore(random)
    hardware.reset_peak_memory(device)
    if not measured:
        longest = int(run.splits["train"].lengths.max())
        raise UserError(
            f"train.auto_batch: not even one row of {longest} tokens fits into {limit / 2**30:.2f} GiB; lower"
            " data.max_length or use a smaller model"
        )
    return measured[-1][0]


def _predicted(measured: list[tuple[int, int]], size: int) -> float:
    """Bytes that micro-batches of `size` rows will take, on the line through the last two measurements."""
    if len(measured) < 2:
        return 0.0
    (before, less), (last, more) = measured[-2:]
    return more + max(more - less, 0) * (size - last) / (last - before)


def _on_all_processes(fits: bool, accelerator: Accelerator) -> bool:
    if accelerator.num_processes == 1:
        return fits
    misfits = accelerator.reduce(torch.tensor(float(not fits), device=accelerator.device), "sum")
    return float(misfits) == 0.0


def peak_memory(run: Run, size: int) -> int | None:
    """Peak bytes in use while a copy of the model trains on the `size` longest rows; None: memory ran out."""
    hardware.reset_peak_memory(run.accelerator.device)
    try:
        _train_copy(run, size)
    except (RuntimeError, MemoryError) as error:
        if not hardware.is_out_of_memory(error):
            raise
        return None
    finally:
        clear_device_cache(garbage_collection=True)
    return hardware.peak_memory(run.accelerator.device)


def _train_copy(run: Run, size: int) -> None:
    """Two updates, each process on its own: the second needs room for the moments that the first created."""
    device, split = run.accelerator.device, run.splits["train"]
    model = copy.deepcopy(run.model).to(device).train()
    optimizer, carry = build_optimizer(model, run.recipe.optim), HiddenStateCarry(model if split.carries else None)
    rows = np.argsort(-split.lengths, kind="stable")[:size]
    batch = {name: value.to(device) for name, value in run.collate("train", rows)[0].items()}
    for _ in range(2):
        with torch.autocast(device.type, torch.bfloat16, enabled=run.autocast):
            outputs = model(**run.objective.inputs(batch), **carry.inputs(0))
        carry.keep(0, outputs)
        run.objective.loss(outputs, batch).float().backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
