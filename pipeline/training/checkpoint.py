"""Checkpoints: everything that resuming needs, whole or absent, in a folder per step.

Only tensors and JSON are read back; no pickle is ever executed.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError  # what torch.load raises; nothing is unpickled here
from typing import Any

import torch
from accelerate import Accelerator
from safetensors import SafetensorError
from safetensors.torch import load_model, save_model
from torch import nn

from pipeline.errors import UserError
from pipeline.training.step import Parts

FOLDER = "checkpoints"
STATE = "state.json"


@dataclass
class State:
    """Where a run stands.

    Attributes:
        step: updates done. epoch, position: epochs done, and updates done in the one under way.
        best_score, best_step: of the validation. stale: evaluations since then.
        tokens, busy_seconds: trained on, and the time that took. seconds: the same with evaluation and saving.
        history_bytes: length of history.jsonl, which is cut to this length on resuming.
    """

    step: int = 0
    epoch: int = 0
    position: int = 0
    best_score: float | None = None
    best_step: int | None = None
    stale: int = 0
    tokens: int = 0
    busy_seconds: float = 0.0
    seconds: float = 0.0
    history_bytes: int = 0


def folder_of(root: Path, step: int) -> Path:
    """Folder of the checkpoint at `step` below the run's folder `root`."""
    return root / FOLDER / f"step-{step:08d}"


def newest(root: Path) -> Path | None:
    """The last complete checkpoint of the run in `root`; half-written ones have another name and never count."""
    found = sorted((root / FOLDER).glob("step-*"))
    return found[-1] if found else None


def save(root: Path, parts: Parts, state: State, accelerator: Accelerator) -> None:
    """Write a checkpoint aside, then rename it; keep the newest and the best one."""
    target = folder_of(root, state.step)
    aside = target.with_name(f".writing-{target.name}")
    if accelerator.is_main_process:
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
    accelerator.wait_for_everyone()
    torch.save(_own_state(parts), aside / f"process-{accelerator.process_index}.pt")
    if accelerator.is_main_process:
        save_model(accelerator.unwrap_model(parts.model), str(aside / "model.safetensors"))
        torch.save(_optimizer_state(parts), aside / "optimizer.pt")
        (aside / STATE).write_text(json.dumps(dataclasses.asdict(state)), encoding="utf-8")
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        _publish(aside, target)
        _forget_old(root, {state.step, state.best_step})
    accelerator.wait_for_everyone()


def _publish(aside: Path, target: Path) -> None:
    for file in aside.iterdir():
        _sync(file)
    shutil.rmtree(target, ignore_errors=True)
    aside.rename(target)
    _sync(target.parent)


def _sync(path: Path) -> None:
    """Force a file's bytes, or a folder's entries, to the disk before anything relies on them."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _forget_old(root: Path, kept_steps: set[int | None]) -> None:
    kept = {folder_of(root, step).name for step in kept_steps if step is not None}
    for folder in (root / FOLDER).iterdir():
        if folder.name not in kept:
            shutil.rmtree(folder, ignore_errors=True)


def load(folder: Path, parts: Parts, accelerator: Accelerator) -> State:
    """Restore `parts`, with what this process's rows go on from, and its random state from a checkpoint.

    Raises:
        UserError: the checkpoint belongs to another model or cannot be read.
    """
    try:
        state = State(**json.loads((folder / STATE).read_text(encoding="utf-8")))
        load_weights(folder, parts.model, accelerator)
        stored = torch.load(folder / "optimizer.pt", weights_only=True)
        parts.optimizer.load_state_dict(stored["optimizer"])
        parts.scheduler.load_state_dict(stored["scheduler"])
        own = torch.load(folder / f"process-{accelerator.process_index}.pt", weights_only=True)
        parts.carry.load_state_dict(own["carry"])
        _restore_random_state(own["random"])
    except (OSError, RuntimeError, ValueError, TypeError, KeyError, UnpicklingError, SafetensorError) as error:
        raise UserError(
            f"{folder}: this checkpoint cannot be resumed: {_first_line(error)}; remove this folder to go on from an"
            " earlier one, or start anew with --train.overwrite"
        ) from error
    return state


def load_weights(folder: Path, model: nn.Module, accelerator: Accelerator) -> None:
    """Put the checkpoint's weights into `model`."""
    load_model(accelerator.unwrap_model(model), str(folder / "model.safetensors"))


def _optimizer_state(parts: Parts) -> dict[str, Any]:
    return {"optimizer": parts.optimizer.state_dict(), "scheduler": parts.scheduler.state_dict()}


def _own_state(parts: Parts) -> dict[str, Any]:
    """What each process has of its own."""
    return {"random": _random_state(), "carry": parts.carry.state_dict()}


def _random_state() -> dict[str, Any]:
    """The generators that dropout draws from; the order of the rows needs none."""
    return {"cpu": torch.get_rng_state(), "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []}


def _restore_random_state(state: dict[str, Any]) -> None:
    torch.set_rng_state(state["cpu"])
    if state["cuda"]:
        torch.cuda.set_rng_state_all(state["cuda"])


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or ["no reason given"])[0].partition(". In PyTorch")[0]
