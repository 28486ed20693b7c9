"""Checkpoints: everything that resuming needs, whole or absent, in a folder per step.

Only tensors and JSON are read back; no pickle is ever executed.
"""

from __future__ import annotations

import dataclasses
import errno
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

from pipeline.errors import UserError, reason
from pipeline.training.step import Parts

FOLDER = "checkpoints"
STATE = "state.json"
WEIGHTS = "model.safetensors"

# What the libraries raise for files that are missing, damaged or of another kind.
UNREADABLE = (
    OSError,
    EOFError,
    RuntimeError,
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
    UnpicklingError,
    SafetensorError,
)


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
    found = sorted(path for path in (root / FOLDER).glob("step-*") if path.name.removeprefix("step-").isdecimal())
    return found[-1] if found else None


def save(root: Path, parts: Parts, state: State, accelerator: Accelerator) -> None:
    """Write a checkpoint aside, then rename it; keep the newest and the best one."""
    target = folder_of(root, state.step)
    aside = target.with_name(f".writing-{target.name}")
    if accelerator.is_main_process:
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
    accelerator.wait_for_everyone()
    _write(_own_state(parts), aside / f"process-{accelerator.process_index}.pt")
    if accelerator.is_main_process:
        save_model(accelerator.unwrap_model(parts.model), str(aside / WEIGHTS))
        _write(_optimizer_state(parts), aside / "optimizer.pt")
        (aside / STATE).write_text(json.dumps(dataclasses.asdict(state)), encoding="utf-8")
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        _publish(aside, target)
        _forget_old(root, {state.step, state.best_step})
    accelerator.wait_for_everyone()


def _write(state: dict[str, Any], file: Path) -> None:
    try:
        torch.save(state, file)
    except RuntimeError as error:  # all that torch tells of a full disk is a position in the file
        raise OSError(errno.EIO, f"{file.name} could not be written whole") from error


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
        state = _read_state(folder / STATE)
        load_weights(folder, parts.model, accelerator)
        stored = torch.load(folder / "optimizer.pt", weights_only=True)
        _check_alike("optimizer.pt", _settings_of(stored), _settings_of(_optimizer_state(parts)))
        parts.optimizer.load_state_dict(stored["optimizer"])
        _check_moments(parts.optimizer)
        parts.scheduler.load_state_dict(stored["scheduler"])
        own = torch.load(folder / f"process-{accelerator.process_index}.pt", weights_only=True)
        parts.carry.load_state_dict(own["carry"])
        _restore_random_state(own["random"])
    except UNREADABLE as error:
        raise UserError(
            f"{folder}: this checkpoint cannot be resumed: {_told(error)}; remove this folder to go on from an"
            " earlier one, or start anew with --train.overwrite"
        ) from error
    return state


def _read_state(file: Path) -> State:
    values = json.loads(file.read_text(encoding="utf-8"))
    fields = {field.name: str(field.type) for field in dataclasses.fields(State)}
    if not isinstance(values, dict) or values.keys() != fields.keys():
        raise ValueError(f"{file.name} must be an object with {', '.join(fields)}")
    for name, kind in fields.items():
        value = values[name]
        is_right = (
            type(value) is int or (type(value) is float and "float" in kind) or (value is None and "None" in kind)
        )
        if not is_right or (value is not None and value < 0 and name != "best_score"):
            raise ValueError(f"{file.name} has {name} {value!r}; expected {kind}")
    best = values["best_step"]
    if best is not None and not (folder_of(file.parent.parent.parent, best) / WEIGHTS).is_file():
        raise ValueError(f"the best weights, of step {best}, are gone")
    return State(**values)


def _settings_of(stored: dict[str, Any]) -> dict[str, Any]:
    """What a file of the optimiser's state holds besides the tensors."""
    return {"param_groups": stored["optimizer"]["param_groups"], "scheduler": stored["scheduler"]}


def _check_alike(name: str, stored: Any, own: Any) -> None:
    """Hold what was stored to the form of our own, as far as both have it; another version of torch may add names."""
    if isinstance(own, dict) and isinstance(stored, dict):
        for key in own.keys() & stored.keys():
            _check_alike(f"{name}: {key}", stored[key], own[key])
    elif isinstance(own, (list, tuple)) and isinstance(stored, (list, tuple)) and len(stored) == len(own):
        for pair in zip(stored, own, strict=True):
            _check_alike(name, *pair)
    elif not (_is_number(own) and _is_number(stored)) and type(stored) is not type(own):
        raise ValueError(f"{name} is {stored!r:.40}; expected something like {own!r:.40}")
    elif isinstance(own, (list, tuple)):
        raise ValueError(f"{name} has {len(stored)} elements; expected {len(own)}")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _check_moments(optimizer: torch.optim.Optimizer) -> None:
    for parameter, kept in optimizer.state.items():
        if any(kept[name].shape != parameter.shape for name in ("exp_avg", "exp_avg_sq")):
            raise ValueError("optimizer.pt belongs to another model")


def load_weights(folder: Path, model: nn.Module, accelerator: Accelerator) -> None:
    """Put the checkpoint's weights into `model`."""
    load_model(accelerator.unwrap_model(model), str(folder / WEIGHTS))


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


def _told(error: BaseException) -> str:
    if isinstance(error, (UnpicklingError, EOFError)):
        return "a file in it is damaged, or holds more than tensors"
    return reason(error)
