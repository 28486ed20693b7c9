"""Build the model of a recipe, with the head and the labels of the task and the padding token of the tokenizer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psutil
import torch
import transformers
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from pipeline import run_folder
from pipeline.config.models import ModelSettings, Pretrained, Recurrent, Scratch
from pipeline.errors import UserError, reason
from pipeline.models import adapters, checkpoints, recurrent, recurrent_config
from pipeline.models.checkpoints import CAUSAL, SEQ2SEQ, TAGGING
from pipeline.models.embeddings import load_vectors
from pipeline.models.layers import freeze
from pipeline.models.transformers_from_scratch import CONFIGS, end_token, silence_positions

BuildInfo = dict[str, Any]

# Names of the dropout before the classifier in the configurations of transformers.
CLASSIFIER_DROPOUT = ("classifier_dropout", "seq_classif_dropout", "classifier_dropout_prob", "summary_last_dropout")

# The weight, its gradient and the two moments of AdamW, in float32.
BYTES_PER_PARAMETER = 16


def build(
    settings: ModelSettings,
    head: str,
    labels: list[str],
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
    seed: int,
    pairs: bool = False,
) -> tuple[PreTrainedModel, BuildInfo]:
    """Build a model, with initial weights drawn from `seed`.

    Settings of a class outside this package are built by its own method `build`, which takes the same arguments except
    the first and the last.

    Args:
        settings: the model settings of a recipe.
        head: suffix of the Auto class, such as `SequenceClassification`.
        labels: names of the classes in the order of their ids; empty for a task without classes.
        max_length: the largest number of tokens in a row.
        pairs: whether each row holds two texts.

    Returns:
        The model, and what is worth reporting about how it was built, JSON-serializable.

    Raises:
        UserError: a checkpoint or a file of vectors cannot be used, or a size is out of range.
    """
    torch.manual_seed(seed)
    builder = BUILDERS.get(type(settings)) or type(settings).build  # type: ignore[attr-defined]
    more = {"pairs": True} if pairs and type(settings) is Recurrent else {}  # others tell by their tokenizer
    model, build_info = builder(settings, head, labels, tokenizer, max_length, seed, **more)
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    if trained < sum(parameter.numel() for parameter in model.parameters()):
        build_info = {**build_info, "trained_parameters": trained}
    checkpoints.check_vocabulary(model, tokenizer, "model")
    model.config.pad_token_id = tokenizer.pad_token_id
    if model.can_generate() and head != SEQ2SEQ:  # whose configuration says how a text starts and ends
        _set_end_tokens(model, tokenizer)
    return model, build_info


def _set_end_tokens(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Make generation start after, and stop at, the token that ends the training texts."""
    end = end_token(tokenizer)
    for config in (model.config, model.generation_config):
        config.pad_token_id, config.bos_token_id, config.eos_token_id = tokenizer.pad_token_id, end, end


def _decoder(settings: Pretrained, head: str) -> dict[str, Any]:
    """The option that makes an encoder such as BERT read from left to right, if the head needs it."""
    if head != CAUSAL:
        return {}
    config = _config(settings)
    return {"is_decoder": True} if hasattr(config, "is_decoder") else {}


def _label_maps(labels: list[str]) -> dict[str, Any]:
    if not labels:  # a task without classes
        return {}
    return {
        "num_labels": len(labels),
        "id2label": dict(enumerate(labels)),
        "label2id": {label: index for index, label in enumerate(labels)},
    }


def _recurrent(
    settings: Recurrent,
    head: str,
    labels: list[str],
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
    seed: int,
    pairs: bool = False,
) -> tuple[PreTrainedModel, BuildInfo]:
    _check_crf(settings.crf, head)
    if settings.adaptive_cutoffs and settings.adaptive_cutoffs[-1] >= len(tokenizer):
        settings.refuse("adaptive_cutoffs", f"the vocabulary has only {len(tokenizer)} tokens; lower the last cutoff")
    if settings.vectors and isinstance(tokenizer, recurrent.RecurrentSeq2SeqTokenizer):
        settings.refuse(
            "vectors", "they would be those of one side, and data.tokenizer has a vocabulary for each; remove them"
        )
    vectors = load_vectors(settings.vectors, tokenizer.get_vocab(), seed) if settings.vectors else None
    width = vectors.matrix.shape[1] if vectors else settings.embedding_size or 128
    config = recurrent_config.of_settings(settings, head, tokenizer, width, pairs, _label_maps(labels))
    model = _from_config(config, head)
    if vectors is None:
        return model, {}
    weight = model.get_input_embeddings().weight
    with torch.no_grad():
        weight.copy_(vectors.matrix)
        weight[tokenizer.pad_token_id] = 0.0
    weight.requires_grad_(not settings.freeze_vectors)
    return model, {"vectors": settings.vectors, "vectors_found": round(vectors.found, 4)}


def _check_crf(crf: bool, head: str) -> None:
    if crf and head != TAGGING:
        raise UserError(f"model.crf: a {head} model does not tag words; remove this setting")


def _with_crf(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
    """`model` with a CRF on top, unless its checkpoint already has one."""
    special = recurrent_config.special_token_ids(tokenizer)
    if isinstance(model, recurrent.RecurrentForTokenClassification):
        model.add_crf()
        model.config.special_token_ids = special
    elif not isinstance(model, recurrent.CrfTaggerForTokenClassification):
        model = recurrent.CrfTaggerForTokenClassification.around(model, special)
    return model


def _pretrained(
    settings: Pretrained, head: str, labels: list[str], tokenizer: PreTrainedTokenizerBase, max_length: int, seed: int
) -> tuple[PreTrainedModel, BuildInfo]:
    _check_crf(settings.crf, head)
    name = run_folder.model_in(settings.checkpoint)
    model = checkpoints.load(
        name,
        head,
        "model.checkpoint",
        with_head=head == SEQ2SEQ,  # whose head is pretrained as well
        revision=settings.revision,
        trust_remote_code=settings.trust_remote_code,
        allow_pickle=settings.allow_pickle,
        dtype=torch.float32,
        **_label_maps(labels),
        **_decoder(settings, head),
        **_dropout(settings),
        **_of_recurrent(settings),
    )
    checkpoints.check_length(model, max_length, "data.max_length")
    model = _with_crf(model, tokenizer) if settings.crf else model
    if settings.freeze_layers is not None:
        freeze(model, settings.freeze_layers, "model.freeze_layers")
    if settings.lora is not None:
        trusted = settings.trust_remote_code
        model = adapters.add_lora(model, settings.lora, head, name, settings.revision, trusted)
    return model, {}


def _config(settings: Pretrained) -> transformers.PreTrainedConfig:
    return checkpoints.load_config(
        settings.checkpoint, "model.checkpoint", settings.revision, settings.trust_remote_code
    )


def _dropout(settings: Pretrained) -> dict[str, float]:
    """The option that sets the dropout before the classifier, if the recipe does."""
    if settings.dropout is None:
        return {}
    config = _config(settings)
    name = next((name for name in CLASSIFIER_DROPOUT if hasattr(config, name)), None)
    if name is None:
        settings.refuse("dropout", f"a {config.model_type} model has no dropout before its classifier; remove it")
    return {str(name): settings.dropout}


def _of_recurrent(settings: Pretrained) -> dict[str, Any]:
    """The options of the settings that only a recurrent checkpoint has, as far as the recipe sets them."""
    names = ("embedding_dropout", "pooling")
    chosen = {name: getattr(settings, name) for name in names if getattr(settings, name) is not None}
    if chosen and not isinstance(config := _config(settings), recurrent.RecurrentConfig):
        settings.refuse(next(iter(chosen)), f"only for recurrent checkpoints, not {config.model_type}; remove it")
    return chosen


def _scratch(
    settings: Scratch, head: str, labels: list[str], tokenizer: PreTrainedTokenizerBase, max_length: int, seed: int
) -> tuple[PreTrainedModel, BuildInfo]:
    _check_crf(settings.crf, head)
    config = CONFIGS[settings.architecture](settings, tokenizer, max_length)
    decoder = {"is_decoder": True} if head == CAUSAL and hasattr(config, "is_decoder") else {}
    for name, value in {"pad_token_id": tokenizer.pad_token_id, **_label_maps(labels), **decoder}.items():
        setattr(config, name, value)
    model = _from_config(config, head)
    if settings.positions == "none":
        silence_positions(model, settings.architecture)
    return _with_crf(model, tokenizer) if settings.crf else model, {}


def _from_config(config: transformers.PreTrainedConfig, head: str) -> PreTrainedModel:
    """A model with random weights.

    Raises:
        UserError: the memory of this machine is too small to train it, or its settings do not go together.
    """
    auto_class, memory = checkpoints.auto_class(head), psutil.virtual_memory().total
    try:
        with torch.random.fork_rng(), torch.device("meta"):
            parameters = sum(parameter.numel() for parameter in auto_class.from_config(config).parameters())
    except (RuntimeError, TypeError, OverflowError) as error:  # a size that does not fit into 64 bits
        raise UserError("model: this model is too large to build; lower model.hidden_size") from error
    except ValueError as error:
        raise UserError(f"model: {reason(error)}") from error
    if parameters * BYTES_PER_PARAMETER > memory:
        raise UserError(
            f"model: training {parameters:,} parameters takes {parameters * BYTES_PER_PARAMETER / 2**30:,.0f} GiB, but"
            f" this machine has {memory / 2**30:,.0f} GiB; lower model.hidden_size, model.layers or data.vocab_size"
        )
    return auto_class.from_config(config)


BUILDERS: dict[type, Callable[..., tuple[PreTrainedModel, BuildInfo]]] = {
    Recurrent: _recurrent,
    Pretrained: _pretrained,
    Scratch: _scratch,
}
