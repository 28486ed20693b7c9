"""Configuration of the recurrent models: RNN, LSTM and GRU."""

import difflib
from typing import ClassVar, Literal, NamedTuple

from huggingface_hub.dataclasses import strict
from transformers import GenerationConfig, PreTrainedConfig

# What transformers and its tools write into a config or pass to one without declaring it as a field.
UNDECLARED = {
    "model_type",
    "auto_map",
    "num_labels",
    "torch_dtype",
    "name_or_path",
    "attn_implementation",
    "experts_implementation",
    "output_attentions",
    "quantization_config",
    "per_layer_config",
    "custom_pipelines",
    "use_return_dict",
    "torchscript",
    "tie_encoder_decoder",
    "pruned_heads",
    "finetuning_task",
    "task_specific_params",
    "is_decoder",
    "add_cross_attention",
    "cross_attention_hidden_size",
    "sep_token_id",
    "decoder_start_token_id",
    "tokenizer_class",
    "prefix",
    "use_bfloat16",
    "tf_legacy_loss",
}

# The names that Keras and torch.nn use, and ours.
OTHER_NAMES = {
    "units": "hidden_size",
    "num_layers": "num_hidden_layers",
    "layers": "num_hidden_layers",
    "n_layers": "num_hidden_layers",
    "embedding_dim": "embedding_size",
    "output_dim": "embedding_size",
    "input_dim": "vocab_size",
    "num_embeddings": "vocab_size",
    "cell": "cell_type",
    "rnn_type": "cell_type",
    "mode": "cell_type",
    "dropout": "hidden_dropout",
}

DROPOUT_RATES = (
    "embedding_dropout",
    "hidden_dropout",
    "output_dropout",
    "classifier_dropout",
    "word_dropout",
    "weight_dropout",
    "char_dropout",
)
# Width of a cluster of the adaptive softmax as a share of the one before; torch's default, after Grave et al. 2017.
ADAPTIVE_DIVISOR = 4


class CharacterDefaults(NamedTuple):
    """Sizes and dropout of a character encoder in its paper, and how often the hidden size is in a word's features."""

    embedding_size: int
    hidden_size: int
    dropout: float
    directions: int


CHARACTER_DEFAULTS = {"cnn": CharacterDefaults(30, 30, 0.5, 1), "lstm": CharacterDefaults(25, 25, 0.0, 2)}


@strict
class RecurrentConfig(PreTrainedConfig):
    r"""
    Configuration of a [`RecurrentModel`]. A name that is not a field is refused, with the nearest one; in a saved
    file, where another version of transformers may have added its own, only a name that is nearly one of ours.

    Args:
        vocab_size (`int`): number of tokens.
        embedding_size (`int`): width of the word embeddings.
        hidden_size (`int`): units per direction, as in torch and Keras; the width of `last_hidden_state` is
            [`~RecurrentConfig.output_size`].
        num_hidden_layers (`int`): layers; each reads the whole sequence that the one below returns.
        cell_type (`str`): `"rnn"` (Elman 1990, tanh), `"lstm"` (Hochreiter & Schmidhuber 1997, with the forget gate
            of Gers et al. 2000) or `"gru"` (Cho et al. 2014, in cuDNN's form).
        bidirectional (`bool`): whether each layer reads in both directions (Schuster & Paliwal 1997).
        pooling (`str`): what the classification head sees of the last layer: `"last"`, the final state of each
            direction; `"mean"` or `"max"` over the words; `"attention"`, additive with a learned query (Bahdanau et
            al. 2015, section 3.1; Yang et al. 2016, section 2.2).
        embedding_dropout, hidden_dropout, output_dropout, classifier_dropout (`float`, in [0, 1)): dropout on the
            embeddings, between layers, on the last layer's states where words are predicted from them, and before the
            classifier.
        variational_dropout (`bool`): whether a row's dropout mask on embeddings, between layers and on the last
            layer is the same at every position (Gal & Ghahramani 2016, section 3) rather than drawn for each.
        word_dropout (`float`, in [0, 1)): share of the vocabulary whose embeddings are zero for a whole forward pass
            in training (Merity et al. 2017, section 4.3).
        weight_dropout (`float`, in [0, 1)): DropConnect on the hidden-to-hidden matrices, one mask for all steps of a
            forward pass in training (Merity et al. 2017, section 2).
        initializer_range (`float`): standard deviation of embeddings and classifier. The recurrence itself starts
            from orthogonal (Saxe et al. 2014) and Glorot-uniform matrices, an LSTM's forget gate from bias 1
            (Jozefowicz et al. 2015, section 2.2).
        char_encoder (`str`, *optional*): what reads the characters of each word, given as `char_ids`, beside the word's
            own embedding: `"cnn"`, windows of three characters and the maximum over them (Ma & Hovy 2016, section
            2.1), or `"lstm"`, the final states of both directions (Lample et al. 2016, section 4.1).
        char_vocab_size (`int`): number of characters, with padding, 0, and the unknown one, 1.
        char_embedding_size, char_hidden_size (`int`, *optional*): width of the characters' embeddings, and filters or
            units per direction; None: the papers', 30 and 30, or 25 and 25.
        char_dropout (`float`, in [0, 1), *optional*): dropout on the characters' embeddings; None: the papers', 0.5
            before the CNN, none before the LSTM.
        crf (`bool`): whether the token classification head scores whole sequences of tags, by a linear-chain
            conditional random field (Lample et al. 2016, section 2.2).
        special_token_ids (`list[int]`, *optional*): tokens between words that the CRF's sequences pass over where no
            labels say so, such as `[CLS]`.
        pad_token_id (`int`, *optional*): its embedding is zero and is not trained as an input, unless `eos_token_id` is
            the same: an end of text is read like a word.
        tie_word_embeddings (`bool`): whether the head that predicts words shares its matrix with the embeddings (Press
            & Wolf 2017; Inan et al. 2017), through a projection where [`~RecurrentConfig.output_size`] is not
            `embedding_size`. The classification head has no output embeddings.
        adaptive_cutoffs (`list[int]`, *optional*): predict words with an adaptive softmax (Grave et al. 2017): ids
            below the first cutoff in the head, those between two cutoffs in a cluster whose width is a quarter of the
            one before. Ids must be in falling order of frequency.
        use_cache (`bool`): whether the state after the last word is returned, to go on from; never in training unless
            asked for, nor by bidirectional models.

    Raises:
        ValueError: an unknown name, or a value out of range.

    Example:

    ```python
    >>> from pipeline.models.recurrent import RecurrentConfig, RecurrentModel

    >>> # Keras: Embedding(100, 12), Bidirectional(SimpleRNN(16, return_sequences=True)), Bidirectional(SimpleRNN(16))
    >>> config = RecurrentConfig(
    ...     vocab_size=100, embedding_size=12, hidden_size=16, num_hidden_layers=2, cell_type="rnn", bidirectional=True
    ... )
    >>> RecurrentModel(config).config.output_size
    32
    ```"""

    model_type = "recurrent"
    _auto_class = "AutoConfig"
    # What transformers' Trainer leaves out of the predictions that it gathers.
    keys_to_ignore_at_inference: ClassVar = ["past_key_values", "nll"]

    vocab_size: int = 30000
    embedding_size: int = 128
    hidden_size: int = 128
    num_hidden_layers: int = 1
    cell_type: Literal["rnn", "lstm", "gru"] = "lstm"
    bidirectional: bool = False
    pooling: Literal["last", "mean", "max", "attention"] = "last"
    embedding_dropout: float | int = 0.0
    hidden_dropout: float | int = 0.0
    output_dropout: float | int = 0.0
    variational_dropout: bool = False
    word_dropout: float | int = 0.0
    weight_dropout: float | int = 0.0
    classifier_dropout: float | int = 0.0
    initializer_range: float = 0.1
    char_encoder: Literal["cnn", "lstm"] | None = None
    char_vocab_size: int = 128
    char_embedding_size: int | None = None
    char_hidden_size: int | None = None
    char_dropout: float | int | None = None
    crf: bool = False
    special_token_ids: list[int] | None = None
    pad_token_id: int | None = 0
    bos_token_id: int | None = None
    eos_token_id: int | list[int] | None = None
    tie_word_embeddings: bool = False
    adaptive_cutoffs: list[int] | None = None
    use_cache: bool = True

    def __post_init__(self, **kwargs):
        # Only what was once saved names its model type.
        self._check_names(kwargs, saved="model_type" in kwargs)
        self._fill_character_sizes()
        self._check_ranges()
        super().__post_init__(**kwargs)

    @classmethod
    def from_dict(cls, config_dict, **kwargs):
        # The base class would drop a misspelt keyword and set a known one unchecked. Other keywords pass through
        # here that are not ours to refuse: those of tokenizers and of the Hub.
        cls._check_names(kwargs, saved=True)
        result = super().from_dict(config_dict, **kwargs)
        config = result[0] if isinstance(result, tuple) else result
        config._fill_character_sizes()
        config._check_ranges()
        return result

    @classmethod
    def _check_names(cls, names, saved: bool) -> None:
        known = {*cls.__dataclass_fields__, *UNDECLARED, *GenerationConfig().to_dict()}
        fields = sorted(name for name in cls.__dataclass_fields__ if not name.startswith("_"))
        for name in names:
            if name in known or name.startswith("_"):
                continue
            # 0.88 finds a slip of a letter or two, and does not take a tokenizer's `pad_token` for `pad_token_id`.
            close = difflib.get_close_matches(name, fields, n=1, cutoff=0.88 if saved else 0.6)
            near = OTHER_NAMES.get(name) or next(iter(close), None)
            if near or not saved:
                hint = f"did you mean `{near}`?" if near else f"there are: {', '.join(fields)}."
                raise ValueError(f"{cls.__name__} has no field `{name}`; {hint}")

    def _fill_character_sizes(self) -> None:
        names = ("embedding_size", "hidden_size", "dropout")
        if self.char_encoder is None:
            for name in names:
                if getattr(self, f"char_{name}") is not None:
                    raise ValueError(
                        f"`char_{name}` is {getattr(self, f'char_{name}')}; it must go with `char_encoder`."
                    )
            return
        for name in names:
            if getattr(self, f"char_{name}") is None:
                setattr(self, f"char_{name}", getattr(CHARACTER_DEFAULTS[self.char_encoder], name))

    def _check_ranges(self) -> None:
        sizes = ("vocab_size", "embedding_size", "hidden_size", "num_hidden_layers", "char_vocab_size")
        for name in (*sizes, "char_embedding_size", "char_hidden_size"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise ValueError(f"`{name}` is {getattr(self, name)}; it must be at least 1.")
        for name in DROPOUT_RATES:
            if getattr(self, name) is not None and not 0.0 <= getattr(self, name) < 1.0:
                raise ValueError(f"`{name}` is {getattr(self, name)}; it must be at least 0 and below 1.")
        if not 0.0 <= self.initializer_range < float("inf"):
            raise ValueError(f"`initializer_range` is {self.initializer_range}; it must be a number of at least 0.")
        if self.pad_token_id is not None and not 0 <= self.pad_token_id < self.vocab_size:
            raise ValueError(
                f"`pad_token_id` is {self.pad_token_id}; it must be an id below {self.vocab_size}, or None."
            )
        if self.adaptive_cutoffs is not None:
            self._check_cutoffs(self.adaptive_cutoffs)

    def _check_cutoffs(self, cutoffs: list[int]) -> None:
        if not cutoffs or cutoffs != sorted(set(cutoffs)) or cutoffs[0] < 1 or cutoffs[-1] >= self.vocab_size:
            raise ValueError(
                f"`adaptive_cutoffs` is {cutoffs}; it must be ids from 1 to {self.vocab_size - 1} in rising order."
            )
        if self.output_size < ADAPTIVE_DIVISOR ** len(cutoffs):
            raise ValueError(
                f"`adaptive_cutoffs` has {len(cutoffs)} cutoffs; {self.output_size} units are too few for so many"
                f" clusters, each {ADAPTIVE_DIVISOR} times narrower than the one before."
            )
        if self.tie_word_embeddings:
            raise ValueError(
                "`tie_word_embeddings` is True; an adaptive softmax has no matrix to share. Set it to False."
            )

    @property
    def output_size(self) -> int:
        """Width of `last_hidden_state`: `hidden_size` per direction."""
        return self.hidden_size * (2 if self.bidirectional else 1)

    @property
    def char_output_size(self) -> int:
        """Width of the features that the characters of a word add to its embedding; 0 without `char_encoder`."""
        if self.char_encoder is None or self.char_hidden_size is None:
            return 0
        return self.char_hidden_size * CHARACTER_DEFAULTS[self.char_encoder].directions

    @property
    def input_size(self) -> int:
        """Width of what the first layer reads: a word's embedding and the features of its characters."""
        return self.embedding_size + self.char_output_size

    @property
    def layer_types(self) -> list[str]:
        """Tells transformers' tools that the layers carry a state instead of keys and values."""
        return ["linear_attention"] * self.num_hidden_layers


__all__ = ["RecurrentConfig"]
