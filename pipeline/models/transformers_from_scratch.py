"""Transformers from scratch: their configurations, and how they are built without position embeddings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from transformers import AutoConfig, PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from pipeline.config.models import Scratch


def end_token(tokenizer: PreTrainedTokenizerBase) -> int | None:
    """The token that ends a text."""
    return tokenizer.eos_token_id if tokenizer.eos_token_id is not None else tokenizer.sep_token_id


def start_and_end(tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    """The tokens around a target text. It starts with the one that ends texts, as in BART."""
    end = end_token(tokenizer)
    return {"bos_token_id": end, "eos_token_id": end, "decoder_start_token_id": end}


def _bert(settings: Scratch, tokenizer: PreTrainedTokenizerBase, max_length: int) -> PreTrainedConfig:
    return AutoConfig.for_model(
        "bert",
        vocab_size=len(tokenizer),
        hidden_size=settings.hidden_size,
        num_hidden_layers=settings.layers,
        num_attention_heads=settings.heads,
        intermediate_size=4 * settings.hidden_size,
        hidden_dropout_prob=settings.dropout,
        attention_probs_dropout_prob=settings.dropout,
        max_position_embeddings=max_length,
    )


def _gpt2(settings: Scratch, tokenizer: PreTrainedTokenizerBase, max_length: int) -> PreTrainedConfig:
    return AutoConfig.for_model(
        "gpt2",
        vocab_size=len(tokenizer),
        n_embd=settings.hidden_size,
        n_layer=settings.layers,
        n_head=settings.heads,
        embd_pdrop=settings.dropout,
        attn_pdrop=settings.dropout,
        resid_pdrop=settings.dropout,
        n_positions=max_length,
    )


def _t5(settings: Scratch, tokenizer: PreTrainedTokenizerBase, max_length: int) -> PreTrainedConfig:
    return AutoConfig.for_model(
        "t5",
        vocab_size=len(tokenizer),
        d_model=settings.hidden_size,
        num_layers=settings.layers,
        num_heads=settings.heads,
        d_kv=settings.hidden_size // settings.heads,
        d_ff=4 * settings.hidden_size,
        dropout_rate=settings.dropout,
        **{**start_and_end(tokenizer), "decoder_start_token_id": tokenizer.pad_token_id},
    )


def _bart(settings: Scratch, tokenizer: PreTrainedTokenizerBase, max_length: int) -> PreTrainedConfig:
    return AutoConfig.for_model(
        "bart",
        vocab_size=len(tokenizer),
        d_model=settings.hidden_size,
        encoder_layers=settings.layers,
        decoder_layers=settings.layers,
        encoder_attention_heads=settings.heads,
        decoder_attention_heads=settings.heads,
        encoder_ffn_dim=4 * settings.hidden_size,
        decoder_ffn_dim=4 * settings.hidden_size,
        dropout=settings.dropout,
        attention_dropout=settings.dropout,
        max_position_embeddings=max_length,
        scale_embedding=True,  # as in Vaswani et al. 2017, section 3.4
        forced_eos_token_id=None,  # a text that is cut off has no end
        **start_and_end(tokenizer),
    )


# Where a base model of transformers keeps its position embeddings.
POSITION_EMBEDDINGS = {
    "bert": ("embeddings.position_embeddings",),
    "gpt2": ("wpe",),
    "t5": tuple(f"{stack}.block.0.layer.0.SelfAttention.relative_attention_bias" for stack in ("encoder", "decoder")),
    "bart": ("encoder.embed_positions", "decoder.embed_positions"),
}

CONFIGS: dict[str, Callable[[Scratch, PreTrainedTokenizerBase, int], PreTrainedConfig]] = {
    "bert": _bert,
    "gpt2": _gpt2,
    "t5": _t5,
    "bart": _bart,
}


def silence_positions(model: PreTrainedModel, architecture: str) -> None:
    """Make the position embeddings of `model` zero for good. They stay part of the model, so that plain transformers
    loads it and returns the same outputs."""
    for name in POSITION_EMBEDDINGS[architecture]:
        weight = model.base_model.get_submodule(name).get_parameter("weight")
        with torch.no_grad():
            weight.zero_()
        weight.requires_grad_(False)
