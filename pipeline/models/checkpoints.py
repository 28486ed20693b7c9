"""Checkpoints: a folder, a Hub id or a packaged sample, loaded with a head, or refused in one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import transformers
from huggingface_hub.errors import HTTPError, StrictDataclassError
from safetensors import SafetensorError, safe_open
from transformers import AutoConfig, PreTrainedConfig, PreTrainedModel

from pipeline import samples
from pipeline.errors import UserError

# What transformers, safetensors and the Hub client raise for a checkpoint that is missing, damaged or of another kind.
LOADING_ERRORS = (
    OSError,
    ValueError,
    KeyError,
    RuntimeError,
    ImportError,
    TypeError,
    AttributeError,
    SafetensorError,
    StrictDataclassError,
    HTTPError,
)


def auto_class(head: str) -> Any:
    """The Auto class with `head`, such as AutoModelForSequenceClassification."""
    return getattr(transformers, f"AutoModelFor{head}")


def load(name: str, head: str, setting: str, *, with_head: bool, **options: Any) -> PreTrainedModel:
    """The checkpoint `name` with `head`, on the CPU; safetensors only, and no code of its own is run.

    Args:
        with_head: whether the head's own weights have to be in it, as for a model that is to answer.
        options: for `from_pretrained`.

    Raises:
        UserError: it cannot be found, read or loaded, or lacks weights, in one line that names `setting`.
    """
    path = _locate(name, setting)
    try:
        model, told = auto_class(head).from_pretrained(
            path, use_safetensors=True, trust_remote_code=False, output_loading_info=True, **options
        )
    except LOADING_ERRORS as error:
        raise UserError(f"{setting}: {name} cannot be loaded as a {head} model: {_reason(error)}") from error
    missing = sorted(told["missing_keys"])
    base = f"{model.base_model_prefix}."
    lacking = missing if with_head else [key for key in missing if key.startswith(base) and "pooler" not in key]
    if lacking:
        raise UserError(
            f"{setting}: {name} lacks {len(lacking)} weights of a {type(model).__name__}: {lacking[0]}, ..."
        )
    return model


def load_config(name: str, setting: str) -> PreTrainedConfig:
    """The configuration of the checkpoint `name`.

    Raises:
        UserError: it cannot be found or read.
    """
    try:
        return AutoConfig.from_pretrained(_locate(name, setting), trust_remote_code=False)
    except LOADING_ERRORS as error:
        raise UserError(f"{setting}: {name} cannot be loaded: {_reason(error)}") from error


def _reason(error: BaseException) -> str:
    return " ".join(str(error).split())[:300] or "no reason given"


def _locate(name: str, setting: str) -> str:
    """What `from_pretrained` takes for `name`; what is wrong with a local folder is said before a library does."""
    if samples.is_sample(name):
        return str(samples.find("checkpoint", name, setting))
    folder = Path(name).expanduser()
    if folder.is_dir():
        _check_folder(folder, setting)
    elif folder.exists():
        raise UserError(f"{setting}: {name} is a file; give the folder of a model")
    elif name.startswith((".", "/", "~")) or name.count("/") > 1 or (name.count("/") and folder.parent.is_dir()):
        raise UserError(f"{setting}: there is no folder {name}")
    return str(folder) if folder.is_dir() else name


def _check_folder(folder: Path, setting: str) -> None:
    if not (folder / "config.json").is_file():
        raise UserError(f"{setting}: {folder} is not the folder of a model; there is no config.json in it")
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise UserError(f"{setting}: {folder}/config.json is not JSON: {error}") from error
    if not isinstance(config, dict) or "model_type" not in config:
        raise UserError(f"{setting}: {folder}/config.json names no model_type")
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        raise UserError(f"{setting}: there are no weights in {folder}; it has no *.safetensors file")
    for file in weights:
        try:
            with safe_open(file, "pt"):
                pass
        except (SafetensorError, OSError) as error:
            raise UserError(f"{setting}: {file} is damaged or not a safetensors file; fetch it again") from error
