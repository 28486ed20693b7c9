"""The configuration of a recurrent model, from the settings of a recipe."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from transformers import PreTrainedTokenizerBase

from pipeline.config.models import Recurrent
from pipeline.errors import UserError
from pipeline.models import recurrent
from pipeline.models.checkpoints import CAUSAL, SEQ2SEQ
from pipeline.models.transformers_from_scratch import end_token, start_and_end


def of_settings(
    settings: Recurrent,
    head: str,
    tokenizer: PreTrainedTokenizerBase,
    embedding_size: int,
    pairs: bool,
    labels: Mapping[str, Any],
) -> recurrent.RecurrentConfig:
    """The configuration that `settings` describe.

    Args:
        head: suffix of the Auto class, such as `SequenceClassification`.
        pairs: whether each row holds two texts.
        labels: the fields that name the classes; none for a task without classes.

    Raises:
        UserError: the tokenizer lacks what a setting needs.
    """
    if head == SEQ2SEQ:
        config: recurrent.RecurrentConfig = _seq2seq_config(settings, tokenizer, embedding_size)
    else:
        config = _config(settings, tokenizer, embedding_size, pairs, labels)
    config.empty_text_token_id = _empty_text_token(tokenizer, head)
    return config


def _config(
    settings: Recurrent,
    tokenizer: PreTrainedTokenizerBase,
    embedding_size: int,
    pairs: bool,
    labels: Mapping[str, Any],
) -> recurrent.RecurrentConfig:
    return recurrent.RecurrentConfig(
        **_layer_fields(settings, tokenizer, embedding_size),
        pooling=settings.pooling,
        pairs=pairs,
        inner_units=settings.inner_hidden_size,
        activation_regularization=settings.activation_regularization,
        temporal_regularization=settings.temporal_regularization,
        classifier_dropout=settings.dropout,
        adaptive_cutoffs=list(settings.adaptive_cutoffs) if settings.adaptive_cutoffs else None,
        eos_token_id=tokenizer.eos_token_id,
        crf=settings.crf,
        special_token_ids=special_token_ids(tokenizer) if settings.crf or settings.unknown_dropout else None,
        **_unknown_word(settings, tokenizer),
        **_character_sizes(settings, tokenizer),
        **labels,
    )


def _seq2seq_config(
    settings: Recurrent, tokenizer: PreTrainedTokenizerBase, embedding_size: int
) -> recurrent.RecurrentSeq2SeqConfig:
    is_separate = isinstance(tokenizer, recurrent.RecurrentSeq2SeqTokenizer)
    return recurrent.RecurrentSeq2SeqConfig(
        **_layer_fields(settings, tokenizer, embedding_size),
        source_vocab_size=tokenizer.source_vocab_size if is_separate else None,
        decoder_layers=settings.decoder_layers,
        attention_type=settings.attention,
        input_feeding=settings.input_feeding,
        **start_and_end(tokenizer),
    )


def _layer_fields(settings: Recurrent, tokenizer: PreTrainedTokenizerBase, embedding_size: int) -> dict[str, Any]:
    """The fields of the configuration that all recurrent models have."""
    return {
        "vocab_size": len(tokenizer),
        "embedding_size": embedding_size,
        "units": settings.hidden_size,
        "num_hidden_layers": settings.layers,
        "cell_type": settings.cell,
        "update_bias": settings.update_bias or 0.0,
        "conv_kernel": settings.conv_kernel,
        "bidirectional": settings.bidirectional,
        "hidden_dropout": settings.dropout,
        "embedding_dropout": settings.embedding_dropout,
        "output_dropout": settings.dropout if settings.output_dropout is None else settings.output_dropout,
        "variational_dropout": settings.variational_dropout,
        "word_dropout": settings.word_dropout,
        "weight_dropout": settings.weight_dropout,
        "tie_word_embeddings": settings.tie_embeddings,
        "pad_token_id": tokenizer.pad_token_id,
    }


def _empty_text_token(tokenizer: PreTrainedTokenizerBase, head: str) -> int | None:
    """What a model reads in place of a text without words, as `finetune predict` does: the unknown token or, to go on
    from, the end of the text before."""
    end = end_token(tokenizer)
    return end if head == CAUSAL or tokenizer.unk_token_id is None else tokenizer.unk_token_id


def _unknown_word(settings: Recurrent, tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    if not settings.unknown_dropout:
        return {}
    if tokenizer.unk_token_id is None:
        settings.refuse("unknown_dropout", "the tokenizer knows every word; remove it, or use another one")
    return {"unknown_dropout": settings.unknown_dropout, "unknown_token_id": tokenizer.unk_token_id}


def _character_sizes(settings: Recurrent, tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    if settings.char_encoder is None:
        return {}
    if not isinstance(tokenizer, recurrent.RecurrentTokenizer):
        raise UserError("model.char_encoder: the tokenizer returns no characters; train one with data.tokenizer word")
    return {"char_encoder": settings.char_encoder, "char_vocab_size": tokenizer.char_vocab_size}


def special_token_ids(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Special tokens that do not represent a part of a text, unlike the unknown token."""
    return sorted(set(tokenizer.all_special_ids) - {tokenizer.unk_token_id})
