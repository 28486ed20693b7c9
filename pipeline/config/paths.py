"""What the files and folders that a recipe names are: found, or refused, before torch is imported."""

from __future__ import annotations

import json
from pathlib import Path

from pipeline.config import samples
from pipeline.config.data import Data
from pipeline.config.hub import HUB_ID
from pipeline.config.schema import MOST_LAYERS
from pipeline.errors import UserError, reason, shorten, suggest

SPLITS = ("train", "validation", "test")
# The names that files of a folder, and splits of the Hub, go by.
ALIASES = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
}
DATA_SUFFIXES = (".csv", ".tsv", ".json", ".jsonl", ".txt", ".parquet", ".conll", ".bmes")
# What configurations call the number of layers; building them takes time before any weight is read.
LAYERS = ("num_hidden_layers", "num_layers", "n_layer", "n_layers")
# The configuration of an adapter, which has the place of a model's.
ADAPTER = "adapter_config.json"


def local(name: str, setting: str) -> Path:
    """The path that `name` stands for, whether or not anything is there.

    Raises:
        UserError: no file can have that name.
    """
    try:
        path = Path(name).expanduser()
        path.exists()  # the one question that a file system answers with a refusal of the name
    except (OSError, RuntimeError) as error:
        told = getattr(error, "strerror", None) or reason(error)
        raise UserError(f"{setting}: {shorten(name, 80)} cannot be a path: {told}") from error
    return path


def data_files(data: Data) -> dict[str, Path] | None:
    """Split -> file of a local source or a packaged sample; None: the source is a data set of the Hub.

    Raises:
        UserError: it is not there, cannot be read as data, or a setting does not suit it.
    """
    if samples.is_sample(data.source):
        _refuse_hub_settings(data, "a packaged sample")
        return {"train": samples.find("data", data.source, "data.source")}
    path = local(data.source, "data.source")
    if not (path.exists() or path.is_symlink()) and _looks_like_hub_id(data.source):
        return None
    _refuse_hub_settings(data, "a local file or folder")
    files = _files_in(path) if path.is_dir() else {"train": path}
    for file in files.values():
        _check_file(file)
    return files


def _refuse_hub_settings(data: Data, kind: str) -> None:
    for name in ("revision", "subset", "streaming"):
        if getattr(data, name):
            data.refuse(name, f"{data.source} is {kind}, which has none; remove this setting")


def _looks_like_hub_id(source: str) -> bool:
    path = Path(source)
    return bool(HUB_ID.fullmatch(source)) and path.suffix.lower() not in DATA_SUFFIXES and not path.parent.exists()


def _check_file(file: Path) -> None:
    """Refuse what is not a file of data by its looks; a device or a pipe would be read for ever."""
    if file.is_symlink() and not file.exists():
        raise UserError(f"data.source: {file} is a link to a file that is not there")
    if not file.exists():
        near = [entry.name for entry in file.parent.iterdir()] if file.parent.is_dir() else []
        hint = suggest(file.name, near) if near else ""
        if file.parent == Path():
            hint += " (a data set of the Hub is named organisation/name)"
        raise UserError(f"data.source: there is no file or folder {file}{hint}")
    if file.suffix.lower() not in DATA_SUFFIXES:
        kind = file.suffix or "a file without extension"
        raise UserError(f"{file}: {kind} cannot be read{suggest('', DATA_SUFFIXES)}")
    if not file.is_file():
        kind = "a folder" if file.is_dir() else "a pipe or a device"
        raise UserError(f"{file}: this is {kind}, not a file; write the rows into a file")


def _files_in(folder: Path) -> dict[str, Path]:
    files: dict[str, Path] = {}
    for file in sorted(folder.iterdir()):
        split = ALIASES.get(file.stem.lower())
        if split is None or file.suffix.lower() not in DATA_SUFFIXES:
            continue
        if split in files:
            raise UserError(f"{folder}: both {files[split].name} and {file.name} are the {split} split; remove one")
        files[split] = file
    if not files:
        kinds = " ".join(DATA_SUFFIXES)
        raise UserError(f"{folder}: no train.*, validation.* or test.* in it ({kinds}); name the file itself")
    return {split: files[split] for split in SPLITS if split in files}


def saved(name: str, setting: str) -> Path | None:
    """Folder of a saved model or tokenizer, or of a packaged sample; None: `name` is a Hub id.

    Raises:
        UserError: it is not there, or is a file.
    """
    if samples.is_sample(name):
        return samples.find("checkpoint", name, setting)
    folder = local(name, setting)
    if folder.is_dir():
        return folder
    if folder.exists():
        raise UserError(f"{setting}: {name} is a file; give the folder of a model")
    if name.startswith((".", "/", "~")) or name.count("/") > 1 or (name.count("/") and folder.parent.is_dir()):
        raise UserError(f"{setting}: there is no folder {name}")
    return None


def saved_tokenizer(name: str, setting: str) -> Path | None:
    """`saved`, for a tokenizer: there must be one.

    Raises:
        UserError: as of `saved`, or no file in it is a tokenizer's.
    """
    if samples.is_sample(name) and name.removeprefix(samples.PREFIX) in samples.SAMPLES["tokenizer"]:
        return samples.find("tokenizer", name, setting)
    folder = saved(name, setting)
    if folder and not any(folder.glob("*token*")) and not any(folder.glob("vocab*")):
        raise UserError(f"{name}: there is no tokenizer in this folder; it has no tokenizer.json")
    return folder


def saved_model(name: str, setting: str, adapters: bool = False) -> Path | None:
    """`saved`, for a model: it must have a configuration, or, where `adapters` will do, that of an adapter.

    Raises:
        UserError: as of `saved`, or config.json is missing or says nothing.
    """
    folder = saved(name, setting)
    if folder is None:
        return None
    file = folder / "config.json"
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
