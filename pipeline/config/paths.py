"""Finds the files and folders that a recipe names, or refuses them, before torch is imported."""

from __future__ import annotations

import json
import os
from pathlib import Path

from pipeline.config import samples
from pipeline.config.schema import MOST_LAYERS
from pipeline.errors import UserError, reason, shorten

# What configurations call the number of layers. Building layers takes time, even before any weight is read.
LAYERS = ("num_hidden_layers", "num_layers", "n_layer", "n_layers")
CONFIG = "config.json"
# The folder of the model in that of a run.
MODEL = "model"
# The configuration of an adapter, whose folder has no config.json.
ADAPTER = "adapter_config.json"


def local(name: str, setting: str) -> Path:
    """`name` as a path, whether or not it exists.

    Raises:
        UserError: no file can have that name.
    """
    try:
        path = Path(name).expanduser()
        path.exists()  # fails if the file system does not allow the name
    except (OSError, RuntimeError) as error:
        refusal = getattr(error, "strerror", None) or reason(error)
        raise UserError(f"{setting}: {shorten(name, 80)} cannot be a path: {refusal}") from error
    return path


def last_part(name: str) -> str:
    """The name of a file or folder without those above it, also of `.` and `..`."""
    return Path(os.path.abspath(Path(name).expanduser())).name or name  # `resolve` would follow links


def saved(name: str, setting: str) -> Path | None:
    """Folder of a saved model or tokenizer, of the model in a run's folder, or of a packaged sample; None: `name` is a
    Hub id.

    Raises:
        UserError: it is not there, or is a file.
    """
    if samples.is_sample(name):
        return samples.find("checkpoint", name, setting)
    folder = local(name, setting)
    if folder.is_dir():
        return in_run(folder)
    if folder.exists():
        raise UserError(f"{setting}: {name} is a file; give the folder of a model")
    if name.startswith((".", "/", "~")) or name.count("/") > 1 or (name.count("/") and folder.parent.is_dir()):
        raise UserError(f"{setting}: there is no folder {name}{_maker(folder)}")
    return None


def in_run(folder: Path) -> Path:
    """The model or adapter in `folder`, if that is the folder of a run; any other folder itself."""
    inner = folder / MODEL
    is_saved = any((inner / name).is_file() for name in (CONFIG, ADAPTER))
    return inner if is_saved and not (folder / CONFIG).is_file() else folder


def _maker(folder: Path) -> str:
    """A hint, if a recipe in the working folder leaves its run in `folder`."""
    run = folder.parent if folder.name == MODEL else folder
    recipe = Path("recipes") / f"{run.name.replace('-', '_')}.py"
    leaves_it = run.parent == Path("runs") and recipe.is_file()
    return f"; it is left by another recipe, to be run first: finetune run {recipe}" if leaves_it else ""


def saved_tokenizer(name: str, setting: str) -> Path | None:
    """Like `saved`, for a tokenizer: the folder must contain one.

    Raises:
        UserError: as for `saved`, or there is no file of a tokenizer in it.
    """
    if samples.is_sample(name) and name.removeprefix(samples.PREFIX) in samples.SAMPLES["tokenizer"]:
        return samples.find("tokenizer", name, setting)
    folder = saved(name, setting)
    if folder and not any(folder.glob("*token*")) and not any(folder.glob("vocab*")):
        raise UserError(f"{name}: there is no tokenizer in this folder; it has no tokenizer.json")
    return folder


def saved_model(name: str, setting: str, adapters: bool = False) -> Path | None:
    """Like `saved`, for a model: the folder must contain its configuration or, if `adapters`, that of an adapter.

    Raises:
        UserError: as for `saved`, or config.json is missing or does not describe a model.
    """
    folder = saved(name, setting)
    if folder is None:
        return None
    file = folder / CONFIG
    if not file.is_file() and (folder / ADAPTER).is_file():
        if adapters:
            return folder
        raise UserError(f"{setting}: {folder} is an adapter; name the model that it adapts, or merge them first")
    if not file.is_file():
        raise UserError(f"{setting}: {folder} is not the folder of a model; there is no config.json in it")
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, OSError, RecursionError) as error:
        raise UserError(f"{setting}: {file} is not JSON: {reason(error)}") from error
    if not isinstance(config, dict) or "model_type" not in config:
        raise UserError(f"{setting}: {file} names no model_type")
    for name in LAYERS:
        if isinstance(config.get(name), int) and config[name] > MOST_LAYERS:
            raise UserError(f"{setting}: {file} has {name} {config[name]}; no model has more than {MOST_LAYERS}")
    return folder


def vectors(name: str, setting: str) -> Path:
    """File of word vectors, or folder of the packaged ones.

    Raises:
        UserError: it is not there.
    """
    if samples.is_sample(name):
        return samples.find("vectors", name, setting)
    file = local(name, setting)
    if not file.is_file():
        raise UserError(f"{setting}: there is no file {name}; give a text file of vectors or sample:glove-6b-50d")
    return file
