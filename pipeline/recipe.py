"""What a run is: frozen dataclasses that can be imported, derived with `replace`, compared and written as JSON.

Nothing here imports torch or transformers, so that a mistyped setting is refused at once. A value that is None means
"what suits the model"; everything else was chosen, and is refused where the chosen model or task would ignore it.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import json
import types
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from annotated_types import Ge, Gt, Le, Lt

from pipeline.errors import UserError, install_hook, suggest

install_hook()

Count = Annotated[int, Ge(1)]
Whole = Annotated[int, Ge(0)]
Seed = Annotated[int, Ge(0), Lt(2**32)]
Positive = Annotated[float, Gt(0.0)]
NotNegative = Annotated[float, Ge(0.0)]
Rate = Annotated[float, Ge(0.0), Lt(1.0)]
Share = Annotated[float, Gt(0.0), Lt(1.0)]
WarmupRatio = Annotated[float, Ge(0.0), Le(1.0)]

BOUNDS = {Ge: (">=", "ge"), Gt: (">", "gt"), Le: ("<=", "le"), Lt: ("<", "lt")}

C = TypeVar("C", bound=type)


def settings(section: str) -> Any:
    """A frozen dataclass whose names, types and ranges are checked; `section` is its name on the command line."""

    def decorate(cls: C) -> C:
        cls = dataclass(frozen=True, kw_only=section != "model")(cls)
        init = cls.__init__

        @functools.wraps(init)
        def checked_init(self: Any, *args: Any, **values: Any) -> None:
            known = [f.name for f in dataclasses.fields(cls)]
            for name in values:
                if name not in known:
                    raise UserError(f"{_dotted(section, name)}: no such setting{suggest(name, known)}")
            init(self, *args, **values)

        cls.__init__ = checked_init  # type: ignore[misc]  # the dataclass's own init, names checked first
        cls.section = section
        return cls

    return decorate


def _dotted(section: str, name: str) -> str:
    return f"{section}.{name}" if section else name


@functools.cache
def _hints(cls: type) -> dict[str, Any]:
    return typing.get_type_hints(cls, include_extras=True)


class Settings:
    """What all sections share: on construction each value is held to its annotation's type and bounds."""

    section: typing.ClassVar[str] = ""

    def __post_init__(self) -> None:
        for f in dataclasses.fields(self):  # type: ignore[arg-type]  # every subclass is a dataclass
            _check(_dotted(self.section, f.name), getattr(self, f.name), _hints(type(self))[f.name])

    def refuse(self, name: str, reason: str) -> None:
        """Raise the refusal of setting `name` for `reason`."""
        raise UserError(f"{_dotted(self.section, name)}: {reason}")


def _check(name: str, value: Any, hint: Any) -> None:
    """Raise UserError unless `value` is of type `hint`; bounds are read from `Annotated`."""
    kind = typing.get_origin(hint)
    if kind is Annotated:
        base, *bounds = typing.get_args(hint)
        _check(name, value, base)
        for bound in bounds:
            symbol, attribute = BOUNDS[type(bound)]
            limit = getattr(bound, attribute)
            if not getattr(value, f"__{attribute}__")(limit):
                raise UserError(f"{name}: {value} is out of range; it must be {symbol} {limit}")
    elif kind in (typing.Union, types.UnionType):
        _check_union(name, value, typing.get_args(hint))
    elif kind is Literal:
        if value not in typing.get_args(hint):
            raise UserError(f"{name}: {value!r} is not a choice{suggest(str(value), typing.get_args(hint))}")
    elif hint is not Any and not _is_a(value, hint):
        raise UserError(f"{name}: {value!r} is not {_describe(hint)}")


def _check_union(name: str, value: Any, options: tuple[Any, ...]) -> None:
    if value is None and type(None) in options:
        return
    kinds = [option for option in options if option is not type(None)]
    if len(kinds) == 1:
        _check(name, value, kinds[0])
    elif not any(_is_a(value, kind) for kind in kinds):
        raise UserError(f"{name}: {value!r} is not {' or '.join(_describe(kind) for kind in kinds)}")


def _is_a(value: Any, hint: Any) -> bool:
    if hint is float:  # an int is a float here; NaN and infinity are nobody's setting
        return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < float("inf")
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if hint is ModelSettings:
        return isinstance(value, ModelSettings) or callable(getattr(value, "build", None))
    return isinstance(value, hint)


def _describe(hint: Any) -> str:
    words = {int: "a whole number", float: "a number", str: "a text", bool: "True or False"}
    return words.get(hint, f"a {hint.__name__}")


@settings("data")
class Data(Settings):
    """Where the examples come from and how they are cut into tokens."""

    source: str
    """Hub id (`stanfordnlp/imdb`), a file or folder, or `sample:NAME` (rotten_tomatoes, imdb)."""
    revision: str | None = None
    """Commit, tag or branch of a Hub data set; pin a commit so that the data cannot move."""
    subset: str | None = None
    """Configuration name of a Hub data set that has several."""
    streaming: bool = False
    """Read only the first `limit` rows of a Hub data set instead of downloading all of it."""
    text_column: str | None = None
    """Column of the texts; None: guessed where there is one sane guess."""
    label_column: str | None = None
    """Column of the labels; None: guessed where there is one sane guess."""
    limit: Count | None = None
    """Use at most so many rows of each split, drawn evenly over it."""
    validation_share: Share | None = None
    """Share carved for validation where the source has no such split; None: 0.1."""
    test_share: Share | None = None
    """Share carved for testing where the source has no such split; None: 0.1."""
    split_seed: Seed = 0
    """Seed of the carving: independent of train.seed, so that all seeds are scored on the same rows."""
    max_length: Annotated[int, Ge(4)] = 256
    """Longest row in tokens; what is beyond is cut off, and the report says how many rows were."""
    tokenizer: str | None = None
    """word, bpe or wordpiece (trained on the training split), or a pretrained tokenizer's folder or Hub id."""
    vocab_size: Annotated[int, Ge(8)] | None = None
    """Largest vocabulary of a trained tokenizer; None: 30,000 words or 8,000 pieces."""
    min_frequency: Count | None = None
    """How often a word must occur in the training split to get a token of its own; None: 2."""
    lowercase: bool | None = None
    """Whether a trained tokenizer lower-cases; None: yes."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.source.strip():
            self.refuse("source", "it is empty; give a file, a folder, a Hub id or sample:NAME")
        if self.streaming and self.limit is None:
            self.refuse("streaming", "it needs data.limit, the number of rows to read from the stream")
        if (self.validation_share or 0.1) + (self.test_share or 0.1) >= 1.0:
            self.refuse("validation_share", "with data.test_share it leaves nothing to train on; lower one of them")
        if self.tokenizer not in (None, *TRAINED_TOKENIZERS):
            for name in ("vocab_size", "min_frequency", "lowercase"):
                if getattr(self, name) is not None:
                    self.refuse(name, f"the pretrained tokenizer {self.tokenizer} fixes it; remove this setting")


TRAINED_TOKENIZERS = ("word", "bpe", "wordpiece")


class ModelSettings(Settings):
    """A kind of model; a third party's may be any frozen dataclass with a method `build` (see models/build.py)."""

    default_tokenizer: typing.ClassVar[str | None] = None


@settings("model")
class Recurrent(ModelSettings):
    """A recurrent network from scratch: RNN, LSTM or GRU."""

    default_tokenizer: typing.ClassVar[str | None] = "word"

    cell: Literal["rnn", "lstm", "gru"] = "lstm"
    """The recurrence: Elman's RNN (tanh), LSTM or GRU."""
    bidirectional: bool = False
    """Read in both directions."""
    hidden_size: Count = 128
    """Units per direction."""
    layers: Count = 1
    """Layers, each fed with the whole sequence that the one below returns."""
    embedding_size: Count | None = None
    """Width of the word embeddings; None: that of `vectors`, else 128."""
    pooling: Literal["last", "mean", "max", "attention"] = "last"
    """How a text's states become one vector: the last ones, their mean or maximum, or additive attention."""
    dropout: Rate = 0.3
    """Dropout between layers and before the classifier."""
    embedding_dropout: Rate = 0.3
    """Dropout on the embeddings."""
    vectors: str | None = None
    """Word vectors to start from: sample:glove-6b-50d, or a GloVe, word2vec or fastText text file."""
    freeze_vectors: bool = False
    """Keep the embeddings as they started."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.freeze_vectors and self.vectors is None:
            self.refuse("freeze_vectors", "there are no vectors to freeze; set model.vectors or remove this setting")
        if self.vectors is not None and self.embedding_size is not None:
            self.refuse("embedding_size", "model.vectors fixes it; remove one of the two")


@settings("model")
class Pretrained(ModelSettings):
    """A pretrained transformer: any checkpoint that the Auto classes load."""

    checkpoint: str
    """Hub id, folder, or sample:minilm."""
    revision: str | None = None
    """Commit, tag or branch of a Hub checkpoint; pin a commit so that the weights cannot move."""
    dropout: Rate | None = None
    """Dropout before the classifier; None: the checkpoint's own."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.checkpoint.strip():
            self.refuse("checkpoint", "it is empty; give a folder, a Hub id or sample:minilm")


@settings("model")
class Scratch(ModelSettings):
    """A transformer built from its config with random weights: attention without anybody's pretraining."""

    default_tokenizer: typing.ClassVar[str | None] = "wordpiece"

    architecture: Literal["bert", "gpt2"] = "bert"
    """bert reads in both directions, gpt2 from left to right."""
    hidden_size: Count = 128
    """Width of the residual stream."""
    layers: Count = 2
    """Transformer blocks."""
    heads: Count = 2
    """Attention heads; they share hidden_size evenly."""
    dropout: Rate = 0.1
    """Dropout on embeddings, attention, residuals and before the classifier."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.hidden_size % self.heads:
            self.refuse("heads", f"{self.heads} heads cannot share model.hidden_size {self.hidden_size} evenly")


@settings("optim")
class Optim(Settings):
    """AdamW (Loshchilov & Hutter 2019) and its schedule."""

    learning_rate: Positive = 1e-3
    """Peak learning rate."""
    weight_decay: NotNegative = 0.01
    """Decoupled weight decay; biases, norms and embeddings are spared."""
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    """What the learning rate does after warm-up: fall to zero linearly or along a cosine, or stay."""
    warmup_ratio: WarmupRatio = 0.1
    """Share of the updates over which the learning rate rises from zero."""
    max_grad_norm: Positive | None = 1.0
    """Gradients are scaled down to this norm; None: never."""


@settings("train")
class Train(Settings):
    """How long, how much at once, and what is kept."""

    output_dir: str | None = None
    """Folder of the run; None: runs/<recipe name>."""
    epochs: Count = 3
    """Passes over the training split."""
    max_steps: Count | None = None
    """Stop after so many updates, however many epochs that is."""
    batch_size: Count = 32
    """Rows per process and micro-batch."""
    accumulation: Count = 1
    """Micro-batches per update."""
    seed: Seed = 0
    """Seed of the weights, of dropout and of the order of the rows."""
    precision: Literal["fp32", "bf16", "auto"] = "fp32"
    """fp32, bf16 autocast, or auto: bf16 where this machine's hardware has it."""
    eval_every: Count | None = None
    """Updates between evaluations; None: once an epoch."""
    save_every: Count | None = None
    """Updates between checkpoints; None: at each evaluation."""
    patience: Count | None = 3
    """Stop after so many evaluations without a better validation score; None: never."""
    log_every: Count = 10
    """Updates between lines of history.jsonl."""
    overwrite: bool = False
    """Replace the run that is in the output folder."""


@settings("")
class Recipe(Settings):
    """A run: task, data, model, optimiser, training."""

    name: str
    """Name of the run, and of its folder under runs/."""
    task: str
    """sentiment, or module:Class for a task of your own."""
    data: Data
    model: ModelSettings
    optim: Optim = field(default_factory=Optim)
    train: Train = field(default_factory=Train)
