"""Which commits of the Hub a run reads: a branch or tag is resolved once, and a run that goes on reads the same."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipeline import run_folder, storage
from pipeline.config import paths
from pipeline.config.data import TRAINED_TOKENIZERS, Data
from pipeline.config.recipe import Recipe

# setting that names a repository -> the name, the commit asked for and that which was read.
Revisions = dict[str, dict[str, str | None]]


@dataclass(frozen=True)
class Pin:
    """A setting that may name a repository of the Hub: its section, the two settings, and the kind of repository."""

    section: str
    name: str
    revision: str
    kind: str
    is_of_hub: Callable[[Any], bool]

    @property
    def setting(self) -> str:
        return f"{self.section}.{self.name}"


def _is_data_set(data: Data) -> bool:
    return paths.data_files(data) is None


def _is_tokenizer(data: Data) -> bool:
    name = data.tokenizer
    return name not in (None, *TRAINED_TOKENIZERS) and paths.saved_tokenizer(str(name), "data.tokenizer") is None


def _is_checkpoint(model: Any) -> bool:
    name = getattr(model, "checkpoint", None)
    return name is not None and paths.saved(name, "model.checkpoint") is None


PINS = (
    Pin("data", "source", "revision", "dataset", _is_data_set),
    Pin("data", "tokenizer", "tokenizer_revision", "model", _is_tokenizer),
    Pin("model", "checkpoint", "revision", "model", _is_checkpoint),
)


def recall(recipe: Recipe) -> Recipe:
    """`recipe` with the commits that the unfinished run in its folder has read for the same revisions; asks nobody."""
    return _pinned(recipe, _of_folder(recipe))


def pin(recipe: Recipe) -> tuple[Recipe, Revisions]:
    """`recipe` with the commits of all that it names on the Hub, and what was asked for.

    Raises:
        UserError: something is not there, or the Hub cannot be reached and it was never fetched.
    """
    from pipeline.hub import download  # it imports what takes seconds, and most recipes name nothing of the Hub

    known, found = _of_folder(recipe), Revisions()
    for pin in PINS:
        section = getattr(recipe, pin.section)
        if not pin.is_of_hub(section):
            continue
        name, asked = getattr(section, pin.name), getattr(section, pin.revision)
        entry = known.get(pin.setting, {})
        if entry.get("name") != name or asked not in (entry.get("asked"), entry.get("commit")):
            entry = {"name": name, "asked": asked, "commit": download.resolve(name, asked, pin.setting, pin.kind)}
        found[pin.setting] = entry
    return _pinned(recipe, found), found


def write(folder: Path, revisions: Revisions) -> None:
    """Keep `revisions` in the folder of a run, for when it goes on."""
    if revisions:
        storage.write(folder / run_folder.REVISIONS, json.dumps(revisions, indent=2) + "\n")


def read(folder: Path) -> Revisions:
    """What the run in `folder` has read from the Hub."""
    with contextlib.suppress(OSError, ValueError):
        told = json.loads((folder / run_folder.REVISIONS).read_text(encoding="utf-8"))
        return told if isinstance(told, dict) and all(isinstance(entry, dict) for entry in told.values()) else {}
    return {}


def _of_folder(recipe: Recipe) -> Revisions:
    """What the run in the recipe's folder has read, if it is one to go on with."""
    finished = (recipe.folder / run_folder.METRICS).is_file()
    return {} if recipe.train.overwrite or finished else read(recipe.folder)


def _pinned(recipe: Recipe, revisions: Revisions) -> Recipe:
    for pin in PINS:
        section, entry = getattr(recipe, pin.section), revisions.get(pin.setting, {})
        same = entry.get("name") == getattr(section, pin.name, None)
        if entry and same and getattr(section, pin.revision) in (entry["asked"], entry["commit"]):
            recipe = replace(recipe, **{pin.section: replace(section, **{pin.revision: entry["commit"]})})
    return recipe
