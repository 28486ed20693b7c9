"""Checkpoints: a folder, a Hub id or a packaged sample, loaded with a head, or refused in one line."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
import transformers
from huggingface_hub.errors import HTTPError, StrictDataclassError
from safetensors import SafetensorError, safe_open
from transformers import AutoConfig, PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from pipeline.config import paths
from pipeline.errors import UserError, reason
from pipeline.hub import download

# What transformers, safetensors and the Hub client raise for a checkpoint that is missing, damaged or of another kind.
LOADING_ERRORS = (
    OSError,
    ValueError,
    LookupError,
    ArithmeticError,
    AssertionError,
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


def load(
    name: str,
    head: str,
    setting: str,
    *,
    with_head: bool,
    revision: str | None = None,
    trust_remote_code: bool = False,
    allow_pickle: bool = False,
    **options: Any,
) -> PreTrainedModel:
    """The checkpoint `name` with `head`, on the CPU.

    Args:
        with_head: whether the head's own weights have to be in it, as for a model that is to answer.
        revision: commit, tag or branch of one of the Hub.
        trust_remote_code: whether its own code is run, where transformers does not know its kind.
        allow_pickle: whether weights are read from pytorch_model.bin where there are no safetensors.
        options: for `from_pretrained`.

    Raises:
        UserError: it cannot be found, read or loaded, or lacks weights, in one line that names `setting`.
    """
    folder = locate(name, setting, revision, allow_pickle)
    _check_weights(folder, setting, allow_pickle)
    if trust_remote_code:
        _check_code(folder, setting)
    try:
        model, told = auto_class(head).from_pretrained(
            str(folder),
            use_safetensors=None if allow_pickle else True,
            weights_only=True,
            trust_remote_code=trust_remote_code,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # told below, with the sizes
            **options,
        )
    except LOADING_ERRORS as error:
        raise UserError(f"{setting}: {name} cannot be loaded as a {head} model: {_reason(error)}") from error
    model.name_or_path = name  # peft writes it into the adapter's configuration, where the cache's path means nothing
    _check_sizes(model, told["mismatched_keys"], name, setting, with_head)
    missing = [key for key in sorted(told["missing_keys"]) if with_head or _is_of_base(key, model)]
    if missing:
        raise UserError(
            f"{setting}: {name} lacks {len(missing)} weights of a {type(model).__name__}: {missing[0]}, ..."
        )
    broken = next((key for key, weight in model.named_parameters() if not torch.isfinite(weight).all()), None)
    if broken:
        raise UserError(
            f"{setting}: {name} has weights that are not numbers, in {broken}; the run that made it diverged"
        )
    return model


def _is_of_base(key: str, model: PreTrainedModel) -> bool:
    """Whether a weight belongs below the head; the pooler, which few checkpoints bring, counts to the head."""
    return key.startswith(f"{model.base_model_prefix}.") and "pooler" not in key


def _check_sizes(model: PreTrainedModel, mismatched: Iterable[Any], name: str, setting: str, with_head: bool) -> None:
    """Refuse weights of other sizes than the configuration says; a head for other labels is drawn anew in training."""
    for key, found, expected in sorted(mismatched):
        if with_head or _is_of_base(key, model):
            raise UserError(
                f"{setting}: {name} has {key} of the sizes {list(found)}, but its config.json asks for"
                f" {list(expected)}; they do not belong together"
            )


def _reason(error: BaseException) -> str:
    if "trust_remote_code" in str(error):
        return (
            "it is of no kind that transformers knows, and the code that comes with it is not run unless it is trusted"
            " (trust_remote_code)"
        )
    return reason(error)


def check_length(model: PreTrainedModel, max_length: int, setting: str) -> None:
    """Refuse rows longer than the model has positions for."""
    positions = getattr(model.config, "max_position_embeddings", None)
    if positions and max_length > positions:
        raise UserError(f"{setting}: {max_length} is more than the {positions} positions of the model; lower it")


def label_names(model: PreTrainedModel, name: str, setting: str) -> list[str]:
    """Names of the classes in the order of their ids.

    Raises:
        UserError: the configuration does not name each of them, or two of them alike.
    """
    names = dict(model.config.id2label)
    count = model.config.num_labels
    if sorted(names) != list(range(count)) or len({str(label) for label in names.values()}) != count:
        raise UserError(
            f"{setting}: id2label in {name}/config.json must give each of the ids 0 to {count - 1} a name of its own"
        )
    return [str(names[index]) for index in range(count)]


def check_vocabulary(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, setting: str) -> None:
    """Refuse a tokenizer with tokens that the model has no embedding for."""
    known, tokens = model.get_input_embeddings().num_embeddings, len(tokenizer)
    if tokens > known:
        raise UserError(
            f"{setting}: its tokenizer has {tokens:,} tokens and its embeddings {known:,}; they do not belong together"
        )


def load_config(
    name: str, setting: str, revision: str | None = None, trust_remote_code: bool = False
) -> PreTrainedConfig:
    """The configuration of the checkpoint `name`.

    Raises:
        UserError: it cannot be found or read.
    """
    folder = locate(name, setting, revision)
    try:
        return AutoConfig.from_pretrained(str(folder), trust_remote_code=trust_remote_code)
    except LOADING_ERRORS as error:
        raise UserError(f"{setting}: {name} cannot be loaded: {_reason(error)}") from error


def locate(name: str, setting: str, revision: str | None = None, allow_pickle: bool = False) -> Path:
    """Folder of a checkpoint; one of the Hub is fetched at one commit, or refused as a local one would be."""
    folder = paths.saved_model(name, setting)
    if folder is None:
        folder = download.snapshot(name, revision, setting, allow_pickle)
        paths.saved_model(str(folder), setting, adapters=True)
    return folder


def _check_weights(folder: Path, setting: str, allow_pickle: bool) -> None:
    weights = sorted(folder.glob("*.safetensors"))
    if not weights and not (allow_pickle and any(folder.glob("pytorch_model*.bin"))):
        pickled = " but a pickle, which is not read unless it is allowed (allow_pickle)"
        raise UserError(
            f"{setting}: there are no weights in {folder}; it has no *.safetensors file"
            f"{pickled * any(folder.glob('*.bin'))}"
        )
    for file in weights:
        try:
            with safe_open(file, "pt"):
                pass
        except (SafetensorError, OSError) as error:
            raise UserError(f"{setting}: {file} is damaged or not a safetensors file; fetch it again") from error


def _check_code(folder: Path, setting: str) -> None:
    """Refuse code that lies in another repository: its commit is in nobody's hands."""
    classes = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("auto_map", {})
    if any("--" in str(place) for place in classes.values()):
        raise UserError(f"{setting}: config.json takes code from another repository, which is never run")
