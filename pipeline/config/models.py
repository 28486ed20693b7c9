"""Settings of the models: recurrent, pretrained, transformers from scratch, and third-party kinds."""

from __future__ import annotations

import importlib
from typing import Annotated, Any, ClassVar, Literal

from annotated_types import Ge, Le

from pipeline.config.schema import MOST_LAYERS, Count, Layers, NotNegative, Positive, Rate, Settings, settings
from pipeline.errors import UserError, suggest

# How two texts are written into one row: `apart`, without special tokens, told apart by token_type_ids; `joined` by a
# special token; `typed`, both.
PairEncoding = Literal["apart", "joined", "typed"]

# The cells whose gates read the input alone.
MINIMAL_CELLS = ("mingru", "minlstm")

Pooling = Literal["last", "mean", "max", "attention", "concat"]

# Architectures of `Scratch` that read one text and write another.
ENCODER_DECODERS = ("t5", "bart")


class ModelSettings(Settings):
    """A kind of model. A third-party kind is a subclass decorated with `settings("model")` with a `build` method."""

    default_tokenizer: ClassVar[str | None] = None
    """Default of data.tokenizer; None: the checkpoint's own tokenizer."""

    @property
    def reads_characters(self) -> bool:
        """Whether the tokenizer must also return the characters of each word."""
        return False

    @property
    def pair_encoding(self) -> PairEncoding | None:
        """How the tokenizer must write two texts into one row; None: as it does by itself."""
        return None


@settings("model")
class Recurrent(ModelSettings):
    """A recurrent network trained from scratch: RNN, LSTM, GRU, minGRU or minLSTM."""

    default_tokenizer: ClassVar[str | None] = "word"

    cell: Literal["rnn", "lstm", "gru", "mingru", "minlstm"] = "lstm"
    """Type of recurrent cell: Elman RNN (tanh), LSTM, GRU, or minGRU or minLSTM, whose gates read the input alone (Feng
    et al. 2024)."""
    update_bias: Annotated[float, Ge(-20.0), Le(20.0)] | None = None
    """For mingru and minlstm: at the start, the share of a new word in the state is about sigmoid(update_bias); None:
    0."""
    conv_kernel: Annotated[int, Ge(2), Le(100)] | None = None
    """For mingru and minlstm: how many words a convolution in front of each layer reads, the current one included (Gu &
    Dao 2023, section 3.4); None: no convolution."""
    bidirectional: bool = False
    """Read the text in both directions; for translation, the source text."""
    hidden_size: Count = 128
    """Hidden units per direction, as in torch.nn. The saved config names them `units`; its `hidden_size` is the width
    of the outputs, twice as many if bidirectional."""
    inner_hidden_size: Count | None = None
    """Hidden units per direction of all layers but the last; None: `hidden_size`. In an AWD-LSTM these layers are
    wide, and the last is as wide as the embeddings."""
    layers: Layers = 1
    """Number of stacked layers."""
    decoder_layers: Layers | None = None
    """For translation: number of layers that write the target text; None: same as `layers`."""
    attention: Literal["none", "additive", "multiplicative"] = "multiplicative"
    """For translation: how the decoder attends to the source words (Bahdanau et al. 2015; Luong et al. 2015), or none:
    it only gets the encoder's final output."""
    input_feeding: bool = False
    """For translation: the decoder also reads what it attended to for the word before (Luong et al. 2015, section 3.3).
    Training is then slower, as it goes word by word."""
    embedding_size: Count | None = None
    """Size of the word embeddings; None: that of `vectors`, else 128."""
    pooling: Pooling = "last"
    """How the hidden states of a text are pooled: last state, mean, maximum, additive attention, or concat (last state,
    maximum and mean side by side)."""
    dropout: Rate = 0.3
    """Dropout between layers and before the classifier."""
    embedding_dropout: Rate = 0.3
    """Dropout on the embeddings."""
    output_dropout: Rate | None = None
    """For next_word and translation: dropout on the output of the last layer; None: same as `dropout`."""
    variational_dropout: bool = False
    """Use the same dropout mask at all positions of a row (Gal & Ghahramani 2016)."""
    word_dropout: Rate = 0.0
    """Share of the vocabulary whose embeddings are zeroed in each update (Merity et al. 2017, section 4.3)."""
    unknown_dropout: Rate = 0.0
    """Share of the words that are read as the unknown word in training, which teaches the model to read the unknown
    words of other texts. With char_encoder, their characters are still read."""
    weight_dropout: Rate = 0.0
    """Dropout on the hidden-to-hidden weights (Merity et al. 2017, section 2)."""
    activation_regularization: NotNegative = 0.0
    """For next_word: weight in the loss of the mean square of the last layer's outputs, after dropout (AR, Merity et
    al. 2017, section 4.6)."""
    temporal_regularization: NotNegative = 0.0
    """For next_word: weight in the loss of the mean square of their change from word to word (TAR, as above)."""
    tie_embeddings: bool = False
    """For next_word and translation: share the output matrix with the embeddings."""
    adaptive_cutoffs: tuple[int, ...] | None = None
    """For next_word: use adaptive softmax (Grave et al. 2017), with clusters of rarer words that begin at these ids.
    Requires a tokenizer that orders its ids by falling frequency: whitespace."""
    vectors: str | None = None
    """Pretrained word vectors: sample:glove-6b-50d, or a GloVe, word2vec or fastText text file."""
    freeze_vectors: bool = False
    """Do not train the embeddings."""
    char_encoder: Literal["cnn", "lstm"] | None = None
    """Also encode the characters of each word: a CNN (Ma & Hovy 2016) or a bidirectional LSTM (Lample et al. 2016)."""
    crf: bool = False
    """Score whole tag sequences with a conditional random field (CRF)."""

    @property
    def reads_characters(self) -> bool:
        return self.char_encoder is not None

    @property
    def pair_encoding(self) -> PairEncoding | None:
        return "apart"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.cell in MINIMAL_CELLS:
            if self.weight_dropout:
                self.refuse(
                    "weight_dropout", f"{self.cell} has no hidden-to-hidden weights to drop; remove this setting"
                )
        else:
            for name in ("update_bias", "conv_kernel"):
                if getattr(self, name) is not None:
                    self.refuse(name, f"only {' and '.join(MINIMAL_CELLS)} have it; remove it, or change model.cell")
        if self.freeze_vectors and self.vectors is None:
            self.refuse("freeze_vectors", "there are no vectors to freeze; set model.vectors, or remove this setting")
        if self.vectors is not None and self.embedding_size is not None:
            self.refuse("embedding_size", "model.vectors determines it; remove one of the two")
        if self.input_feeding and self.attention == "none":
            self.refuse(
                "input_feeding", "without attention there is nothing to feed; remove it, or set model.attention"
            )
        if self.input_feeding and self.weight_dropout:
            self.refuse(
                "weight_dropout", "with model.input_feeding each word is read on its own; remove one of the two"
            )
        if self.inner_hidden_size is not None and self.layers == 1:
            self.refuse("inner_hidden_size", "the only layer is the last one; set model.hidden_size, or model.layers")
        if self.adaptive_cutoffs is not None:
            self._check_cutoffs(self.adaptive_cutoffs)

    def _check_cutoffs(self, cutoffs: tuple[int, ...]) -> None:
        if not cutoffs or list(cutoffs) != sorted(set(cutoffs)) or cutoffs[0] < 1:
            self.refuse("adaptive_cutoffs", f"{cutoffs} must be increasing ids, the first of them at least 1")
        if self.hidden_size < 4 ** len(
            cutoffs
        ):  # each cluster is projected to a quarter of the size of the previous one
            self.refuse(
                "adaptive_cutoffs", f"{len(cutoffs)} cutoffs need a model.hidden_size of at least {4 ** len(cutoffs)}"
            )
        if self.tie_embeddings:
            self.refuse(
                "tie_embeddings",
                "adaptive softmax has no output matrix to share; remove model.adaptive_cutoffs",
            )


@settings("model.lora")
class Lora(Settings):
    """Low-rank adaptation (Hu et al. 2022): small trainable matrices added to frozen pretrained weights."""

    rank: Count = 8
    """Rank of the matrices."""
    alpha: Positive | None = None
    """The update is scaled by alpha / rank; None: twice the rank."""
    dropout: Rate = 0.0
    """Dropout on the input of the matrices."""
    targets: tuple[str, ...] | None = None
    """Names of the modules to adapt, such as query and value; None: peft's default for the model."""
    merge: bool = True
    """Merge the matrices into the weights and save a plain model; False: save the adapter alone, in peft's format."""


@settings("model")
class Pretrained(ModelSettings):
    """A pretrained model: any checkpoint that the Auto classes can load."""

    checkpoint: str
    """Hub id, folder, or sample:minilm."""
    revision: str | None = None
    """Commit, tag or branch of a Hub checkpoint; pin a commit so that the weights cannot change."""
    trust_remote_code: bool = False
    """Run the code that comes with the checkpoint, for architectures that transformers does not know. For a Hub
    checkpoint, `revision` must be a commit whose code you have read."""
    allow_pickle: bool = False
    """Allow weights to be loaded from pytorch_model.bin if there are no safetensors."""
    dropout: Rate | None = None
    """Dropout before the classifier; None: that of the checkpoint."""
    embedding_dropout: Rate | None = None
    """For recurrent checkpoints: dropout on the embeddings; None: that of the checkpoint."""
    pooling: Pooling | None = None
    """For recurrent checkpoints: how the hidden states of a text are pooled, as in `Recurrent`; None: that of the
    checkpoint."""
    freeze_layers: Annotated[int, Ge(0), Le(MOST_LAYERS)] | None = None
    """Freeze the embeddings and this many of the lowest layers; None: train everything."""
    lora: Lora | None = None
    """Train only low-rank adapters and the head: Lora(rank=8)."""
    crf: bool = False
    """Score whole tag sequences with a conditional random field (CRF)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.lora is not None and self.freeze_layers is not None:
            self.refuse("freeze_layers", "model.lora freezes all layers; remove one of the two")
        if self.lora is not None and not self.lora.merge:
            if self.crf:
                self.lora.refuse("merge", "an adapter cannot contain a CRF; set it to True, or remove model.crf")
            if self.pooling is not None:
                self.lora.refuse(
                    "merge", "an adapter cannot say how its base model pools; set it to True, or remove model.pooling"
                )
            if self.checkpoint.startswith("sample:"):
                self.lora.refuse(
                    "merge", f"{self.checkpoint} exists on this machine only, and an adapter cannot be loaded without"
                    " its base model; set it to True, or use a folder or Hub id"
                )  # fmt: skip


@settings("model")
class Scratch(ModelSettings):
    """A transformer trained from scratch: built from a config, with random weights."""

    default_tokenizer: ClassVar[str | None] = "wordpiece"

    architecture: Literal["bert", "gpt2", "t5", "bart"] = "bert"
    """bert reads the text in both directions, gpt2 from left to right. For translation, t5 or bart read one text and
    write another; bart is the transformer of Vaswani et al. (2017) with learned positions."""
    hidden_size: Count = 128
    """Hidden size of the transformer."""
    layers: Layers = 2
    """Number of transformer blocks; for translation, of the encoder and of the decoder."""
    heads: Count = 2
    """Attention heads; must divide hidden_size."""
    dropout: Rate = 0.1
    """Dropout on embeddings, attention and residuals, and before the classifier."""
    positions: Literal["learned", "none"] = "learned"
    """Position embeddings: learned, or none, to see what they are for. Without them bert reads a text as a set of
    words; gpt2 and a decoder still see which words are to the left. The saved model then has position embeddings of
    zero, which were not trained here but will be if another run starts from it."""
    crf: bool = False
    """Score whole tag sequences with a conditional random field (CRF)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.hidden_size % self.heads:
            self.refuse("heads", f"{self.heads} does not divide model.hidden_size {self.hidden_size}")

    @property
    def pair_encoding(self) -> PairEncoding | None:
        return "typed" if self.architecture == "bert" else "joined"  # GPT-2 takes types for words


MODELS: dict[str, type[ModelSettings]] = {"recurrent": Recurrent, "pretrained": Pretrained, "scratch": Scratch}


def kind_name(kind: type) -> str:
    """The name of a kind of model in recipe.json: that of `MODELS`, or `module:Class`."""
    names = {known: name for name, known in MODELS.items()}
    return names.get(kind) or f"{kind.__module__}:{kind.__qualname__}"


def kind_called(name: Any) -> type[ModelSettings]:
    """The kind of model that `kind_name` names.

    Raises:
        UserError: there is no such kind of model.
    """
    if isinstance(name, str) and name in MODELS:
        return MODELS[name]
    module, _, attribute = str(name).partition(":")
    try:
        kind = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError, TypeError) as error:
        raise UserError(f"model.kind: unknown kind of model {name!r}{suggest(str(name), MODELS)}") from error
    if not isinstance(kind, type) or not issubclass(kind, ModelSettings):
        raise UserError(f"model.kind: {name} is not a kind of model; it must be a subclass of ModelSettings")
    return kind
