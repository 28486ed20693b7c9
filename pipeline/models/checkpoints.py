"""Load a model with a head from a folder, the Hub or a packaged sample, or refuse it with a one-line error."""

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
from pipeline.models.recurrent import RecurrentSeq2SeqTokenizer
from pipeline.models.recurrent.tag_labels import learned_labels

# Heads, as suffixes of Auto classes. With CAUSAL, a model must not see the words to predict, so an encoder such as BERT
# must read from left to right.
CAUSAL, TAGGING, SEQ2SEQ = "CausalLM", "TokenClassification", "Seq2SeqLM"

# What transformers, safetensors and the Hub client raise for a checkpoint that is missing, damaged or of another type.
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
    """The Auto class of `head`, such as AutoModelForSequenceClassification."""
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
    """Load the checkpoint `name` with `head`, on the CPU.

    Args:
        name: a folder, a model id on the Hub or a packaged sample.
        setting: the setting that errors are about.
        with_head: whether the checkpoint must contain the weights of the head, as for inference.
        revision: commit, tag or branch on the Hub.
        trust_remote_code: whether to run the code of the checkpoint if transformers does not know its model type.
        allow_pickle: whether to load weights from pytorch_model.bin if there are no safetensors.
        options: passed to `from_pretrained`.

    Raises:
        UserError: the checkpoint cannot be found, read or loaded, or lacks weights. The message is one line and starts
            with `setting`.
    """
    folder = locate(name, setting, revision, allow_pickle)
    _check_weights(folder, setting, allow_pickle)
    if trust_remote_code:
        _check_code(folder, setting)
    try:
        model, loading_info = auto_class(head).from_pretrained(
            str(folder),
            use_safetensors=None if allow_pickle else True,
            weights_only=True,
            trust_remote_code=trust_remote_code,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # reported below, with the shapes
            **options,
        )
    except LOADING_ERRORS as error:
        raise UserError(f"{setting}: {name} cannot be loaded as a {head} model: {_reason(error)}") from error
    model.name_or_path = name  # not the path in the cache: peft saves it as the base model of an adapter
    _check_shapes(model, loading_info["mismatched_keys"], name, setting, with_head)
    missing = [key for key in sorted(loading_info["missing_keys"]) if with_head or _is_of_base(key, model)]
    if missing:
        raise UserError(
            f"{setting}: {name} is missing {len(missing)} of the weights of a {type(model).__name__}, such as"
            f" {missing[0]}"
        )
    broken = next((key for key, weight in model.named_parameters() if not torch.isfinite(weight).all()), None)
    if broken:
        raise UserError(
            f"{setting}: {name} has weights that are not finite, in {broken}; the run that saved it diverged"
        )
    return model


def _is_of_base(key: str, model: PreTrainedModel) -> bool:
    """Whether a weight lies below the head. The pooler, which few checkpoints have, counts as a part of the head, and
    so does the head of a tagger below a CRF."""
    prefix = ""
    while model.base_model is not model:
        prefix, model = f"{prefix}{model.base_model_prefix}.", model.base_model
    return key.startswith(prefix or f"{model.base_model_prefix}.") and "pooler" not in key


def _check_shapes(model: PreTrainedModel, mismatched: Iterable[Any], name: str, setting: str, with_head: bool) -> None:
    """Refuse weights whose shapes do not match the configuration. In training, a head for other labels is replaced."""
    for key, found, expected in sorted(mismatched):
        if with_head or _is_of_base(key, model):
            raise UserError(
                f"{setting}: {name} has {key} with the shape {list(found)}, but its config.json needs"
                f" {list(expected)}; they do not belong together"
            )


def _reason(error: BaseException) -> str:
    if "trust_remote_code" in str(error):
        return (
            "transformers does not know its model type, and the code that comes with it only runs if it is trusted"
            " (trust_remote_code)"
        )
    return reason(error)


def check_length(model: PreTrainedModel, max_length: int, setting: str) -> None:
    """Refuse rows that are longer than the model has positions for."""
    positions = longest(model)
    if positions and max_length > positions:
        raise UserError(f"{setting}: {max_length} is more than the {positions} positions of the model; lower it")


def longest(model: PreTrainedModel) -> int | None:
    """The number of tokens that the model can read at once; None if it has no limit.

    RoBERTa and its kin count positions from the one after the padding token's id, so the first ones are never used.
    """
    positions = getattr(model.config, "max_position_embeddings", None) or 0
    tables = (part for name, part in model.named_modules() if name.endswith("position_embeddings"))
    padding = next((part.padding_idx for part in tables if isinstance(part, torch.nn.Embedding)), None)
    return positions - (0 if padding is None else padding + 1) if positions > 0 else None


def label_names(model: PreTrainedModel, name: str, setting: str) -> list[str]:
    """Names of the classes in the order of their ids; of a tagger, as it has learnt them (see recurrent/tag_labels.py).

    Raises:
        UserError: a class has no name, or two have the same one.
    """
    count = model.config.num_labels
    names = learned_labels(model.config) if sorted(model.config.id2label) == list(range(count)) else []
    if len(set(names)) != count:
        raise UserError(
            f"{setting}: id2label in {name}/config.json must give each id from 0 to {count - 1} a different name"
        )
    return names


def check_vocabulary(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, setting: str) -> None:
    """Refuse a tokenizer that has tokens without an embedding in the model, or two vocabularies for a model of one."""
    known, of_sources = len(model.get_input_embeddings().weight), getattr(model.config, "source_vocab_size", None)
    has_two = isinstance(tokenizer, RecurrentSeq2SeqTokenizer)
    if has_two and of_sources is None:
        raise UserError(
            f"{setting}: the tokenizer has two vocabularies, and the model one; they do not belong together"
        )
    sides = [("", len(tokenizer), known)]
    if of_sources is not None:
        sides.append((" of sources", tokenizer.source_vocab_size if has_two else len(tokenizer), of_sources))
    for side, tokens, known in sides:
        if tokens > known:
            raise UserError(
                f"{setting}: the tokenizer has {tokens:,} tokens{side}, but the model has only {known:,} embeddings;"
                " they do not belong together"
            )


def load_config(
    name: str, setting: str, revision: str | None = None, trust_remote_code: bool = False
) -> PreTrainedConfig:
    """Load the configuration of the checkpoint `name`.

    Raises:
        UserError: it cannot be found or read.
    """
    folder = locate(name, setting, revision)
    try:
        return AutoConfig.from_pretrained(str(folder), trust_remote_code=trust_remote_code)
    except LOADING_ERRORS as error:
        raise UserError(f"{setting}: {name} cannot be loaded: {_reason(error)}") from error


def locate(name: str, setting: str, revision: str | None = None, allow_pickle: bool = False) -> Path:
    """The folder of a checkpoint. One on the Hub is downloaded at a fixed commit and checked like a local folder."""
    folder = paths.saved_model(name, setting)
    if folder is None:
        folder = download.snapshot(name, revision, setting, allow_pickle)
        paths.saved_model(str(folder), setting, adapters=True)
    return folder


def _check_weights(folder: Path, setting: str, allow_pickle: bool) -> None:
    weights = sorted(folder.glob("*.safetensors"))
    if not weights and not (allow_pickle and any(folder.glob("pytorch_model*.bin"))):
        pickled = ", only a pickle, which is not loaded unless it is allowed (allow_pickle)"
        raise UserError(
            f"{setting}: there are no weights in {folder}: no *.safetensors file{pickled * any(folder.glob('*.bin'))}"
        )
    for file in weights:
        try:
            with safe_open(file, "pt"):
                pass
        except (SafetensorError, OSError) as error:
            raise UserError(f"{setting}: {file} is damaged or not a safetensors file; download it again") from error


def _check_code(folder: Path, setting: str) -> None:
    """Refuse code in another repository: `revision` does not fix its commit."""
    classes = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("auto_map", {})
    if any("--" in str(place) for place in classes.values()):
        raise UserError(f"{setting}: config.json refers to code in another repository, which is never run")
