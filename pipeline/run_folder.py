"""The run folder: whether a recipe may run in it, what is in it, and which settings may change on resuming."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pipeline import storage
from pipeline.config import paths
from pipeline.config.recipe import Recipe
from pipeline.config.serialization import read_json
from pipeline.errors import UserError, reason, writing

RECIPE, METRICS, HISTORY, CHECKPOINTS = "recipe.json", "metrics.json", "history.jsonl", "checkpoints"
MODEL, DASHBOARDS, PREDICTIONS = paths.MODEL, "dashboards", "predictions"
# The model's outputs for a few rows, and the commits on the Hub that the run has read.
ANSWERS, REVISIONS = "answers.json", "revisions.json"

# Settings that do not change what a run computes, so they may differ when it is resumed. The batch settings must keep
# the number of rows in an update, which the checkpoint checks.
FREE = {
    f"train.{name}"
    for name in (
        *("output_dir", "overwrite", "save_every", "keep_checkpoints", "log_every", "trackers"),
        *("batch_size", "accumulation", "auto_batch"),
    )
}


def check(recipe: Recipe) -> None:
    """Refuse a run folder in which `recipe` must not run.

    Raises:
        UserError: the folder cannot be written to, holds something other than a run, or, unless train.overwrite is set,
            holds a finished run or a run with other settings.
    """
    folder = paths.local(str(recipe.folder), "train.output_dir")
    above = next(path for path in (folder, *folder.parents) if path.exists() or path == path.parent)
    if not above.is_dir():
        raise UserError(f"train.output_dir: {above} is a file; name a folder")
    if not os.access(above, os.W_OK):
        raise UserError(f"train.output_dir: {above} cannot be written to; name another folder")
    if not folder.is_dir() or all(path.name.startswith(storage.ASIDE) for path in folder.iterdir()):
        return
    if not (folder / RECIPE).is_file():
        raise UserError(f"train.output_dir: {folder} holds something that is not a run; name another folder")
    if recipe.train.overwrite:
        return
    if is_finished(folder):
        raise UserError(
            f"train.output_dir: {folder} holds a finished run; name another folder or add --train.overwrite"
        )
    changed = differences(recipe, read_json(folder / RECIPE))
    if changed:
        raise UserError(
            f"train.output_dir: {folder} holds an unfinished run with other settings ({'; '.join(changed)});"
            " name another folder or add --train.overwrite"
        )


def is_finished(folder: Path) -> bool:
    """Whether `folder` holds a finished run."""
    return (folder / METRICS).is_file()


def unfinished(recipe: Recipe) -> Recipe | None:
    """The recipe of the run that `recipe` resumes, if there is one; see `check`."""
    file = recipe.folder / RECIPE
    return read_json(file) if file.is_file() and not recipe.train.overwrite else None


def model_in(name: str) -> str:
    """`name`, the folder or Hub id of a model; for a run's folder, the model in it."""
    folder = paths.local(name, "model")
    inner = paths.in_run(folder)
    return name if inner == folder else str(inner)


def predictions_of(folder: Path, split: str) -> Path:
    """The file with the rows of `split` in the run folder `folder`; see predictions.py."""
    return folder / PREDICTIONS / f"{split}.parquet"


def history(folder: Path) -> list[dict[str, Any]]:
    """The records of history.jsonl in the run folder `folder`, in their order, without a last one that is being
    written; none if there is no such file.

    Raises:
        UserError: a line of it is not JSON.
    """
    file = folder / HISTORY
    if not file.is_file():
        return []
    try:
        *lines, _ = file.read_bytes().split(b"\n")
        return [json.loads(line) for line in lines if line.strip()]
    except (OSError, ValueError) as error:
        raise UserError(f"{file}: not lines of JSON: {reason(error)}") from error


def open_(recipe: Recipe) -> Path:
    """Create the folder of `recipe`, or empty it if train.overwrite is set, and write recipe.json if there is none: an
    earlier one stays until the run has been resumed, see `write_recipe`.

    Raises:
        UserError: it cannot be written to.
    """
    folder = recipe.folder
    if recipe.train.overwrite and (folder / RECIPE).is_file():
        _clear(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / RECIPE).is_file():
            write_recipe(recipe)
    except OSError as error:
        raise UserError(f"train.output_dir: cannot write to {folder}: {error.strerror}; name another folder") from error
    return folder


def write_recipe(recipe: Recipe) -> None:
    """Write recipe.json into the folder of `recipe`."""
    storage.write(recipe.folder / RECIPE, recipe.to_json())


@contextlib.contextmanager
def aside(folder: Path) -> Iterator[Path]:
    """A new folder in the run folder `folder`, which is created if necessary. What was created is gone afterwards."""
    created = [path for path in (folder, *folder.parents) if not path.exists()]
    inner = folder / f"{storage.ASIDE}rehearsal"
    shutil.rmtree(inner, ignore_errors=True)
    try:
        with writing("train.output_dir", folder):
            inner.mkdir(parents=True)
        yield inner
    finally:
        shutil.rmtree(inner, ignore_errors=True)
        for path in created:
            with contextlib.suppress(OSError):  # another run has begun beside it
                path.rmdir()


@contextlib.contextmanager
def unless_refused(folder: Path) -> Iterator[None]:
    """Remove what a run has written to `folder` if the block refuses the run before its first checkpoint."""
    try:
        yield
    except UserError:
        if not any((folder / CHECKPOINTS).glob("step-*")):
            _clear(folder)
            with contextlib.suppress(OSError):  # not empty
                folder.rmdir()
        raise


def _clear(folder: Path) -> None:
    for name in (MODEL, CHECKPOINTS, DASHBOARDS, PREDICTIONS):
        shutil.rmtree(folder / name, ignore_errors=True)
    for name in (METRICS, HISTORY, ANSWERS, REVISIONS, RECIPE):  # recipe.json last: without it this is no run's folder
        (folder / name).unlink(missing_ok=True)


def differences(one: Recipe, other: Recipe) -> list[str]:
    """Settings of `one` that differ from `other`, as `data.limit 100, was 200`."""
    now, before = ({n: v for n, v in settings_of(each).items() if not is_free(n)} for each in (one, other))
    return changes(now, before)


def changes(now: Mapping[str, Any], before: Mapping[str, Any], absent: str | None = None) -> list[str]:
    """What differs between two mappings, as `data.limit 100, was 200`; what one of them lacks is called `absent`."""
    names = [name for name in {**now, **before} if now.get(name) != before.get(name)]
    return [f"{name} {now.get(name, absent)}, was {before.get(name, absent)}" for name in names]


def settings_of(recipe: Recipe) -> dict[str, Any]:
    """Each setting under its name on the command line, such as `data.limit`."""
    return _flat(json.loads(recipe.to_json()))


def is_free(name: str) -> bool:
    """Whether the setting called `name` does not change what a run computes."""
    return name in FREE or name.startswith("hub.")


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return flat
