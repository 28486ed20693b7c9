"""What this machine has, and what a recipe will do and cost on it before it is run."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import time
from pathlib import Path

import numpy as np
import torch

from pipeline import run, samples
from pipeline.recipe import Recipe
from pipeline.tasks.base import load_task
from pipeline.training import trainer, world
from pipeline.training.carry import Carry
from pipeline.training.device import has_fast_bf16
from pipeline.training.optim import build_optimizer, build_scheduler
from pipeline.training.step import Parts, update, windows

LIBRARIES = ("torch", "transformers", "accelerate", "datasets", "evaluate", "huggingface_hub", "tokenizers")
WARM_UPDATES, TIMED_UPDATES = 2, 6
GIBIBYTE = 2**30


def examine(recipe: Recipe | None) -> None:
    """Print what the machine has and, for a recipe, its rows, tokens, updates, parameters and time.

    Raises:
        UserError: the recipe's data or model is refused, as it would be in a run.
    """
    run.quiet()
    _print({"machine": _machine(), **({"recipe": _plan(recipe)} if recipe else {})})


def _print(sections: dict[str, dict[str, str]]) -> None:
    for title, facts in sections.items():
        print(title)
        for name, value in facts.items():
            print(f"  {name:<16}{value}")


def _machine() -> dict[str, str]:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    free = shutil.disk_usage(Path.cwd()).free / GIBIBYTE
    installed = [
        f"sample:{name}"
        for kind in samples.SAMPLES.values()
        for name, (package, _) in kind.items()
        if importlib.util.find_spec(package)
    ]
    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return {
        "python": platform.python_version(),
        "libraries": ", ".join(f"{name} {importlib.metadata.version(name)}" for name in LIBRARIES),
        "processors": f"{os.cpu_count()} cores, {torch.get_num_threads()} threads used",
        "accelerators": ", ".join(gpus) or "none",
        "bf16": "in hardware" if has_fast_bf16(device) else "not in hardware; train.precision auto takes fp32",
        "disk": f"{free:.0f} GiB free here",
        "samples": ", ".join(installed) or "none; pip install 'finetune-pipeline[samples]'",
    }


def _plan(recipe: Recipe) -> dict[str, str]:
    task = load_task(recipe.task)
    prepared = run.prepare_for(recipe, task)
    model, notes = run.build_for(recipe, task, prepared)
    accelerator = world.start()
    this = trainer.Run(
        recipe=recipe,
        task=task,
        model=model.to(accelerator.device),
        tokenizer=prepared.tokenizer,
        labels=prepared.labels,
        splits=run.arrange(recipe, task, model, prepared, accelerator),
        folder=recipe.folder,
        accelerator=accelerator,
        autocast=run.precision(recipe, accelerator) == "bf16",
    )
    lengths = this.splits["train"].lengths
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    return {
        "rows": ", ".join(f"{name} {len(rows):,}" for name, rows in this.splits.items()),
        **({"labels": ", ".join(prepared.labels)} if prepared.labels else {}),
        "tokens": f"{int(lengths.sum()):,} an epoch; {_padding(this):.1%} more are padding",
        "model": f"{type(model).__name__}, {model.num_parameters():,} parameters, {trained:,} of them trained",
        **{name: str(value) for name, value in notes.items()},
        "updates": f"{this.total_updates:,}, of {this.rows_per_update} rows; {this.updates_per_epoch:,} an epoch",
        "precision": "bf16" if this.autocast else "fp32",
        "time": f"about {_seconds(this) / 60:.1f} minutes of training, from {TIMED_UPDATES} timed updates",
        "folder": str(recipe.folder),
        **{f"note {number}": note for number, note in enumerate(prepared.report["notes"], start=1)},
    }


def _padding(this: trainer.Run) -> float:
    """Padding per real token in the batches of the first epoch."""
    lengths, size = this.splits["train"].lengths, this.recipe.train.batch_size
    order = this.splits["train"].updates(this.rows_per_update, this.recipe.train.seed, 0)
    batches = [rows[start : start + size] for rows in order for start in range(0, len(rows), size)]
    return sum(int(lengths[rows].max()) * len(rows) for rows in batches) / int(lengths.sum()) - 1


def _seconds(this: trainer.Run) -> float:
    """Estimated seconds of all updates, scaled by tokens from a few updates on the model, which is thrown away."""
    optimizer = build_optimizer(this.model, this.recipe.optim)
    scheduler = build_scheduler(optimizer, this.recipe.optim, this.total_updates)
    parts = Parts(this.model, optimizer, scheduler, Carry(this.model if this.splits["train"].carries else None))
    lengths, train = this.splits["train"].lengths, this.recipe.train
    order = this.splits["train"].updates(this.rows_per_update, train.seed, 0)
    chosen = order[: WARM_UPDATES + TIMED_UPDATES]
    timed, seconds = [], 0.0
    this.model.train()
    batches = windows(chosen, train.batch_size, lambda rows: this.collate("train", rows), this.accelerator)
    for number in range(len(chosen)):
        started = time.perf_counter()
        window = next(batches)
        loss, _, _ = update(this.accelerator, parts, window, this.recipe.optim.max_grad_norm, this.autocast)
        loss.item()  # waits for the device
        if number >= WARM_UPDATES or len(chosen) <= WARM_UPDATES:
            seconds += time.perf_counter() - started
            timed.append(window.rows)
    tokens = int(lengths[np.concatenate(timed)].sum())
    epochs = this.total_updates / this.updates_per_epoch
    return seconds / tokens * int(lengths.sum()) * epochs
