"""Recurrent encoder-decoder configuration"""

import copy
from typing import ClassVar, Literal

from huggingface_hub.dataclasses import strict

from .configuration_recurrent import RecurrentConfig

# Fields of the base class that only other heads have -> their values here.
OTHER_HEADS = {
    "activation_regularization": 0.0,
    "adaptive_cutoffs": None,
    "char_encoder": None,
    "crf": False,
    "inner_units": None,
    "pairs": False,
    "temporal_regularization": 0.0,
    "unknown_dropout": 0.0,
}


@strict
class RecurrentSeq2SeqConfig(RecurrentConfig):
    r"""
    This is the configuration class to store the configuration of a [`RecurrentForSeq2SeqLM`].

    The fields of [`RecurrentConfig`] are about the encoder and, except for `bidirectional` and `num_hidden_layers`,
    about the decoder as well. Those of other heads, such as `crf`, are refused.

    Args:
        vocab_size (`int`, *optional*, defaults to 30000):
            Number of tokens of the target texts, and of the source texts if `source_vocab_size` is not given.
        source_vocab_size (`int`, *optional*):
            Number of tokens of the source texts, which then have embeddings of their own. Without it, the vocabulary is
            joint, and both sides share one matrix of embeddings.
        units (`int`, *optional*, defaults to 128):
            Number of hidden units of a layer: of the encoder per direction, and of the decoder.
        num_hidden_layers (`int`, *optional*, defaults to 1):
            Number of layers of the encoder.
        decoder_layers (`int`, *optional*):
            Number of layers of the decoder. Defaults to `num_hidden_layers`.
        bidirectional (`bool`, *optional*, defaults to `True`):
            Whether the encoder reads in both directions. The decoder reads from left to right.
        attention_type (`str`, *optional*, defaults to `"multiplicative"`):
            How a state h of the decoder scores a state s of the encoder: `"multiplicative"`, h W s (Luong et al. 2015,
            section 3.1, "general"); `"additive"`, v tanh(W h + U s) (Bahdanau et al. 2015, appendix A.1.2); or
            `"none"`: the decoder only gets the encoder's final output, as its first state (Cho et al. 2014).
        input_feeding (`bool`, *optional*, defaults to `False`):
            Whether the decoder also reads, with each word, what it attended to for the word before (Luong et al. 2015,
            section 3.3). In training, the decoder then runs word by word, which takes longer.
        decoder_start_token_id (`int`, *optional*):
            The token in front of each target text. Defaults to `bos_token_id`.
        tie_word_embeddings (`bool`, *optional*, defaults to `False`):
            Whether the output layer shares the embeddings of the target words (Press & Wolf 2017).

    Raises:
        ValueError: an unknown name, a value out of range, or a combination that does not work.

    Example:

    ```python
    >>> from pipeline.models.recurrent import RecurrentForSeq2SeqLM, RecurrentSeq2SeqConfig

    >>> config = RecurrentSeq2SeqConfig(vocab_size=100, embedding_size=12, units=16, cell_type="gru", bos_token_id=2)
    >>> RecurrentForSeq2SeqLM(config).decoder.attention.combination.in_features  # 2 * 16 of the encoder, 16 of its own
    48
    ```"""

    model_type = "recurrent_seq2seq"
    saved_type = "musicgen_decoder"
    auto_classes: ClassVar[dict[str, str]] = {"AutoModelForSeq2SeqLM": "modeling_seq2seq.RecurrentForSeq2SeqLM"}

    bidirectional: bool = True
    source_vocab_size: int | None = None
    decoder_layers: int | None = None
    attention_type: Literal["none", "additive", "multiplicative"] = "multiplicative"
    input_feeding: bool = False
    decoder_start_token_id: int | None = None
    is_encoder_decoder: bool = True

    def __post_init__(self, **kwargs):
        if self.decoder_layers is None:
            self.decoder_layers = self.num_hidden_layers
        super().__post_init__(**kwargs)

    def _check_ranges(self) -> None:
        super()._check_ranges()
        for name in ("source_vocab_size", "decoder_layers"):
            self._check_count(name)
        for name, without in OTHER_HEADS.items():
            if getattr(self, name) != without:
                raise ValueError(f"`{name}` is {getattr(self, name)}; a model that translates does not use it.")
        if self.input_feeding and self.attention_type == "none":
            raise ValueError("`input_feeding` is True; without attention there is nothing to feed. Set it to False.")
        if self.input_feeding and self.weight_dropout:
            raise ValueError(
                f"`weight_dropout` is {self.weight_dropout}; its mask must be the same for all words of a text, and"
                " with `input_feeding` each word is a call of its own. Set one of the two to 0."
            )

    @property
    def layer_types(self) -> None:  # type: ignore[override]
        """None, as that of transformers is about one stack of layers, and this model has two."""

    @property
    def has_joint_vocabulary(self) -> bool:
        """Whether source and target texts have the same tokens."""
        return self.source_vocab_size is None

    @property
    def vector_size(self) -> int:
        """Width of what the output layer reads, and of what is fed back."""
        return self.embedding_size if self.tie_word_embeddings else self.units  # type: ignore[return-value]

    def encoder_config(self) -> "RecurrentSeq2SeqConfig":
        """That of the encoder alone."""
        config = copy.deepcopy(self)
        config.vocab_size = self.source_vocab_size or self.vocab_size
        config.is_encoder_decoder = config.use_cache = False
        return config

    def decoder_config(self) -> "RecurrentSeq2SeqConfig":
        """That of the decoder's layers alone, whose first one reads words and what is fed back."""
        config = copy.deepcopy(self)
        config.bidirectional = config.is_encoder_decoder = False
        config.num_hidden_layers = self.decoder_layers  # type: ignore[assignment]  # never None
        config.embedding_size = self.embedding_size + self.input_feeding * self.vector_size
        return config


__all__ = ["RecurrentSeq2SeqConfig"]
