"""The largest micro-batch that fits into memory, found before the run on steps that are thrown away."""

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
from pipeline.training.hidden_state import Carry
from pipeline.training.optim import build_optimizer
from pipeline.training.trainer import Run

SHARE = 0.9  # of the free memory: an allocator cannot use every byte


def settled(run: Run, earlier: Recipe | None) -> Recipe:
    """The recipe of `run` with the largest `train.batch_size` that fits, and as many rows in an update as before.

    Args:
        run: its model is copied; neither its weights nor the random state change.
        earlier: recipe of the unfinished run that is to go on: what was found for it is kept, as other micro-batches
            would round otherwise.

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
    """The largest divisor of `rows` that fits on all processes; those that are out of reach are not tried."""
    device, random = run.accelerator.device, seeding.state()
    start, limit = hardware.held(device), int(hardware.free(device) * SHARE)
    taken: list[tuple[int, int]] = []  # micro-batch, and the bytes that it took
    for size in (number for number in range(1, rows + 1) if rows % number == 0):
        most = peak(run, size) if _expected(taken, size) <= limit else None
        if not _everywhere(most is not None and most - start <= limit, run.accelerator):
            break
        taken.append((size, (most or 0) - start))
    seeding.restore(random)
    hardware.forget_peak(device)
    if not taken:
        longest = int(run.splits["train"].lengths.max())
        raise UserError(
            f"train.auto_batch: not even a row of {longest} tokens at a time fits into {limit / 2**30:.2f} GiB; lower"
            " data.max_length or take a smaller model"
        )
    return taken[-1][0]


def _expected(taken: list[tuple[int, int]], size: int) -> float:
    """Bytes that micro-batches of `size` rows will take, on the line through the last two."""
    if len(taken) < 2:
        return 0.0
    (before, less), (last, more) = taken[-2:]
    return more + max(more - less, 0) * (size - last) / (last - before)


def _everywhere(fits: bool, accelerator: Accelerator) -> bool:
    if accelerator.num_processes == 1:
        return fits
    misfits = accelerator.reduce(torch.tensor(float(not fits), device=accelerator.device), "sum")
    return float(misfits) == 0.0


def peak(run: Run, size: int) -> int | None:
    """Most bytes that are held while a copy of the model learns from the `size` longest rows; None: too many."""
    hardware.forget_peak(run.accelerator.device)
    try:
        _learn(run, size)
    except (RuntimeError, MemoryError) as error:
        if not hardware.ran_out(error):
            raise
        return None
    finally:
        clear_device_cache(garbage_collection=True)
    return hardware.peak(run.accelerator.device)


def _learn(run: Run, size: int) -> None:
    """An update, so that the optimiser holds its moments, and then another; each process for itself."""
    device, split = run.accelerator.device, run.splits["train"]
    model = copy.deepcopy(run.model).to(device).train()
    optimizer, carry = build_optimizer(model, run.recipe.optim), Carry(model if split.carries else None)
    rows = np.argsort(-split.lengths, kind="stable")[:size]
    batch = {name: value.to(device) for name, value in run.weighed(rows)[0].items()}
    for _ in range(2):
        with torch.autocast(device.type, torch.bfloat16, enabled=run.autocast):
            outputs = model(**batch, **carry.inputs(0))
        carry.keep(0, outputs)
        run.objective.loss(outputs, batch).float().backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
