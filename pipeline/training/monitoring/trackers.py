"""Experiment trackers: the records of a run in TensorBoard, MLflow, W&B or Trackio, via accelerate's trackers.

Nothing heavy is imported before a tracker is opened, so a tracker that is not installed is refused at once.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.config.recipe import Recipe
from pipeline.errors import UserError, reason

if TYPE_CHECKING:
    from accelerate import Accelerator

FOLDER = "dashboards"


def check(names: Sequence[str]) -> None:
    """Refuse trackers whose package is not installed.

    Raises:
        UserError: one is not installed.
    """
    for name in names:
        if importlib.util.find_spec(name) is None:
            raise UserError(
                f"train.trackers: {name} is not installed; pip install 'finetune-pipeline[{name}]', or remove it"
            )


class Trackers:
    """The open trackers of a run, on its first process. If one fails during the run, it is dropped."""

    def __init__(self, recipe: Recipe, accelerator: Accelerator, step: int, warn: Callable[[str], None]):
        """Open the trackers named in `train.trackers`.

        Args:
            step: updates done; above 0 the trackers continue what an earlier process sent.
            warn: prints a line.

        Raises:
            UserError: one of them cannot be opened.
        """
        self._warn = warn
        self._trackers: list[Any] = []
        if not (recipe.train.trackers and accelerator.is_main_process):
            return
        folder = recipe.folder / FOLDER
        config = {name: str(value) for name, value in _flat(json.loads(recipe.to_json()))}
        for name in recipe.train.trackers:
            try:
                options = OPTIONS[name](recipe, _identity(folder), step)
                self._trackers.append(_open(name, recipe.name, folder, options, None if step else config, accelerator))
            except Exception as error:  # each service raises its own if it is unreachable or needs a key
                raise UserError(f"train.trackers: {name} cannot be opened: {reason(error)}; remove it") from error

    def write(self, kind: str, record: dict[str, Any], step: int) -> None:
        """Send the numbers in `record`, named `kind/name`."""
        values = {f"{kind}/{name}": value for name, value in record.items() if isinstance(value, (int, float))}
        for tracker in list(self._trackers):
            self._try(tracker, functools.partial(tracker.log, values, step=step))

    def close(self) -> None:
        for tracker in list(self._trackers):
            self._try(tracker, tracker.finish)

    def _try(self, tracker: Any, action: Callable[[], None]) -> None:
        try:
            action()
        except Exception as error:  # a run of days must not end because a service is down
            self._trackers.remove(tracker)
            self._warn(f"training: {tracker.name} failed and is no longer used: {reason(error)}")


def _open(
    name: str, project: str, folder: Path, options: dict[str, Any], config: dict[str, str] | None, accelerator: Any
) -> Any:
    from accelerate.tracking import filter_trackers

    accelerator.trackers, accelerator.log_with = [], filter_trackers([name], str(folder))
    accelerator.project_configuration.set_directories(str(folder))
    accelerator.init_trackers(project, config, {name: options})
    (tracker,) = accelerator.trackers
    return tracker


def _identity(folder: Path) -> str:
    """A name for the run that is unique in services with many runs; stored in its `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "identity"
    if not file.is_file():
        file.write_text(uuid.uuid4().hex, encoding="utf-8")
    return file.read_text(encoding="utf-8").strip()


def _title(recipe: Recipe) -> str:
    return recipe.folder.resolve().name


def _tensorboard(recipe: Recipe, identity: str, step: int) -> dict[str, Any]:
    return {"purge_step": step + 1}


def _mlflow(recipe: Recipe, identity: str, step: int) -> dict[str, Any]:
    """Finds a run again by its tag."""
    import mlflow

    query: Any = {"search_all_experiments": True, "output_format": "list"}
    found: Any = mlflow.search_runs(filter_string=f"tags.finetune = '{identity}'", **query) if step else []
    run_id = found[0].info.run_id if found else None
    return {"run_name": _title(recipe), "tags": {"finetune": identity}, "run_id": run_id}


def _wandb(recipe: Recipe, identity: str, step: int) -> dict[str, Any]:
    return {"name": _title(recipe), "id": identity, "resume": "allow", "dir": str(recipe.folder / FOLDER)}


def _trackio(recipe: Recipe, identity: str, step: int) -> dict[str, Any]:
    return {"name": f"{_title(recipe)}-{identity[:8]}", "resume": "allow", "embed": False}


# What each tracker needs to name the run after its folder, and to continue it after a resume.
OPTIONS: dict[str, Callable[[Recipe, str, int], dict[str, Any]]] = {
    "tensorboard": _tensorboard,
    "mlflow": _mlflow,
    "wandb": _wandb,
    "trackio": _trackio,
}


def _flat(values: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    pairs = []
    for name, value in values.items():
        pairs += _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else [(prefix + name, value)]
    return pairs
