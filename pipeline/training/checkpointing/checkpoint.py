"""Checkpoints: everything that resuming needs, whole or absent, in a folder per step.

safetensors and JSON: no pickle is ever read.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from accelerate.utils import broadcast_object_list, gather_object
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from pipeline import storage
from pipeline.errors import UserError, reason
from pipeline.training import seeding
from pipeline.training.checkpointing import serialization
from pipeline.training.distributed import deepspeed, fsdp
from pipeline.training.hidden_state import Dealing, redealt
from pipeline.training.step import Parts

FOLDER = "checkpoints"
STATE = "state.json"
WEIGHTS = "model.safetensors"
OPTIMIZER = "optimizer.safetensors"
PROCESSES = "processes.safetensors"

# What the libraries raise for files that are missing, damaged or of another kind.
UNREADABLE = (OSError, RuntimeError, ValueError, TypeError, AttributeError, LookupError, SafetensorError)


@dataclass
class State:
    """Where a run stands.

    Attributes:
        step: updates done. epoch, position: epochs done, and updates done in the one under way.
        scored: step of the last validation. best_score, best_step: of the best. stale: validations since then.
        tokens, busy_seconds: trained on, and the time that took. seconds: the same with evaluation and saving.
        history_bytes: length of history.jsonl, which is cut to this length on resuming.
    """

    step: int = 0
    epoch: int = 0
    position: int = 0
    scored: int = 0
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


def found(root: Path) -> list[Path]:
    """Checkpoints of the run in `root`, the last one first; half-written ones have another name and never count."""
    folders = (path for path in (root / FOLDER).glob("step-*") if path.name.removeprefix("step-").isdecimal())
    return sorted(folders, reverse=True)


def newest(root: Path) -> Path | None:
    """The last checkpoint of the run in `root`."""
    return next(iter(found(root)), None)


def save(
    root: Path,
    parts: Parts,
    state: State,
    dealing: Dealing,
    accelerator: Accelerator,
    writer: storage.Writer,
    keep: int,
) -> None:
    """Copy what there is into host memory and let `writer` make a checkpoint of the copy while training goes on.

    The newest `keep` stay, and the best weights of each of them.

    Raises:
        Exception: the checkpoint before could not be written; on all processes.
    """
    settle(writer, accelerator)
    own = serialization.on_host({"random": seeding.state(), "carry": parts.carry.state_dict()})
    processes = {"dealing": dataclasses.asdict(dealing), "processes": gather_object([own])}
    model, is_main = accelerator.unwrap_model(parts.model), accelerator.is_main_process
    if not is_main and not (fsdp.is_sharded(model) or isinstance(parts.optimizer, deepspeed.SharedOptimizer)):
        return
    weights = serialization.on_host(_weights(model), is_main)
    optimizer, told = serialization.on_host(_optimizer_state(parts), is_main), json.dumps(dataclasses.asdict(state))
    if not is_main:
        return

    def fill(folder: Path) -> None:
        save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})
        serialization.write(optimizer, folder / OPTIMIZER)
        serialization.write(processes, folder / PROCESSES)
        (folder / STATE).write_text(told, encoding="utf-8")

    target = folder_of(root, state.step)

    def work() -> None:
        storage.publish(target, fill)
        _forget_old(root, keep)

    writer.submit(work)


def settle(writer: storage.Writer, accelerator: Accelerator) -> None:
    """Wait until the checkpoint under way is complete.

    Raises:
        Exception: it could not be written; on all processes, as they all have to end.
    """
    outcome = [writer.wait()]
    if accelerator.num_processes > 1:
        broadcast_object_list(outcome)
    if outcome[0] is not None:
        raise outcome[0]


def _weights(model: nn.Module) -> dict[str, Tensor]:
    """The state of `model`; of tensors that share their memory, as tied weights do, the first."""
    seen: set[Any] = set()
    kept = {}
    for name, tensor in model.state_dict(keep_vars=True).items():
        is_placed = tensor.numel() and not isinstance(tensor, DTensor)
        place = (tensor.data_ptr(), tensor.shape, tensor.stride()) if is_placed else id(tensor)
        if place not in seen:
            seen.add(place)
            kept[name] = tensor
    return kept


def _forget_old(root: Path, keep: int) -> None:
    """Only the newest `keep` stay, and the best of each: a run that goes on from it needs those weights, too."""
    newest_ones = found(root)[:keep]
    best = [_best_of(folder) for folder in newest_ones]
    kept = {*newest_ones, *(folder_of(root, step) for step in best if step is not None)}
    for folder in (root / FOLDER).iterdir():
        if folder not in kept:
            shutil.rmtree(folder, ignore_errors=True)


def _best_of(folder: Path) -> int | None:
    try:
        return _read_state(folder / STATE).best_step
    except UNREADABLE:
        return None


def choose(root: Path, accelerator: Accelerator) -> Path | None:
    """The last whole checkpoint; what is damaged is told of and, as the run goes on from before it, removed.

    Raises:
        UserError: there are checkpoints, and all of them are damaged.
    """
    chosen: list[Any] = [None]
    if accelerator.is_main_process:
        try:
            chosen = [_last_whole(root)]
        except UserError as error:
            chosen = [error]
    if accelerator.num_processes > 1:
        broadcast_object_list(chosen)
    if isinstance(chosen[0], UserError):
        raise chosen[0]
    return chosen[0]


def _last_whole(root: Path) -> Path | None:
    damaged: list[tuple[Path, str]] = []
    for folder in found(root):
        why = _damage(root, folder)
        if why is None:
            for other, told in damaged:
                print(f"checkpoint: {other} is damaged ({told}); going on from {folder.name}", flush=True)
                storage.discard(other)
            return folder
        damaged.append((folder, why))
    if damaged:
        raise UserError(_refusal(*damaged[0]))
    return None


def _damage(root: Path, folder: Path) -> str | None:
    """What is wrong with `folder`, or with the best weights that it relies on."""
    why = storage.damage(folder)
    best = _best_of(folder) if why is None else None
    if best is None or folder_of(root, best) == folder:
        return why
    why = storage.damage(folder_of(root, best))
    return why and f"the best weights, of step {best}: {why}"


def _refusal(folder: Path, why: str) -> str:
    return (
        f"{folder}: this checkpoint cannot be resumed: {why}; remove this folder to go on from an earlier one, or start"
        " anew with --train.overwrite"
    )


def load(folder: Path, parts: Parts, dealing: Dealing, seed: int, accelerator: Accelerator) -> State:
    """Restore `parts`, with what this process's rows go on from, and its random state from a checkpoint.

    On another number of processes with as many rows in an update, the order of the rows goes on as it was, and each
    row from its own state: what stays exact. What dropout draws does not: a process that was there before goes on
    from its own generators, others' are derived from the seed, their rank and the step, and each draws for other rows.

    Raises:
        UserError: the checkpoint belongs to another model, or an update of it to another number of rows, or it cannot
            be read.
    """
    try:
        state = _read_state(folder / STATE)
        load_weights(folder, parts.model, accelerator)
        stored = serialization.read(folder / OPTIMIZER)
        _check_alike(OPTIMIZER, _settings_of(stored), _settings_of(_optimizer_state(parts)))
        parts.optimizer.load_state_dict(_cut(stored["optimizer"], parts.optimizer))
        _check_moments(parts.optimizer)
        parts.scheduler.load_state_dict(stored["scheduler"])
        stored = serialization.read(folder / PROCESSES)
        before = Dealing(**stored["dealing"])
        if before.rows == dealing.rows:
            _restore_own(stored["processes"], parts, before, dealing, (seed, state.step), accelerator.process_index)
    except UNREADABLE as error:
        raise UserError(_refusal(folder, reason(error))) from error
    if before.rows != dealing.rows:
        raise UserError(
            f"{folder}: an update of this run has {before.rows} rows ({before}), not {dealing.rows} ({dealing});"
            " set train.batch_size or train.accumulation so that it has as many, or start anew with --train.overwrite"
        )
    return state


def _restore_own(
    processes: list[dict[str, Any]], parts: Parts, before: Dealing, now: Dealing, at: tuple[int, int], process: int
) -> None:
    """Put back what this process has of its own; `at`: seed and step."""
    carries = [own["carry"] for own in processes]
    parts.carry.load_state_dict(carries[process] if before == now else redealt(carries, now, process))
    if process < len(processes):
        seeding.restore(processes[process]["random"])
    else:
        seeding.seed_all(seeding.derived(at[0], process, at[1]))


def _cut(stored: dict[str, Any], optimizer: deepspeed.Optimizer) -> dict[str, Any]:
    """Moments cut as the parameters are that they belong to, which go by their number over all groups."""
    numbered = enumerate(parameter for group in optimizer.param_groups for parameter in group["params"])
    like = {number: parameter for number, parameter in numbered if isinstance(parameter, DTensor)}
    moments = {
        number: {
            name: fsdp.cut(value, like[number]) if number in like and value.shape == like[number].shape else value
            for name, value in kept.items()
        }
        for number, kept in stored["state"].items()
    }
    return {**stored, "state": moments}


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


def _check_moments(optimizer: deepspeed.Optimizer) -> None:
    for parameter, kept in optimizer.state.items():
        if any(kept[name].shape != parameter.shape for name in ("exp_avg", "exp_avg_sq")):
            raise ValueError(f"{OPTIMIZER} belongs to another model")


def load_weights(folder: Path, model: nn.Module, accelerator: Accelerator) -> None:
    """Put the checkpoint's weights into `model`."""
    fsdp.load(accelerator.unwrap_model(model), load_file(folder / WEIGHTS))


def _optimizer_state(parts: Parts) -> dict[str, Any]:
    return {"optimizer": parts.optimizer.state_dict(), "scheduler": parts.scheduler.state_dict()}
