"""Gather on a machine with network what a recipe needs: the same run then starts without any."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from pipeline import run_folder, storage
from pipeline.config import paths
from pipeline.config.data import TRAINED_TOKENIZERS
from pipeline.config.offline import MARK
from pipeline.config.recipe import Recipe
from pipeline.config.samples import is_sample
from pipeline.data import hub_source
from pipeline.data.tokenizers import load_tokenizer
from pipeline.errors import UserError, writing
from pipeline.hub import download, pinning

DATA = "data"
# Settings that may name a file or folder of this machine.
LOCAL = (("data", "source"), ("data", "tokenizer"), ("model", "checkpoint"), ("model", "vectors"))


def fetch(recipe: Recipe, to: Path | None) -> None:
    """Fetch what `recipe` names on the Hub, and copy what it names on this machine, into the folder `to`.

    Without `to`, what is of the Hub goes to the usual caches, and nothing is copied.

    Raises:
        UserError: something is not there or cannot be loaded, or `to` cannot be written to.
    """
    if recipe.data.streaming:
        recipe.data.refuse("streaming", "rows that are streamed cannot be fetched; set it to False")
    recipe, revisions = pinning.pin(recipe)
    _check_readable(recipe, revisions)
    for setting, entry in revisions.items():
        print(f"{setting}: {entry['name']} at {entry['commit']}")
    if to is None:
        print("fetched to the caches of the Hub's libraries; HF_HUB_OFFLINE=1 finetune run finds it there")
        return
    with writing("to", to):
        to.mkdir(parents=True, exist_ok=True)
        files = _copy(recipe, revisions, to)
        storage.write(to / MARK, json.dumps({"files": files}, indent=2) + "\n")
        storage.write(to / run_folder.RECIPE, _with_names(recipe, files))
    print(f"fetched to {to}; there, also without network: HF_HUB_OFFLINE=1 finetune run {to / run_folder.RECIPE}")


def _check_readable(recipe: Recipe, revisions: pinning.Revisions) -> None:
    """Load all that is of the Hub as a run would: it lies in the caches then, and is known to be whole."""
    model: Any = recipe.model
    if "data.source" in revisions:
        for rows, _ in hub_source.load(recipe.data, recipe.data.revision).values():
            next(rows)
    if "model.checkpoint" in revisions:
        download.snapshot(model.checkpoint, model.revision, "model.checkpoint", model.allow_pickle)
        if recipe.data.tokenizer is None:
            load_tokenizer(model.checkpoint, model.revision, trust_remote_code=model.trust_remote_code)
    if "data.tokenizer" in revisions:
        load_tokenizer(str(recipe.data.tokenizer), recipe.data.tokenizer_revision)


def _copy(recipe: Recipe, revisions: pinning.Revisions, to: Path) -> dict[str, str]:
    """Copy files and folders of this machine; setting -> place in `to`. Packaged samples come with their packages."""
    files = {}
    for section, name in LOCAL:
        value, setting = getattr(getattr(recipe, section), name, None), f"{section}.{name}"
        if value is None or value in TRAINED_TOKENIZERS or is_sample(value) or setting in revisions:
            continue
        source = paths.local(value, setting)
        place = f"{DATA}/{setting}/{source.resolve().name}"
        if (to / place).resolve() == source.resolve():
            files[setting] = place
            continue
        (to / place).parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, to / place, dirs_exist_ok=True)
        elif source.is_file():
            shutil.copy2(source, to / place)
        else:
            raise UserError(f"{setting}: there is no file or folder {value}")
        files[setting] = place
    return files


def _with_names(recipe: Recipe, files: dict[str, str]) -> str:
    """The recipe as JSON, with copied files by their places in the folder that it lies in."""
    values = json.loads(recipe.to_json())
    for setting, place in files.items():
        section, _, name = setting.partition(".")
        values[section][name] = place
    return json.dumps(values, indent=2, ensure_ascii=False) + "\n"
