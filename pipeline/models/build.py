"""From a recipe's model settings to a model with the task's head, its labels and the tokenizer's pad token."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psutil
import torch
import transformers
from transformers import AutoConfig, PreTrainedModel, PreTrainedTokenizerBase

from pipeline.config.models import ModelSettings, Pretrained, Recurrent, Scratch
from pipeline.errors import UserError
from pipeline.models import adapters, checkpoints, recurrent
from pipeline.models.embeddings import load_vectors
from pipeline.models.layers import freeze

Notes = dict[str, Any]
TAGGING_HEAD = "TokenClassification"

# What configurations call the dropout before the classifier.
CLASSIFIER_DROPOUT = ("classifier_dropout", "seq_classif_dropout", "classifier_dropout_prob", "summary_last_dropout")

# Weights, their gradients and AdamW's two moments, in float32.
BYTES_PER_PARAMETER = 16

# The head that must not see what it predicts: encoders such as BERT are told to read from left to right.
CAUSAL = "CausalLM"


def build(
    settings: ModelSettings,
    head: str,
    labels: list[str],
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
    seed: int,
) -> tuple[PreTrainedModel, Notes]:
    """A model for `settings`, its weights drawn from `seed`.

    A third party's settings bring their own method `build` with the arguments of this function but the first.

    Args:
        head: suffix of the Auto class, such as `SequenceClassification`.
        max_length: longest row in tokens.

    Returns:
        The model, and what is worth telling of how it was made, JSON-able.

    Raises:
        UserError: a checkpoint, a file of vectors or a size does not fit.
    """
    torch.manual_seed(seed)
    builder = BUILDERS.get(type(settings)) or type(settings).build  # type: ignore[attr-defined]
    model, notes = builder(settings, head, labels, tokenizer, max_length, seed)
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    if trained < sum(parameter.numel() for parameter in model.parameters()):
        notes = {**notes, "trained_parameters": trained}
    checkpoints.check_vocabulary(model, tokenizer, "model")
    model.config.pad_token_id = tokenizer.pad_token_id
    if model.can_generate():
        _set_ends(model, tokenizer)
    return model, notes


def _set_ends(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Generation begins after, and stops at, the token that ends the texts of training."""
    end = tokenizer.eos_token_id if tokenizer.eos_token_id is not None else tokenizer.sep_token_id
    for config in (model.config, model.generation_config):
        config.pad_token_id, config.bos_token_id, config.eos_token_id = tokenizer.pad_token_id, end, end


def _decoder(settings: Pretrained, head: str) -> dict[str, Any]:
    """What an encoder such as BERT has to be told to read from left to right."""
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
    settings: Recurrent, head: str, labels: list[str], tokenizer: PreTrainedTokenizerBase, max_length: int, seed: int
) -> tuple[PreTrainedModel, Notes]:
    _check_crf(settings.crf, head)
    if settings.adaptive_cutoffs and settings.adaptive_cutoffs[-1] >= len(tokenizer):
        settings.refuse("adaptive_cutoffs", f"there are only {len(tokenizer)} tokens; cut below that")
    vectors = load_vectors(settings.vectors, tokenizer.get_vocab(), seed) if settings.vectors else None
    config = recurrent.RecurrentConfig(
        vocab_size=len(tokenizer),
        embedding_size=vectors.matrix.shape[1] if vectors else settings.embedding_size or 128,
        hidden_size=settings.hidden_size,
        num_hidden_layers=settings.layers,
        cell_type=settings.cell,
        bidirectional=settings.bidirectional,
        pooling=settings.pooling,
        hidden_dropout=settings.dropout,
        embedding_dropout=settings.embedding_dropout,
        output_dropout=settings.dropout if settings.output_dropout is None else settings.output_dropout,
        variational_dropout=settings.variational_dropout,
        word_dropout=settings.word_dropout,
        weight_dropout=settings.weight_dropout,
        classifier_dropout=settings.dropout,
        tie_word_embeddings=settings.tie_embeddings,
        adaptive_cutoffs=list(settings.adaptive_cutoffs) if settings.adaptive_cutoffs else None,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        **({"crf": True, "special_token_ids": special_token_ids(tokenizer)} if settings.crf else {}),
        **_character_sizes(settings, tokenizer),
        **_label_maps(labels),
    )
    model = _from_config(config, head)
    if vectors is None:
        return model, {}
    weight = model.get_input_embeddings().weight
    with torch.no_grad():
        weight.copy_(vectors.matrix)
        weight[tokenizer.pad_token_id] = 0.0
    weight.requires_grad_(not settings.freeze_vectors)
    return model, {"vectors": settings.vectors, "vectors_found": round(vectors.found, 4)}


def _character_sizes(settings: Recurrent, tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    if settings.char_encoder is None:
        return {}
    if not isinstance(tokenizer, recurrent.RecurrentTokenizer):
        raise UserError("model.char_encoder: the tokenizer gives no characters; train one with data.tokenizer word")
    return {"char_encoder": settings.char_encoder, "char_vocab_size": tokenizer.char_vocab_size}


def _check_crf(crf: bool, head: str) -> None:
    if crf and head != TAGGING_HEAD:
        raise UserError(f"model.crf: the task's model is For{head}, which does not tag words; remove this setting")


def special_token_ids(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Tokens that stand for no part of a text; the unknown one does."""
    return sorted(set(tokenizer.all_special_ids) - {tokenizer.unk_token_id})


def _with_crf(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
    """`model` with a CRF on top, unless its checkpoint has one already."""
    special = special_token_ids(tokenizer)
    if isinstance(model, recurrent.RecurrentForTokenClassification):
        model.add_crf()
        model.config.special_token_ids = special
    elif not isinstance(model, recurrent.CrfTaggerForTokenClassification):
        model = recurrent.CrfTaggerForTokenClassification.around(model, special)
    return model


def _pretrained(
    settings: Pretrained, head: str, labels: list[str], tokenizer: PreTrainedTokenizerBase, max_length: int, seed: int
) -> tuple[PreTrainedModel, Notes]:
    _check_crf(settings.crf, head)
    model = checkpoints.load(
        settings.checkpoint,
        head,
        "model.checkpoint",
        with_head=False,
        revision=settings.revision,
        trust_remote_code=settings.trust_remote_code,
        allow_pickle=settings.allow_pickle,
        dtype=torch.float32,
        **_label_maps(labels),
        **_decoder(settings, head),
        **_dropout(settings),
    )
    checkpoints.check_length(model, max_length, "data.max_length")
    model = _with_crf(model, tokenizer) if settings.crf else model
    if settings.freeze_layers is not None:
        freeze(model, settings.freeze_layers, "model.freeze_layers")
    if settings.lora is not None:
        model = adapters.add_lora(model, settings.lora, head, settings.checkpoint, settings.revision)
    return model, {}


def _config(settings: Pretrained) -> transformers.PreTrainedConfig:
    return checkpoints.load_config(
        settings.checkpoint, "model.checkpoint", settings.revision, settings.trust_remote_code
    )


def _dropout(settings: Pretrained) -> dict[str, float]:
    """The option that sets the dropout before the classifier, where it was chosen."""
    if settings.dropout is None:
        return {}
    config = _config(settings)
    name = next((name for name in CLASSIFIER_DROPOUT if hasattr(config, name)), None)
    if name is None:
        settings.refuse("dropout", f"a {config.model_type} model has none before its classifier; remove this setting")
    return {str(name): settings.dropout}


def _scratch(
    settings: Scratch, head: str, labels: list[str], tokenizer: PreTrainedTokenizerBase, max_length: int, seed: int
) -> tuple[PreTrainedModel, Notes]:
    _check_crf(settings.crf, head)
    config = SCRATCH[settings.architecture](settings, len(tokenizer), max_length)
    decoder = {"is_decoder": True} if head == CAUSAL and hasattr(config, "is_decoder") else {}
    for name, value in {"pad_token_id": tokenizer.pad_token_id, **_label_maps(labels), **decoder}.items():
        setattr(config, name, value)
    model = _from_config(config, head)
    return _with_crf(model, tokenizer) if settings.crf else model, {}


def _from_config(config: transformers.PreTrainedConfig, head: str) -> PreTrainedModel:
    """A model with random weights.

    Raises:
        UserError: this machine's memory does not hold it and what training adds.
    """
    auto_class, memory = checkpoints.auto_class(head), psutil.virtual_memory().total
    try:
        with torch.random.fork_rng(), torch.device("meta"):
            parameters = sum(parameter.numel() for parameter in auto_class.from_config(config).parameters())
    except (RuntimeError, TypeError, OverflowError) as error:  # more than an index can count
        raise UserError("model: no memory holds a model of these sizes; lower model.hidden_size") from error
    if parameters * BYTES_PER_PARAMETER > memory:
        raise UserError(
            f"model: training {parameters:,} parameters takes {parameters * BYTES_PER_PARAMETER / 2**30:,.0f} GiB, and"
            f" this machine has {memory / 2**30:,.0f} GiB; lower model.hidden_size, model.layers or data.vocab_size"
        )
    return auto_class.from_config(config)


def _bert(settings: Scratch, vocab_size: int, max_length: int) -> transformers.PreTrainedConfig:
    return AutoConfig.for_model(
        "bert",
        vocab_size=vocab_size,
        hidden_size=settings.hidden_size,
        num_hidden_layers=settings.layers,
        num_attention_heads=settings.heads,
        intermediate_size=4 * settings.hidden_size,
        hidden_dropout_prob=settings.dropout,
        attention_probs_dropout_prob=settings.dropout,
        max_position_embeddings=max_length,
    )


def _gpt2(settings: Scratch, vocab_size: int, max_length: int) -> transformers.PreTrainedConfig:
    return AutoConfig.for_model(
        "gpt2",
        vocab_size=vocab_size,
        n_embd=settings.hidden_size,
        n_layer=settings.layers,
        n_head=settings.heads,
        embd_pdrop=settings.dropout,
        attn_pdrop=settings.dropout,
        resid_pdrop=settings.dropout,
        n_positions=max_length,
    )


SCRATCH: dict[str, Callable[[Scratch, int, int], transformers.PreTrainedConfig]] = {"bert": _bert, "gpt2": _gpt2}

BUILDERS: dict[type, Callable[..., tuple[PreTrainedModel, Notes]]] = {
    Recurrent: _recurrent,
    Pretrained: _pretrained,
    Scratch: _scratch,
}
