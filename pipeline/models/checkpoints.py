"""Checkpoints: a folder, a Hub id or a packaged sample, loaded with a head, or refused in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers
from huggingface_hub.errors import HTTPError, StrictDataclassError
from safetensors import SafetensorError, safe_open
from transformers import AutoConfig, PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from pipeline import paths
from pipeline.errors import UserError, reason

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
        raise UserError(f"{setting}: {name} cannot be loaded as a {head} model: {reason(error)}") from error
    missing = sorted(told["missing_keys"])
    base = f"{model.base_model_prefix}."
    lacking = missing if with_head else [key for key in missing if key.startswith(base) and "pooler" not in key]
    if lacking:
        raise UserError(
            f"{setting}: {name} lacks {len(lacking)} weights of a {type(model).__name__}: {lacking[0]}, ..."
        )
    broken = next((key for key, weight in model.named_parameters() if not torch.isfinite(weight).all()), None)
    if broken:
        raise UserError(
            f"{setting}: {name} has weights that are not numbers, in {broken}; the run that made it diverged"
        )
    return model


def check_vocabulary(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, setting: str) -> None:
    """Refuse a tokenizer with tokens that the model has no embedding for."""
    known, tokens = model.get_input_embeddings().num_embeddings, len(tokenizer)
    if tokens > known:
        raise UserError(
            f"{setting}: its tokenizer has {tokens:,} tokens and its embeddings {known:,}; they do not belong together"
        )


def load_config(name: str, setting: str) -> PreTrainedConfig:
    """The configuration of the checkpoint `name`.

    Raises:
        UserError: it cannot be found or read.
    """
    path = _locate(name, setting)
    try:
        return AutoConfig.from_pretrained(path, trust_remote_code=False)
    except LOADING_ERRORS as error:
        raise UserError(f"{setting}: {name} cannot be loaded: {reason(error)}") from error


def _locate(name: str, setting: str) -> str:
    """What `from_pretrained` takes for `name`; what is wrong with a local folder is said before a library does."""
    folder = paths.saved_model(name, setting)
    if folder is None:
        return name
    _check_weights(folder, setting)
    return str(folder)


def _check_weights(folder: Path, setting: str) -> None:
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        raise UserError(f"{setting}: there are no weights in {folder}; it has no *.safetensors file")
    for file in weights:
        try:
            with safe_open(file, "pt"):
                pass
        except (SafetensorError, OSError) as error:
            raise UserError(f"{setting}: {file} is damaged or not a safetensors file; fetch it again") from error
