"""What the machine has, and what a recipe will do and cost on it: `finetune doctor`."""

from __future__ import annotations

import importlib.metadata
import math
import os
import platform
import shutil
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from transformers import PreTrainedModel

from pipeline import assembly, malloc, rehearsal, run
from pipeline.config import samples
from pipeline.config.hub import Hub
from pipeline.config.loading import check_names
from pipeline.config.recipe import Recipe
from pipeline.data.prepare import Prepared
from pipeline.data.sources import locate
from pipeline.doctor import teaching
from pipeline.doctor.durations import duration
from pipeline.doctor.rules import RunProfile, find_unusual
from pipeline.models.recurrent.cpu_linear import is_faster
from pipeline.tasks.base import Task, load_task
from pipeline.training import batch_size_finder, hardware, trainer
from pipeline.training.distributed import launch
from pipeline.training.hardware import has_fast_bf16
from pipeline.training.hidden_state import HiddenStateCarry
from pipeline.training.optim import build_optimizer, build_scheduler
from pipeline.training.step import TrainState, padded_tokens, update, update_batches

LIBRARIES = ("torch", "transformers", "accelerate", "datasets", "evaluate", "huggingface_hub", "tokenizers")
WARM_UPDATES, TIMED_UPDATES = 2, 6
GIBIBYTE = 2**30


def examine(recipe: Recipe | None) -> None:
    """Print what the machine has and, for a recipe, what a run will do and cost, and which settings are unusual.

    Raises:
        UserError: a run would refuse the recipe, its data or its model.
    """
    _print({"machine": _machine(), **({"recipe": _plan(recipe)} if recipe else {})})


def _print(sections: dict[str, dict[str, str]]) -> None:
    for title, lines in sections.items():
        print(title)
        for name, value in lines.items():
            print(f"  {name:<16}{value}")


def _machine() -> dict[str, str]:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    free = shutil.disk_usage(Path.cwd()).free / GIBIBYTE
    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return {
        "python": platform.python_version(),
        "libraries": ", ".join(f"{name} {importlib.metadata.version(name)}" for name in LIBRARIES),
        "processors": f"{os.cpu_count()} cores, {torch.get_num_threads()} threads",
        "accelerators": ", ".join(gpus) or "none",
        "bf16": "in hardware" if has_fast_bf16(device) else "not in hardware; train.precision auto uses fp32",
        "float32": "oneDNN multiplies large matrices" if is_faster() else "torch multiplies matrices as it chooses",
        "malloc": "keeps freed memory" if malloc.is_set_up else "as it is: not glibc's, or set up in the environment",
        "disk": f"{free:.0f} GiB free here",
        "samples": ", ".join(samples.installed()) or "none; pip install 'finetune-pipeline[samples]'",
    }


def _plan(recipe: Recipe) -> dict[str, str]:
    """What a run of `recipe` will do and cost, by topic."""
    check_names(recipe)
    task = load_task(recipe.task)
    prepared = assembly.prepare_for(recipe, task, locate(recipe.data, recipe.task))
    task = assembly.task_for(task, prepared)
    model, build_info = assembly.build_for(recipe, task, prepared)
    accelerator = launch.start()
    with tempfile.TemporaryDirectory() as folder:
        lines: dict[str, str] = {}
        if recipe.distil is not None:
            prepared, lines = teaching.plan(recipe, task, model, prepared, accelerator, Path(folder))
        return lines | _costs(recipe, task, model, build_info, prepared, accelerator)


def _costs(
    recipe: Recipe,
    task: Task,
    model: PreTrainedModel,
    build_info: dict[str, Any],
    prepared: Prepared,
    accelerator: Accelerator,
) -> dict[str, str]:
    """What training will do and cost, by topic: that of a student is measured without its teacher's answers."""
    given, recipe = recipe, replace(recipe, distil=None)
    this = assembly.run_of(recipe, task, model, prepared, accelerator)
    if recipe.train.auto_batch:
        this = assembly.run_of(batch_size_finder.with_found_batch_size(this, None), task, model, prepared, accelerator)
    # A push needs commits, which only a run looks up.
    local = replace(this, recipe=replace(this.recipe, hub=Hub()))
    with tempfile.TemporaryDirectory() as folder:
        rehearsal.rehearse(local, build_info, prepared, {}, Path(folder))
    memory = _memory(this)  # measured while nothing else is on the device
    model.to(accelerator.device)
    seconds_per_token = _seconds_per_token(this)
    profile = replace(_profile(this, prepared, seconds_per_token), recipe=replace(this.recipe, distil=given.distil))
    return {
        "rows": ", ".join(f"{name} {count:,}" for name, count in profile.rows.items()),
        **({"labels": ", ".join(prepared.labels)} if prepared.labels else {}),
        "tokens": f"{int(profile.lengths.sum()):,} per epoch; {profile.padding:.1%} of the batches is padding",
        "model": f"{type(model).__name__}, {model.num_parameters():,} parameters, {_trained(model):,} of them trained",
        **{name: str(value) for name, value in build_info.items()},
        "updates": f"{_updates(profile)}, of {this.rows_per_update} rows; {this.updates_per_epoch:,} per epoch",
        "batches": str(this.layout),
        "processes": f"{accelerator.num_processes} on {accelerator.device.type}; distributed: "
        + accelerator.distributed_type.value.lower(),
        "precision": "bf16" if this.autocast else "fp32",
        "memory": memory,
        "time": _time(this, profile.total_updates, seconds_per_token),
        "disk": f"{_disk(model, recipe.train.keep_checkpoints) / GIBIBYTE:.2f} GiB for checkpoints and the model",
        "folder": str(recipe.folder),
        **{f"note {number}": note for number, note in enumerate(prepared.report["notes"], start=1)},
        **{f"unusual {number}": line for number, line in enumerate(find_unusual(profile), start=1)},
    }


def _trained(model: PreTrainedModel) -> int:
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def _updates(profile: RunProfile) -> str:
    seconds = profile.recipe.train.max_seconds
    if seconds is None:
        return f"{profile.total_updates:,}"
    return f"about {profile.total_updates:,} in {duration(seconds)}"


def _profile(this: trainer.Run, prepared: Prepared, seconds_per_token: float) -> RunProfile:
    report, train, seconds = prepared.report, this.splits["train"], this.recipe.train.max_seconds
    seconds_per_update = seconds_per_token * int(train.lengths.sum()) / this.updates_per_epoch
    fitting = this.total_updates if seconds is None else math.ceil(seconds / seconds_per_update)
    return RunProfile(
        recipe=this.recipe,
        lengths=train.lengths,
        rows={name: len(rows) for name, rows in this.splits.items()},
        labels=report.get("labels", {}).get("train", {}),
        truncated=report["encoded"]["train"]["truncated"],
        unknown={split: counts["unknown_share"] for split, counts in report["encoded"].items()},
        tokenizer=report["tokenizer"],
        padding=_padding(this),
        total_updates=min(this.total_updates, fitting),
        updates_per_epoch=this.updates_per_epoch,
        seconds_per_update=seconds_per_update,
        on_fast_gpu=this.accelerator.device.type == "cuda" and has_fast_bf16(this.accelerator.device),
        autocast=this.autocast,
    )


def _padding(this: trainer.Run) -> float:
    """Share of padding in the batches of the first epoch."""
    lengths, size = this.splits["train"].lengths, this.recipe.train.batch_size
    order = this.splits["train"].updates(this.rows_per_update, this.recipe.train.seed, 0)
    return 1 - int(lengths.sum()) / sum(padded_tokens(lengths, rows, size) for rows in order)


def _memory(this: trainer.Run) -> str:
    """The peak memory of a process in training, measured on the longest rows with a copy of the model."""
    device, size = this.accelerator.device, min(this.recipe.train.batch_size, len(this.splits["train"]))
    free, held = hardware.free_memory(device), hardware.used_memory(device)
    peak = batch_size_finder.peak_memory(this, size)
    rows = f"the {size} longest rows (up to {int(this.splits['train'].lengths.max())} tokens each)"
    if peak is None:
        return f"not enough for a batch of {rows}; {run.TOO_MUCH}"
    return f"{peak / GIBIBYTE:.2f} GiB for a batch of {rows}; {(free + held) / GIBIBYTE:.2f} GiB available"


def _disk(model: PreTrainedModel, kept: int) -> int:
    """Bytes of the saved model and of all checkpoints: those that are kept, the best, and the one being written.

    A checkpoint holds the weights and Adam's two moments, in 4 bytes for each trained parameter.
    """
    weights = sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())
    return (kept + 2) * (weights + 2 * 4 * _trained(model)) + weights


def _time(this: trainer.Run, total_updates: int, seconds_per_token: float) -> str:
    """Time of training and evaluation. A forward pass is taken as a third of an update: the backward pass computes
    two matrix products for each of the forward pass."""
    epochs = total_updates / this.updates_per_epoch
    training = seconds_per_token * int(this.splits["train"].lengths.sum()) * epochs
    every = this.recipe.train.eval_every or this.updates_per_epoch
    evaluations = -(-total_updates // every) + 1  # ceil, and once more with the best weights
    tokens = evaluations * int(this.splits["validation"].lengths.sum())
    if "test" in this.splits:
        tokens += int(this.splits["test"].lengths.sum())
    evaluation = tokens * seconds_per_token / 3
    more = ", without what it writes then" if this.task.generates else ""
    return (
        f"about {duration(training)} for training and {duration(evaluation)} for evaluation{more}, from"
        f" {TIMED_UPDATES} timed updates"
    )


def _seconds_per_token(this: trainer.Run) -> float:
    """Measured in a few updates, which change the model: it must not be used afterwards."""
    optimizer = build_optimizer(this.model, this.recipe.optim, this.task.output_scale)
    scheduler = build_scheduler(optimizer, this.recipe.optim, this.total_updates)
    carry = HiddenStateCarry(this.model if this.splits["train"].carries else None)
    state = TrainState(this.model, optimizer, scheduler, carry, this.objective)
    lengths, train = this.splits["train"].lengths, this.recipe.train
    order = this.splits["train"].updates(this.rows_per_update, train.seed, 0)
    chosen = order[: WARM_UPDATES + TIMED_UPDATES]
    tokens, seconds = 0, 0.0
    this.model.train()
    batches = update_batches(chosen, train.batch_size, this.weighted_batches, this.accelerator)
    for number in range(len(chosen)):
        started = time.perf_counter()
        batch = next(batches)
        loss, _, _ = update(this.accelerator, state, batch, this.recipe.optim.max_grad_norm, this.autocast)
        loss.item()  # waits until the device has finished
        if number >= WARM_UPDATES or len(chosen) <= WARM_UPDATES:
            seconds += time.perf_counter() - started
            tokens += int(lengths[batch.rows].sum())
    return seconds / tokens
