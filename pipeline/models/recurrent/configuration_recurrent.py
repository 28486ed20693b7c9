"""Recurrent model configuration"""

from typing import ClassVar, Literal, NamedTuple

from huggingface_hub.dataclasses import strict

from .field_names import check_names
from .sizes import SizedConfig

COUNTS = (
    "vocab_size",
    "embedding_size",
    "inner_units",
    "num_hidden_layers",
    "char_vocab_size",
    "char_embedding_size",
    "char_hidden_size",
)
DROPOUT_RATES = (
    "embedding_dropout",
    "hidden_dropout",
    "output_dropout",
    "classifier_dropout",
    "word_dropout",
    "unknown_dropout",
    "weight_dropout",
    "char_dropout",
)
MINIMAL_CELLS = ("mingru", "minlstm")
SCALES = ("initializer_range", "activation_regularization", "temporal_regularization")
# Each cluster of the adaptive softmax is this many times narrower than the one before, as in torch (Grave et al. 2017).
ADAPTIVE_DIVISOR = 4


class CharacterDefaults(NamedTuple):
    """Sizes and dropout of a character encoder in its paper, and in how many directions it reads."""

    embedding_size: int
    hidden_size: int
    dropout: float
    directions: int


CHARACTER_DEFAULTS = {"cnn": CharacterDefaults(30, 30, 0.5, 1), "lstm": CharacterDefaults(25, 25, 0.0, 2)}


@strict
class RecurrentConfig(SizedConfig):
    r"""
    This is the configuration class to store the configuration of a [`RecurrentModel`].

    A name that is not a field is refused, with a suggestion. In a saved file, which another version of transformers may
    have added names to, only a near miss of a field's name is refused.

    Args:
        vocab_size (`int`, *optional*, defaults to 30000):
            Number of tokens.
        embedding_size (`int`, *optional*, defaults to 128):
            Width of the word embeddings.
        hidden_size (`int`, *optional*):
            Width of `last_hidden_state`, as tools read it: `units`, or twice as many if `bidirectional`. In torch.nn,
            `hidden_size` is what `units` is here, and so it is in a dictionary or file without `units`: an earlier
            version wrote it.
        units (`int`, *optional*, defaults to 128):
            Number of hidden units of a layer per direction, as in Keras. It follows from `hidden_size` if that is given
            instead. Changing one of the two, or `bidirectional`, in a config changes the other.
        inner_units (`int`, *optional*):
            Number of hidden units per direction of all layers but the last, as in the AWD-LSTM (Merity et al. 2017),
            whose last layer is as wide as its embeddings. Defaults to `units`.
        num_hidden_layers (`int`, *optional*, defaults to 1):
            Number of layers. Each reads the outputs of the layer below at all positions.
        cell_type (`str`, *optional*, defaults to `"lstm"`):
            The recurrence: `"rnn"` (Elman 1990, with tanh), `"lstm"` (Hochreiter & Schmidhuber 1997, with the forget
            gate of Gers et al. 2000), `"gru"` (Cho et al. 2014, in cuDNN's form), or `"mingru"` or `"minlstm"`, whose
            gates read the input alone (Feng et al. 2024).
        update_bias (`float`, *optional*, defaults to 0.0):
            For `"mingru"` and `"minlstm"`: at the start, the share of a new word in the state is about
            sigmoid(update_bias). The lower, the longer the state remembers.
        conv_kernel (`int`, *optional*):
            For `"mingru"` and `"minlstm"`: how many positions a convolution in front of each layer reads, the current
            one included, each feature on its own (Gu & Dao 2023, section 3.4).
        bidirectional (`bool`, *optional*, defaults to `False`):
            Whether each layer reads in both directions (Schuster & Paliwal 1997).
        pooling (`str`, *optional*, defaults to `"last"`):
            What the classification head reads from the last layer: `"last"`, the final output of each direction;
            `"mean"` or `"max"` over the words; `"attention"`, additive attention with a learned query (Bahdanau et al.
            2015, section 3.1; Yang et al. 2016, section 2.2); `"concat"`, `"last"`, `"max"` and `"mean"` side by side
            (Howard & Ruder 2018, section 3.3).
        pairs (`bool`, *optional*, defaults to `False`):
            Whether a row of the classification head holds two texts, which `token_type_ids` tell apart. The same
            encoder reads each of them on its own, and the classifier compares the results (Conneau et al. 2017,
            section 3.1).
        thresholds (`list[float]`, *optional*):
            For several labels per text: the probability, for each label, from which on a text gets it. The model
            itself does not use them.
        embedding_dropout, hidden_dropout, output_dropout, classifier_dropout (`float`, *optional*, defaults to 0.0):
            Dropout, in [0, 1), on the embeddings, between layers, on the last layer's outputs before the language
            modeling head, and before the classifier.
        variational_dropout (`bool`, *optional*, defaults to `False`):
            Whether the dropout masks on embeddings, between layers and on the last layer are the same at every position
            of a row (Gal & Ghahramani 2016, section 3).
        word_dropout (`float`, *optional*, defaults to 0.0):
            Share of the vocabulary, in [0, 1), whose embeddings are zero during a forward pass in training (Merity et
            al. 2017, section 4.3).
        unknown_dropout (`float`, *optional*, defaults to 0.0):
            Share of the words, in [0, 1), that are read as the `unknown_token_id` in training, so that its embedding is
            trained and the context is used; their characters are still read. Padding, the tokens at the ends of texts
            and `special_token_ids` are never replaced. Lample et al. (2016, section 4.1) do so with words that occur
            once.
        unknown_token_id (`int`, *optional*):
            The token of words outside the vocabulary; required with `unknown_dropout`.
        weight_dropout (`float`, *optional*, defaults to 0.0):
            DropConnect, in [0, 1), on the hidden-to-hidden matrices, with one mask for all positions of a forward pass
            in training (Merity et al. 2017, section 2). Refused for a cell that has no such matrices (`"mingru"`,
            `"minlstm"`).
        activation_regularization, temporal_regularization (`float`, *optional*, defaults to 0.0):
            In training, what the loss of the language modeling head adds to the cross-entropy of a word: this factor
            times the mean square of the last layer's outputs there, after dropout (AR), and of their change from the
            word before, without dropout (TAR; Merity et al. 2017, section 4.6).
        initializer_range (`float`, *optional*, defaults to 0.1):
            Standard deviation of the initial embeddings and classifier. The recurrent layers start from orthogonal
            (Saxe et al. 2014) and Glorot-uniform matrices, and the forget gate of an LSTM from a bias of 1 (Jozefowicz
            et al. 2015, section 2.2).
        char_encoder (`str`, *optional*):
            How to read the characters of each word (`char_ids`), whose features are added to its embedding: `"cnn"`,
            windows of three characters and the maximum over them (Ma & Hovy 2016, section 2.1), or `"lstm"`, the final
            outputs of both directions (Lample et al. 2016, section 4.1).
        char_vocab_size (`int`, *optional*, defaults to 128):
            Number of character ids, including padding, 0, and unknown characters, 1.
        char_embedding_size, char_hidden_size (`int`, *optional*):
            Width of the character embeddings, and number of filters or of units per direction. Default to those of the
            papers: 30 and 30, or 25 and 25.
        char_dropout (`float`, *optional*):
            Dropout, in [0, 1), on the character embeddings. Defaults to that of the papers: 0.5 before the CNN, 0
            before the LSTM.
        crf (`bool`, *optional*, defaults to `False`):
            Whether the token classification head scores whole sequences of tags with a linear-chain conditional random
            field (Lample et al. 2016, section 2.2).
        special_token_ids (`list[int]`, *optional*):
            Tokens that are no words and have no tag, such as `[CLS]`; the CRF skips them when no labels are given.
        learned_labels (`list[str]`, *optional*):
            The names of the tags by id, in BIOES, if `id2label` names them in IOB2, as the pipelines of transformers
            read them. Two tags then share a name; see `tag_labels.py`.
        empty_text_token_id (`int`, *optional*):
            Token that is read in place of a text without words. Without one, such a text is an error.
        pad_token_id (`int`, *optional*, defaults to 0):
            Its embedding is zero and is not trained, unless it is also the `eos_token_id`, which is read like a word.
        tie_word_embeddings (`bool`, *optional*, defaults to `False`):
            Whether the language modeling head shares the embedding matrix (Press & Wolf 2017; Inan et al. 2017), after
            a projection if `hidden_size` is not `embedding_size`. Other heads have nothing to share.
        adaptive_cutoffs (`list[int]`, *optional*):
            Predict words with an adaptive softmax (Grave et al. 2017): ids below the first cutoff are in the head, and
            ids between two cutoffs in a cluster that is a quarter as wide as the one before. Ids must be sorted by
            falling frequency.
        use_cache (`bool`, *optional*, defaults to `True`):
            Whether to return the state after the last word, to continue from it. Training and bidirectional models
            never do so by default.

    Raises:
        ValueError: an unknown name, a value out of range, or a combination that does not work.

    Example:

    ```python
    >>> from pipeline.models.recurrent import RecurrentConfig, RecurrentModel

    >>> # Keras: Embedding(100, 12), Bidirectional(SimpleRNN(16, return_sequences=True)), Bidirectional(SimpleRNN(16))
    >>> config = RecurrentConfig(
    ...     vocab_size=100, embedding_size=12, units=16, num_hidden_layers=2, cell_type="rnn", bidirectional=True
    ... )
    >>> RecurrentModel(config).config.hidden_size
    32
    ```"""

    model_type = "recurrent"
    saved_type = "clvp_encoder"
    auto_classes: ClassVar[dict[str, str]] = {
        "AutoModel": "modeling_recurrent.RecurrentModel",
        "AutoModelForCausalLM": "modeling_recurrent.RecurrentForCausalLM",
        "AutoModelForSequenceClassification": "modeling_recurrent.RecurrentForSequenceClassification",
        "AutoModelForTokenClassification": "modeling_recurrent.RecurrentForTokenClassification",
    }
    _auto_class = "AutoConfig"
    # Outputs that transformers' Trainer does not gather as predictions.
    keys_to_ignore_at_inference: ClassVar[list[str]] = ["past_key_values", "nll"]

    vocab_size: int = 30000
    embedding_size: int = 128
    inner_units: int | None = None
    num_hidden_layers: int = 1
    cell_type: Literal["rnn", "lstm", "gru", "mingru", "minlstm"] = "lstm"
    update_bias: float | int = 0.0
    conv_kernel: int | None = None
    pooling: Literal["last", "mean", "max", "attention", "concat"] = "last"
    pairs: bool = False
    thresholds: list[float | int] | None = None
    embedding_dropout: float | int = 0.0
    hidden_dropout: float | int = 0.0
    output_dropout: float | int = 0.0
    variational_dropout: bool = False
    word_dropout: float | int = 0.0
    unknown_dropout: float | int = 0.0
    unknown_token_id: int | None = None
    weight_dropout: float | int = 0.0
    activation_regularization: float | int = 0.0
    temporal_regularization: float | int = 0.0
    classifier_dropout: float | int = 0.0
    initializer_range: float | int = 0.1
    char_encoder: Literal["cnn", "lstm"] | None = None
    char_vocab_size: int = 128
    char_embedding_size: int | None = None
    char_hidden_size: int | None = None
    char_dropout: float | int | None = None
    crf: bool = False
    special_token_ids: list[int] | None = None
    learned_labels: list[str] | None = None
    empty_text_token_id: int | None = None
    pad_token_id: int | None = 0
    bos_token_id: int | None = None
    eos_token_id: int | list[int] | None = None
    tie_word_embeddings: bool = False
    adaptive_cutoffs: list[int] | None = None
    use_cache: bool = True

    def __post_init__(self, **kwargs):
        # Only a saved config names its model type.
        check_names(type(self), kwargs, saved="model_type" in kwargs)
        self._fill_sizes()
        self._fill_character_sizes()
        self._check_ranges()
        super().__post_init__(**kwargs)

    @classmethod
    def from_dict(cls, config_dict, **kwargs):
        # The base class drops a misspelt keyword, and sets a known one without a check. Keywords of tokenizers and of
        # the Hub pass through here as well, and are not refused.
        check_names(cls, kwargs, saved=True)
        result = super().from_dict(config_dict, **kwargs)
        config = result[0] if isinstance(result, tuple) else result
        config._fill_character_sizes()
        config._check_ranges()
        return result

    def _fill_character_sizes(self) -> None:
        names = ("embedding_size", "hidden_size", "dropout")
        if self.char_encoder is None:
            for name in names:
                if getattr(self, f"char_{name}") is not None:
                    raise ValueError(f"`char_{name}` is {getattr(self, f'char_{name}')}; it requires `char_encoder`.")
            return
        for name in names:
            if getattr(self, f"char_{name}") is None:
                setattr(self, f"char_{name}", getattr(CHARACTER_DEFAULTS[self.char_encoder], name))

    def _check_ranges(self) -> None:
        for name in COUNTS:
            self._check_count(name)
        for name in DROPOUT_RATES:
            if getattr(self, name) is not None and not 0.0 <= getattr(self, name) < 1.0:
                raise ValueError(f"`{name}` is {getattr(self, name)}; it must be at least 0 and below 1.")
        for name in SCALES:
            if not 0.0 <= getattr(self, name) < float("inf"):
                raise ValueError(f"`{name}` is {getattr(self, name)}; it must be a number, at least 0.")
        for name in ("pad_token_id", "empty_text_token_id", "unknown_token_id"):
            if getattr(self, name) is not None and not 0 <= getattr(self, name) < self.vocab_size:
                raise ValueError(
                    f"`{name}` is {getattr(self, name)}; it must be an id below {self.vocab_size}, or None."
                )
        if self.conv_kernel is not None and self.conv_kernel < 2:
            raise ValueError(f"`conv_kernel` is {self.conv_kernel}; it must be at least 2, or None for no convolution.")
        if not -float("inf") < self.update_bias < float("inf"):
            raise ValueError(f"`update_bias` is {self.update_bias}; it must be a number.")
        for name, default in {"update_bias": 0.0, "conv_kernel": None}.items():
            if getattr(self, name) != default and self.cell_type not in MINIMAL_CELLS:
                raise ValueError(f"`{name}` is {getattr(self, name)}; a cell of the type {self.cell_type!r} has none.")
        if self.unknown_dropout and self.unknown_token_id is None:
            raise ValueError(f"`unknown_dropout` is {self.unknown_dropout}; it requires `unknown_token_id`.")
        if self.adaptive_cutoffs is not None:
            self._check_cutoffs(self.adaptive_cutoffs)

    def _check_cutoffs(self, cutoffs: list[int]) -> None:
        if not cutoffs or cutoffs != sorted(set(cutoffs)) or cutoffs[0] < 1 or cutoffs[-1] >= self.vocab_size:
            raise ValueError(
                f"`adaptive_cutoffs` is {cutoffs}; it must be ids from 1 to {self.vocab_size - 1} in increasing order."
            )
        if self.output_size < ADAPTIVE_DIVISOR ** len(cutoffs):
            raise ValueError(
                f"`adaptive_cutoffs` has {len(cutoffs)} cutoffs; {self.output_size} units are too few for that many"
                f" clusters, each {ADAPTIVE_DIVISOR} times narrower than the one before."
            )
        if self.tie_word_embeddings:
            raise ValueError(
                "`tie_word_embeddings` is True; an adaptive softmax has no matrix to share. Set it to False."
            )

    @property
    def char_output_size(self) -> int:
        """Width of the character features of a word; 0 without `char_encoder`."""
        if self.char_encoder is None or self.char_hidden_size is None:
            return 0
        return self.char_hidden_size * CHARACTER_DEFAULTS[self.char_encoder].directions

    @property
    def input_size(self) -> int:
        """Width of the first layer's inputs: the embedding of a word and its character features."""
        return self.embedding_size + self.char_output_size

    def units_of(self, layer_idx: int) -> int:
        """Hidden units of a layer per direction."""
        inner = self.inner_units if layer_idx < self.num_hidden_layers - 1 else None
        return self.units if inner is None else inner  # type: ignore[return-value]  # never None

    @property
    def regularizes_activity(self) -> bool:
        """Whether the loss of the language modeling head has more than the cross-entropy, in training."""
        return bool(self.activation_regularization or self.temporal_regularization)

    @property
    def layer_types(self) -> list[str]:
        """The transformers name for layers that carry a state instead of keys and values."""
        return ["linear_attention"] * self.num_hidden_layers


__all__ = ["RecurrentConfig"]
