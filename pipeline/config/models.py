"""Settings of the models: recurrent, pretrained, from scratch, and what a third party adds."""

from __future__ import annotations

import importlib
from typing import Annotated, Any, ClassVar, Literal

from annotated_types import Ge, Le

from pipeline.config.hub import check_trust
from pipeline.config.schema import MOST_LAYERS, Count, Layers, Positive, Rate, Settings, settings
from pipeline.errors import UserError, suggest


class ModelSettings(Settings):
    """A kind of model. A third party's is a subclass decorated with `settings("model")` that has a method `build`."""

    default_tokenizer: ClassVar[str | None] = None
    """What data.tokenizer is by default; None: the checkpoint brings its own."""

    @property
    def reads_characters(self) -> bool:
        """Whether the tokenizer has to give the characters of words as well."""
        return False


@settings("model")
class Recurrent(ModelSettings):
    """A recurrent network from scratch: RNN, LSTM or GRU."""

    default_tokenizer: ClassVar[str | None] = "word"

    cell: Literal["rnn", "lstm", "gru"] = "lstm"
    """The recurrence: Elman's RNN (tanh), LSTM or GRU."""
    bidirectional: bool = False
    """Read in both directions."""
    hidden_size: Count = 128
    """Units per direction."""
    layers: Layers = 1
    """Layers, each fed with the whole sequence that the one below returns."""
    embedding_size: Count | None = None
    """Width of the word embeddings; None: that of `vectors`, else 128."""
    pooling: Literal["last", "mean", "max", "attention"] = "last"
    """How a text's states become one vector: the last ones, their mean or maximum, or additive attention."""
    dropout: Rate = 0.3
    """Dropout between layers and before the classifier."""
    embedding_dropout: Rate = 0.3
    """Dropout on the embeddings."""
    output_dropout: Rate | None = None
    """For next_word, dropout on the last layer's states; None: `dropout`."""
    variational_dropout: bool = False
    """Draw one dropout mask for all positions of a row (Gal & Ghahramani 2016) rather than one for each."""
    word_dropout: Rate = 0.0
    """Share of the vocabulary whose embeddings are zero in an update (Merity et al. 2017, section 4.3)."""
    weight_dropout: Rate = 0.0
    """Dropout on the hidden-to-hidden weights (Merity et al. 2017, section 2)."""
    tie_embeddings: bool = False
    """For next_word, whether the matrix that predicts words is that of the embeddings."""
    adaptive_cutoffs: tuple[int, ...] | None = None
    """For next_word, adaptive softmax (Grave et al. 2017): the ids at which a cluster of rarer words begins. It needs
    a tokenizer whose ids fall in frequency: whitespace."""
    vectors: str | None = None
    """Word vectors to start from: sample:glove-6b-50d, or a GloVe, word2vec or fastText text file."""
    freeze_vectors: bool = False
    """Keep the embeddings as they started."""
    char_encoder: Literal["cnn", "lstm"] | None = None
    """Read the characters of words, too: a CNN (Ma & Hovy 2016) or a bidirectional LSTM (Lample et al. 2016)."""
    crf: bool = False
    """Score tags as sequences, by a conditional random field."""

    @property
    def reads_characters(self) -> bool:
        return self.char_encoder is not None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.freeze_vectors and self.vectors is None:
            self.refuse("freeze_vectors", "there are no vectors to freeze; set model.vectors or remove this setting")
        if self.vectors is not None and self.embedding_size is not None:
            self.refuse("embedding_size", "model.vectors fixes it; remove one of the two")
        if self.adaptive_cutoffs is not None:
            self._check_cutoffs(self.adaptive_cutoffs)

    def _check_cutoffs(self, cutoffs: tuple[int, ...]) -> None:
        if not cutoffs or list(cutoffs) != sorted(set(cutoffs)) or cutoffs[0] < 1:
            self.refuse("adaptive_cutoffs", f"{cutoffs} is not a rising list of ids from 1 on")
        if self.hidden_size < 4 ** len(cutoffs):  # each cluster has a quarter of the width of the one before
            self.refuse(
                "adaptive_cutoffs", f"{len(cutoffs)} cutoffs need model.hidden_size {4 ** len(cutoffs)} or more"
            )
        if self.tie_embeddings:
            self.refuse("tie_embeddings", "an adaptive softmax has no matrix to share; remove model.adaptive_cutoffs")


@settings("model.lora")
class Lora(Settings):
    """Low-rank adaptation (Hu et al. 2022): the weights stay, and small matrices beside them are trained."""

    rank: Count = 8
    """Rank of the matrices."""
    alpha: Positive | None = None
    """Their product is scaled by alpha / rank; None: twice the rank."""
    dropout: Rate = 0.0
    """Dropout before them."""
    targets: tuple[str, ...] | None = None
    """Names of the modules that get them, such as query and value; None: what suits the model."""
    merge: bool = True
    """Save a plain model, with the matrices added to its weights; False: the adapter alone, as peft reads it."""


@settings("model")
class Pretrained(ModelSettings):
    """A pretrained transformer: any checkpoint that the Auto classes load."""

    checkpoint: str
    """Hub id, folder, or sample:minilm."""
    revision: str | None = None
    """Commit, tag or branch of a Hub checkpoint; pin a commit so that the weights cannot move."""
    trust_remote_code: bool = False
    """Run the code that comes with the checkpoint, for kinds of model that transformers does not know; for a checkpoint
    of the Hub `revision` has to be a commit, of which you have read that code."""
    allow_pickle: bool = False
    """Read weights from pytorch_model.bin, too, where there are no safetensors."""
    dropout: Rate | None = None
    """Dropout before the classifier; None: the checkpoint's own."""
    freeze_layers: Annotated[int, Ge(0), Le(MOST_LAYERS)] | None = None
    """Keep the embeddings and so many of the lowest layers as they are; None: train everything."""
    lora: Lora | None = None
    """Train low-rank adapters and the head only: Lora(rank=8)."""
    crf: bool = False
    """Score tags as sequences, by a conditional random field."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_trust(self.checkpoint, self.revision, self.trust_remote_code, "model.trust_remote_code")
        if self.lora is not None and self.freeze_layers is not None:
            self.refuse("freeze_layers", "model.lora freezes all layers; remove one of the two")
        if self.lora is not None and not self.lora.merge:
            if self.crf:
                self.lora.refuse("merge", "an adapter cannot hold a CRF; set it to True or remove model.crf")
            if self.checkpoint.startswith("sample:"):
                self.lora.refuse(
                    "merge", f"{self.checkpoint} is found on this machine only, and an adapter is nothing without its"
                    " base; set it to True or name a folder or Hub id"
                )  # fmt: skip


@settings("model")
class Scratch(ModelSettings):
    """A transformer built from its config with random weights: attention without anybody's pretraining."""

    default_tokenizer: ClassVar[str | None] = "wordpiece"

    architecture: Literal["bert", "gpt2"] = "bert"
    """bert reads in both directions, gpt2 from left to right."""
    hidden_size: Count = 128
    """Width of the residual stream."""
    layers: Layers = 2
    """Transformer blocks."""
    heads: Count = 2
    """Attention heads; they share hidden_size evenly."""
    dropout: Rate = 0.1
    """Dropout on embeddings, attention, residuals and before the classifier."""
    crf: bool = False
    """Score tags as sequences, by a conditional random field."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.hidden_size % self.heads:
            self.refuse("heads", f"{self.heads} heads cannot share model.hidden_size {self.hidden_size} evenly")


MODELS: dict[str, type[ModelSettings]] = {"recurrent": Recurrent, "pretrained": Pretrained, "scratch": Scratch}


def kind_name(kind: type) -> str:
    names = {known: name for name, known in MODELS.items()}
    return names.get(kind) or f"{kind.__module__}:{kind.__qualname__}"


def kind_called(name: Any) -> type[ModelSettings]:
    if isinstance(name, str) and name in MODELS:
        return MODELS[name]
    module, _, attribute = str(name).partition(":")
    try:
        kind = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError, TypeError) as error:
        raise UserError(f"model.kind: no kind of model {name!r}{suggest(str(name), MODELS)}") from error
    if not isinstance(kind, type) or not issubclass(kind, ModelSettings):
        raise UserError(f"model.kind: {name} is not a kind of model; it must be a subclass of ModelSettings")
    return kind
