"""Checkpoints: everything that resuming needs, in a folder per step that is complete or absent.

A folder holds the weights and their average, the optimiser and its schedule, the state of each process (random
generators, carried hidden states), the run's progress and fingerprints of its data, as safetensors and JSON: no pickle
is ever read.
Tensors are saved in full, however they were sharded, so a run can be resumed on another number of processes, with FSDP,
DeepSpeed or neither.
"""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from accelerate.utils import broadcast_object_list, gather_object
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from pipeline import storage
from pipeline.data import fingerprints
from pipeline.data.fingerprints import Fingerprints
from pipeline.errors import UserError, reason
from pipeline.training import seeding
from pipeline.training.checkpointing import run_progress, serialization
from pipeline.training.checkpointing.run_progress import RunProgress
from pipeline.training.checkpointing.writer import Writer
from pipeline.training.distributed import deepspeed, fsdp
from pipeline.training.hidden_state import BatchLayout, redistribute
from pipeline.training.step import TrainState

FOLDER = "checkpoints"
STATE = "state.json"
WEIGHTS = "model.safetensors"
OPTIMIZER = "optimizer.safetensors"
AVERAGE = "average.safetensors"  # of the weights, if the run has one
PROCESSES = "processes.safetensors"
DATA = "data.json"  # fingerprints of the data; older checkpoints have none
LAYOUT = "dealing"  # the batch layout's key in PROCESSES

# What the libraries raise for files that are missing, damaged or of another kind.
UNREADABLE = (OSError, RuntimeError, ValueError, TypeError, AttributeError, LookupError, SafetensorError)


def folder_of(root: Path, step: int) -> Path:
    """Folder of the checkpoint at `step`, in the run folder `root`."""
    return root / FOLDER / f"step-{step:08d}"


def list_checkpoints(root: Path) -> list[Path]:
    """Checkpoints of the run in `root`, newest first, damaged ones included. Half-written ones have another name."""
    folders = (path for path in (root / FOLDER).glob("step-*") if path.name.removeprefix("step-").isdecimal())
    return sorted(folders, reverse=True)


def newest(root: Path) -> Path | None:
    """The newest checkpoint of the run in `root`."""
    return next(iter(list_checkpoints(root)), None)


def save(
    root: Path,
    state: TrainState,
    done: RunProgress,
    layout: BatchLayout,
    accelerator: Accelerator,
    writer: Writer,
    keep: int,
    data: Fingerprints | None = None,
) -> None:
    """Copy everything to host memory, and let `writer` write the copy during training. All processes call this.

    Args:
        root: folder of the run.
        keep: number of checkpoints that stay; the best weights of each of them stay as well.
        data: fingerprints of the data that the run trains on.

    Raises:
        Exception: the previous checkpoint could not be written; on all processes.
    """
    wait_until_written(writer, accelerator)
    own = serialization.to_host({"random": seeding.state(), "carry": state.carry.state_dict()})
    processes = {LAYOUT: dataclasses.asdict(layout), "processes": gather_object([own])}
    model, is_main = accelerator.unwrap_model(state.model), accelerator.is_main_process
    if not is_main and not (fsdp.is_sharded(model) or isinstance(state.optimizer, deepspeed.ShardedOptimizer)):
        return  # nothing to gather from this process
    weights = serialization.to_host(_weights(model), is_main)
    optimizer, progress_json = serialization.to_host(_optimizer_state(state), is_main), done.to_json()
    average = serialization.to_host(state.average.state_dict(), is_main) if state.average.is_kept else None
    if not is_main:
        return

    def fill(folder: Path) -> None:
        save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})
        serialization.write(optimizer, folder / OPTIMIZER)
        serialization.write(processes, folder / PROCESSES)
        if average is not None:
            serialization.write(average, folder / AVERAGE)
        (folder / STATE).write_text(progress_json, encoding="utf-8")
        if data is not None:
            (folder / DATA).write_text(data.to_json(), encoding="utf-8")

    target = folder_of(root, done.step)

    def work() -> None:
        storage.publish_folder(target, fill, manifest=True)
        _remove_old(root, keep)

    writer.submit(work)


def wait_until_written(writer: Writer, accelerator: Accelerator) -> None:
    """Wait for the checkpoint that is being written. All processes call this.

    Raises:
        Exception: it could not be written; on all processes, since all must stop.
    """
    outcome = [writer.wait()]
    if accelerator.num_processes > 1:
        broadcast_object_list(outcome)
    if outcome[0] is not None:
        raise outcome[0]


def _weights(model: nn.Module) -> dict[str, Tensor]:
    """The state dict of `model`. Of tensors that share memory, such as tied weights, only the first is kept."""
    seen: set[Any] = set()
    kept = {}
    for name, tensor in model.state_dict(keep_vars=True).items():
        # Empty tensors all have address 0, and shards of tied weights are the same object.
        has_address = tensor.numel() and not isinstance(tensor, DTensor)
        key = (tensor.data_ptr(), tensor.shape, tensor.stride()) if has_address else id(tensor)
        if key not in seen:
            seen.add(key)
            kept[name] = tensor
    return kept


def _remove_old(root: Path, keep: int) -> None:
    """Keep the newest `keep` checkpoints and the best of each, with whose weights a resumed run may end."""
    newest_ones = list_checkpoints(root)[:keep]
    best = [_best_step(folder) for folder in newest_ones]
    kept = {*newest_ones, *(folder_of(root, step) for step in best if step is not None)}
    for folder in (root / FOLDER).iterdir():
        if folder not in kept:
            shutil.rmtree(folder, ignore_errors=True)


def _best_step(folder: Path) -> int | None:
    try:
        return run_progress.read(folder / STATE).best_step
    except UNREADABLE:
        return None


def newest_whole(root: Path, accelerator: Accelerator) -> Path | None:
    """The newest checkpoint that is not damaged, the same on all processes.

    Damaged ones are reported and removed, because the run resumes from before them.

    Raises:
        UserError: there are checkpoints, and all are damaged.
    """
    chosen: list[Any] = [None]
    if accelerator.is_main_process:
        try:
            chosen = [_newest_whole(root)]
        except UserError as error:
            chosen = [error]
    if accelerator.num_processes > 1:
        broadcast_object_list(chosen)
    if isinstance(chosen[0], UserError):
        raise chosen[0]
    return chosen[0]


def _newest_whole(root: Path) -> Path | None:
    damaged: list[tuple[Path, str]] = []
    for folder in list_checkpoints(root):
        damage = _damage(root, folder)
        if damage is None:
            for other, its_damage in damaged:
                print(f"checkpoint: {other} is damaged ({its_damage}); resuming from {folder.name}", flush=True)
                storage.discard(other)
            return folder
        damaged.append((folder, damage))
    if damaged:
        raise UserError(_refusal(*damaged[0]))
    return None


def _damage(root: Path, folder: Path) -> str | None:
    """What is wrong with `folder`, or with the best weights that it relies on."""
    damage = storage.damage(folder)
    best = _best_step(folder) if damage is None else None
    if best is None or folder_of(root, best) == folder:
        return damage
    damage = storage.damage(folder_of(root, best))
    return damage and f"the best weights, of step {best}: {damage}"


def _refusal(folder: Path, why: str) -> str:
    return (
        f"{folder}: this checkpoint cannot be resumed: {why}; remove this folder to resume from an earlier one, or"
        " start over with --train.overwrite"
    )


def check_data(folder: Path, now: Fingerprints | None) -> None:
    """Refuse to resume from a checkpoint of a run that was trained on other data than there is `now`.

    Raises:
        UserError: rows, labels or vocabulary have changed; the message says which.
    """
    file = folder / DATA
    if now is None or not file.is_file():
        return
    try:
        changed = fingerprints.changes(fingerprints.read(file.read_text(encoding="utf-8")), now)
    except UNREADABLE as error:
        raise UserError(_refusal(folder, f"{DATA} cannot be read: {reason(error)}")) from error
    if changed:
        raise UserError(
            f"{folder}: the data is not that of this run any more: {'; '.join(changed)}; restore it to resume, or start"
            " over with --train.overwrite or in another train.output_dir"
        )


def load(folder: Path, state: TrainState, layout: BatchLayout, seed: int, accelerator: Accelerator) -> RunProgress:
    """Restore `state` and this process's random state from a checkpoint.

    On another number of processes, with as many rows in an update, the order of the rows stays the same and each row
    continues from its own hidden state: the arithmetic is the same up to rounding, but dropout masks are not. A process
    that existed before continues with its own generators; those of a new one are seeded from the seed, its rank and the
    step.

    Raises:
        UserError: the checkpoint belongs to another model, its updates have another number of rows, or it cannot be
            read.
    """
    try:
        done = run_progress.read(folder / STATE)
        load_weights(folder, state.model, accelerator)
        stored = serialization.read(folder / OPTIMIZER)
        _check_alike(OPTIMIZER, _settings(stored), _settings(_optimizer_state(state)))
        state.optimizer.load_state_dict(_shard_moments(stored["optimizer"], state.optimizer))
        _check_moments(state.optimizer)
        state.scheduler.load_state_dict(stored["scheduler"])
        if state.average.is_kept:
            state.average.load_state_dict(serialization.read(folder / AVERAGE))
        stored = serialization.read(folder / PROCESSES)
        before = BatchLayout(**stored[LAYOUT])
        if before.rows == layout.rows:
            process = accelerator.process_index
            state.carry.load_state_dict(_own_carry(stored["processes"], before, layout, process))
            _restore_generators(stored["processes"], seed, done.step, process)
    except UNREADABLE as error:
        raise UserError(_refusal(folder, reason(error))) from error
    if before.rows != layout.rows:
        raise UserError(
            f"{folder}: an update of this run has {before.rows} rows ({before}), not {layout.rows} ({layout});"
            " set train.batch_size or train.accumulation so that it has as many, or start over with --train.overwrite"
        )
    return done


def _own_carry(processes: list[dict[str, Any]], before: BatchLayout, now: BatchLayout, process: int) -> dict[int, Any]:
    carries = [own["carry"] for own in processes]
    return carries[process] if before == now else redistribute(carries, now, process)


def _restore_generators(processes: list[dict[str, Any]], seed: int, step: int, process: int) -> None:
    if process < len(processes):
        seeding.restore(processes[process]["random"])
    else:
        seeding.seed_all(seeding.derive(seed, process, step))


def _shard_moments(stored: dict[str, Any], optimizer: deepspeed.Optimizer) -> dict[str, Any]:
    """The full optimiser state `stored` with each moment sharded as its parameter is.

    A state dict numbers parameters in the order of the groups. Moments have their parameter's shape; the count of
    steps, a scalar, is the same on all processes.
    """
    numbered = enumerate(parameter for group in optimizer.param_groups for parameter in group["params"])
    sharded = {number: parameter for number, parameter in numbered if isinstance(parameter, DTensor)}

    def shard(number: int, value: Any) -> Any:
        is_moment = number in sharded and value.shape == sharded[number].shape
        return fsdp.shard_like(value, sharded[number]) if is_moment else value

    states = {
        number: {name: shard(number, value) for name, value in kept.items()} for number, kept in stored["state"].items()
    }
    return {**stored, "state": states}


def _settings(stored: dict[str, Any]) -> dict[str, Any]:
    """What the optimiser's file contains besides tensors."""
    return {"param_groups": stored["optimizer"]["param_groups"], "scheduler": stored["scheduler"]}


def _check_alike(name: str, stored: Any, own: Any) -> None:
    """Check that `stored` has the structure and types of `own`; another version of torch may add or lack keys.

    Raises:
        ValueError: it does not.
    """
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
        if any(kept[name].shape != parameter.shape for name in deepspeed.MOMENTS):
            raise ValueError(f"{OPTIMIZER} belongs to another model")


def load_weights(folder: Path, model: nn.Module, accelerator: Accelerator) -> None:
    """Load the weights of a checkpoint into `model`."""
    fsdp.load(accelerator.unwrap_model(model), load_file(folder / WEIGHTS))


def load_scored_weights(folder: Path, model: nn.Module, accelerator: Accelerator) -> None:
    """Load the weights that were scored at a checkpoint into `model`: their average, if it had begun."""
    averaged = serialization.read(folder / AVERAGE)["weights"] if (folder / AVERAGE).is_file() else {}
    fsdp.load(accelerator.unwrap_model(model), load_file(folder / WEIGHTS) | averaged)


def _optimizer_state(state: TrainState) -> dict[str, Any]:
    return {"optimizer": state.optimizer.state_dict(), "scheduler": state.scheduler.state_dict()}
