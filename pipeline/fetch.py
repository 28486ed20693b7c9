"""Download what a recipe needs on a machine with network, so that it can run on a machine without."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline import run_folder, storage
from pipeline.config import paths, references, sources
from pipeline.config.distil import Distil
from pipeline.config.loading import check_names, teachers_recipe
from pipeline.config.offline import MARK
from pipeline.config.recipe import Recipe
from pipeline.data import hub_source
from pipeline.data.tokenization.tokenizers import load_tokenizer
from pipeline.errors import UserError, writing
from pipeline.hub import download, pinning

DATA = "data"


def fetch(recipe: Recipe, to: Path | None) -> None:
    """Download what `recipe` names on the Hub and copy what it names on this machine into the folder `to`.

    Without `to`, the downloads go to the caches of the Hub libraries, and nothing is copied.

    Raises:
        UserError: something does not exist or cannot be loaded, or `to` cannot be written to.
    """
    if recipe.data.streaming:
        recipe.data.refuse("streaming", "streamed rows cannot be fetched; set it to False")
    if recipe.distil is not None and any(source.streaming for source in recipe.distil.sources):
        recipe.distil.refuse("unlabelled.streaming", "streamed rows cannot be fetched; set it to False")
    check_names(recipe)
    recipe = _with_models_of_teachers_run(recipe)
    recipe, revisions = pinning.resolve_revisions(recipe, sources.resolve(recipe.data, recipe.task))
    _load_all(recipe, revisions)
    for setting, entry in revisions.items():
        print(f"{setting}: {entry['name']} at {entry['commit']}")
    if to is None:
        print("fetched to the caches of the Hub libraries; run offline: HF_HUB_OFFLINE=1 finetune run RECIPE")
        return
    with writing("to", to):
        to.mkdir(parents=True, exist_ok=True)
        files = _copy_files(recipe, revisions, to)
        storage.write(to / MARK, json.dumps({"files": files}, indent=2) + "\n")
        storage.write(to / run_folder.RECIPE, _with_copied_files(recipe, files))
    print(f"fetched to {to}; run offline: HF_HUB_OFFLINE=1 finetune run {to / run_folder.RECIPE}")


def _with_models_of_teachers_run(recipe: Recipe) -> Recipe:
    """`recipe` with the folder of the model in place of the run that has left its teacher, whose checkpoints are large,
    or of the recipe of that run.

    Raises:
        UserError: that run has not finished.
    """
    distil = recipe.distil
    if distil is None:
        return recipe
    maker = teachers_recipe(recipe)
    if maker is not None and not run_folder.is_finished(maker.folder):
        distil.refuse("teacher", f"its run has not finished; first: finetune run {distil.teacher}")
    folder = maker.folder if maker is not None else paths.local(distil.teacher, "distil.teacher")
    model = paths.in_run(folder)
    return recipe if model == folder else replace(recipe, distil=replace(distil, teacher=str(model)))


def _load_all(recipe: Recipe, revisions: pinning.Revisions) -> None:
    """Load everything from the Hub as a run does: this fills the caches and shows that it can be read."""
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
    if recipe.distil is not None:
        _load_for_distillation(recipe.distil, revisions)


def _load_for_distillation(distil: Distil, revisions: pinning.Revisions) -> None:
    if "distil.teacher" in revisions:
        download.snapshot(distil.teacher, distil.revision, "distil.teacher", distil.allow_pickle)
    for source in distil.sources:
        if sources.resolve(source).kind == "hub":
            for rows, _ in hub_source.load(source, source.revision).values():
                next(rows, None)


def _copy_files(recipe: Recipe, revisions: pinning.Revisions, to: Path) -> dict[str, str]:
    """Copy the local files and folders; setting -> path within `to`."""
    copies = {}
    for reference, name in references.local_names(recipe, revisions).items():
        source = paths.local(name, reference.setting)
        place = f"{DATA}/{reference.setting}/{source.resolve().name}"
        if (to / place).resolve() != source.resolve():  # the same if a fetched recipe is fetched to its own folder
            _copy(source, to / place, reference.setting)
        copies[reference.setting] = place
    return copies


def _copy(source: Path, target: Path, setting: str) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, dirs_exist_ok=True)
    elif source.is_file():
        shutil.copy2(source, target)
    else:
        raise UserError(f"{setting}: there is no file or folder {source}")


def _with_copied_files(recipe: Recipe, copies: dict[str, str]) -> str:
    """The recipe as JSON, with each copied file by its path relative to the recipe."""
    values = json.loads(recipe.to_json())
    for reference in references.references_in(recipe):
        if reference.setting in copies:
            reference.put(values, copies[reference.setting])
    return json.dumps(values, indent=2, ensure_ascii=False) + "\n"
