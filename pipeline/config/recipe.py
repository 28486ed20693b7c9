"""What a run is: frozen dataclasses that can be imported, derived with `replace`, compared and written as JSON.

Nothing here imports torch or transformers, so that a mistyped setting is refused at once. A value that is None means
"what suits the model"; everything else was chosen, and is refused where the chosen model or task would ignore it.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import re
from dataclasses import field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from annotated_types import Ge, Gt, Le, Lt

from pipeline.config.schema import Settings, settings
from pipeline.errors import UserError, install_hook, reason, shorten, suggest

install_hook()

# What cannot stand in the name of a folder, and the longest that every file system takes.
_NO_NAME = {"/", "\\", *map(chr, range(32))}
_LONGEST_NAME = 200
_OWN_TASK = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")
_REPO_NAME = re.compile(r"[A-Za-z0-9_][\w.-]*", re.ASCII)
HUB_ID = re.compile(r"\w[\w.-]*/[\w.-]+")
REVISION = re.compile(r"\w[\w./-]*", re.ASCII)
COMMIT = re.compile(r"[0-9a-f]{40}")
LANGUAGE = re.compile(r"[a-z]{2,3}")
# The libraries below count in 32 bits.
LARGEST = 2**31 - 1
Count = Annotated[int, Ge(1), Le(LARGEST)]
# A layer costs memory and time before its first weight is drawn: more of them than this is a slip of the finger.
MOST_LAYERS = 1000
Layers = Annotated[int, Ge(1), Le(MOST_LAYERS)]
Seed = Annotated[int, Ge(0), Lt(2**32)]
Positive = Annotated[float, Gt(0.0)]
NotNegative = Annotated[float, Ge(0.0)]
Rate = Annotated[float, Ge(0.0), Lt(1.0)]
Share = Annotated[float, Gt(0.0), Lt(1.0)]
WarmupRatio = Annotated[float, Ge(0.0), Le(1.0)]


@settings("data")
class Data(Settings):
    """Where the examples come from and how they are cut into tokens."""

    source: str
    """Hub id (`stanfordnlp/imdb`), a file or folder, or `sample:NAME` (rotten_tomatoes, imdb, twitter_ner, ...)."""
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
    token_column: str | None = None
    """Column of the words of sentences, by name or, in a file of columns, number; None: guessed."""
    tag_column: str | None = None
    """Column of the tags of words, by name or, in a file of columns, number; None: guessed, there the last."""
    scheme: Literal["iob2", "bioes"] | None = None
    """Scheme of the tags that the model learns, whatever that of the data; None: iob2."""
    limit: Count | None = None
    """Use at most so many rows of each split, drawn evenly over it."""
    validation_share: Share | None = None
    """Share carved for validation where the source has no such split; None: 0.1."""
    test_share: Share | None = None
    """Share carved for testing where the source has no such split; None: 0.1."""
    split_seed: Seed = 0
    """Seed of the carving: independent of train.seed, so that all seeds are scored on the same rows."""
    max_length: Annotated[int, Ge(4), Le(LARGEST)] = 256
    """Longest row in tokens; what is beyond is cut off, or read in overlapping windows (ner), and the report tells. For
    next_word nothing is cut off: tokens of a window of truncated back-propagation, or of a block of a transformer."""
    separate: bool | None = None
    """For next_word, whether rows are documents that do not see each other rather than lines of a running text; None:
    rows of .txt files and of sample:imdb_text are running text, others are documents."""
    tokenizer: str | None = None
    """word, bpe, wordpiece or whitespace (words as they stand between blanks), trained on the training split; or a
    pretrained tokenizer: a folder, a Hub id or sample:gpt2. None: what suits model and task."""
    tokenizer_revision: str | None = None
    """Commit, tag or branch of a tokenizer of the Hub."""
    vocab_size: Annotated[int, Ge(8), Le(10_000_000)] | None = None
    """Largest vocabulary of a trained tokenizer; None: 30,000 words, 8,000 pieces, or 100,000 between blanks or with
    model.vectors, whose words get tokens, too."""
    min_frequency: Count | None = None
    """How often a word must occur in the training split to get a token of its own; None: 2, or 1 for whitespace."""
    lowercase: bool | None = None
    """Whether a trained tokenizer lower-cases; None: word and wordpiece do, but not what model.char_encoder reads."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.streaming and self.limit is None:
            self.refuse("streaming", "it needs data.limit, the number of rows to read from the stream")
        if (self.validation_share or 0.1) + (self.test_share or 0.1) >= 1.0:
            self.refuse("validation_share", "with data.test_share it leaves nothing to train on; lower one of them")
        if self.tokenizer not in (None, *TRAINED_TOKENIZERS):
            for name in ("vocab_size", "min_frequency", "lowercase"):
                if getattr(self, name) is not None:
                    self.refuse(name, f"the pretrained tokenizer {self.tokenizer} fixes it; remove this setting")
        elif self.tokenizer_revision is not None:
            self.refuse("tokenizer_revision", "data.tokenizer names none of the Hub; name one, or remove this setting")


TRAINED_TOKENIZERS = ("word", "bpe", "wordpiece", "whitespace")
# Those that cut no word up.
WHOLE_WORDS = ("word", "whitespace")


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


def check_trust(name: str, revision: str | None, trusted: bool, setting: str) -> None:
    """Refuse to run code of the Hub that may change before it is run."""
    if trusted and not COMMIT.fullmatch(revision or "") and not Path(name).expanduser().exists():
        raise UserError(
            f"{setting}: {name} would run its own code here, at a revision that can move; set the revision to the"
            " commit whose code you have read (40 hex digits)"
        )


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
    layer_decay: Annotated[float, Gt(0.0), Le(1.0)] | None = None
    """For pretrained models: each layer learns at so much of the rate of the one above (Clark et al. 2020)."""
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
    auto_batch: bool = False
    """Before the run, find the largest batch_size that fits into memory, and set accumulation so that an update has as
    many rows as these two say."""
    seed: Seed = 0
    """Seed of the weights, of dropout and of the order of the rows."""
    deterministic: bool = False
    """Take only algorithms that give the same bits each time on the same device; on a GPU some are slower."""
    precision: Literal["fp32", "bf16", "auto"] = "fp32"
    """fp32, bf16 autocast, or auto: bf16 where this machine's hardware has it."""
    eval_every: Count | None = None
    """Updates between evaluations; None: once an epoch."""
    save_every: Count | None = None
    """Updates between checkpoints; None: at each evaluation."""
    keep_checkpoints: Annotated[int, Ge(2), Le(LARGEST)] = 2
    """So many of the newest checkpoints stay, and the best: a damaged one is passed over for the one before."""
    patience: Count | None = 3
    """Stop after so many evaluations without a better validation score; None: never."""
    class_weights: dict[str, NotNegative] | Literal["balanced"] | None = None
    """What labels count in the loss: balanced (the rarer, the more), or weights by name, such as `negative 2.0`, 1 for
    others; an entity's type stands for all of its tags."""
    label_smoothing: Rate = 0.0
    """Share of each label that is spread over all classes (Szegedy et al. 2016)."""
    log_every: Count = 10
    """Updates between lines of history.jsonl."""
    trackers: tuple[Literal["tensorboard", "mlflow", "wandb", "trackio"], ...] = ()
    """Dashboards that the figures go to beside history.jsonl, each of which has to be installed."""
    overwrite: bool = False
    """Replace the run that is in the output folder."""


@settings("hub")
class Hub(Settings):
    """Where the model goes once the run has finished; `finetune push` has the same settings."""

    push: bool = False
    """Push the model when the run has finished; a push that fails does not fail the run."""
    repo_id: str | None = None
    """Repository, user/name or organisation/name; None: the recipe's name under your own."""
    private: bool = False
    """Make a repository that you alone, or your organisation, may read."""
    revision: str | None = None
    """Branch; it is made where there is none of that name. None: main."""
    tag: str | None = None
    """Name for the commit that is made."""
    create_pr: bool = False
    """Propose the change to a repository that is there, instead of making it."""
    license: str | None = None
    """Licence of the model, by its id on the Hub, such as apache-2.0."""
    languages: tuple[str, ...] | None = None
    """Languages of the texts, by their codes, such as en; None: those that are known of a packaged sample."""
    overwrite: bool = False
    """Write into a repository that holds something else than a run that was pushed."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.push:
            for name in _names_set(self):
                self.refuse(name, "without hub.push nothing is pushed; set it, or remove this setting")
        if self.repo_id is not None and not _is_repo_id(self.repo_id):
            self.refuse(
                "repo_id",
                f"{shorten(repr(self.repo_id), 80)} cannot name a repository; it is user/name or organisation/name, of"
                " letters, digits, -, _ and .",
            )
        for name in ("revision", "tag"):
            value = getattr(self, name)
            if value is not None and (not REVISION.fullmatch(value) or ".." in value or COMMIT.fullmatch(value)):
                what = "a branch" if name == "revision" else "a tag"
                self.refuse(name, f"{shorten(repr(value), 80)} cannot name {what}; use letters, digits, -, _, . and /")
        if self.create_pr:
            for name in ("private", "tag"):
                if getattr(self, name):
                    self.refuse(name, "a pull request cannot change it; remove this setting or hub.create_pr")
        for code in self.languages or ():
            if not LANGUAGE.fullmatch(code):
                self.refuse("languages", f"{code!r} is no code of a language; it is en, he, deu and the like")


def _names_set(section: Settings) -> list[str]:
    """Names of the settings that have another value than by default."""
    fields: Any = dataclasses.fields(section)  # type: ignore[arg-type]
    return [f.name for f in fields if getattr(section, f.name) != f.default]


def _is_repo_id(name: str) -> bool:
    parts = name.split("/")
    fits = all(_REPO_NAME.fullmatch(part) and part[-1] not in "-." for part in parts)
    return fits and len(parts) <= 2 and len(name) <= 96 and not re.search(r"--|\.\.|\.git$", name)


@settings("")
class Recipe(Settings):
    """A run: task, data, model, optimiser, training, and where the model goes."""

    name: str
    """Name of the run, and of its folder under runs/."""
    task: str
    """sentiment, ner, next_word, or module:Class for a task of your own."""
    data: Data
    model: ModelSettings
    optim: Optim = field(default_factory=Optim)
    train: Train = field(default_factory=Train)
    hub: Hub = field(default_factory=Hub)

    def __post_init__(self) -> None:
        super().__post_init__()
        if set(self.name) & _NO_NAME or self.name.startswith(".") or len(self.name.encode()) > _LONGEST_NAME:
            self.refuse("name", f"{shorten(repr(self.name), 80)} cannot name a folder; use letters, digits, - and _")
        if self.task not in TASKS and not _OWN_TASK.fullmatch(self.task):
            self.refuse("task", f"no task {self.task!r}{suggest(self.task, TASKS)} (or module:Class for your own)")
        refuse_unused(self.task, self.data)
        refuse_unused(self.task, self.model)
        refuse_unused(self.task, self.train)
        if self.optim.layer_decay is not None and isinstance(self.model, (Recurrent, Scratch)):
            self.optim.refuse("layer_decay", "it is for pretrained models; all layers of this one are new: remove it")
        if self.hub.push and self.hub.repo_id is None and not _is_repo_id(self.name):
            self.hub.refuse("repo_id", f"the recipe's name, {self.name}, cannot name a repository; set it to user/name")
        if getattr(self.model, "crf", False):
            for name in ("class_weights", "label_smoothing"):
                if getattr(self.train, name):
                    self.train.refuse(
                        name, "a CRF scores whole sequences, not labels; remove this setting or model.crf"
                    )
        if self.model.reads_characters and self.data.tokenizer not in (None, *WHOLE_WORDS):
            self.data.refuse(
                "tokenizer", f"{self.data.tokenizer} cuts words up, which model.char_encoder reads; use word"
            )
        if self.model.default_tokenizer is None:
            for name in ("tokenizer", "vocab_size", "min_frequency", "lowercase"):
                if getattr(self.data, name) is not None:
                    self.data.refuse(name, "the pretrained model's own tokenizer fixes it; remove this setting")
        if self.task == "next_word" and self.data.tokenizer == "word":
            self.data.refuse("tokenizer", "word has no token that ends a text; next_word needs whitespace or bpe")

    @property
    def folder(self) -> Path:
        """Where the run lives."""
        return Path(self.train.output_dir or Path("runs") / self.name)

    @property
    def tokenizer(self) -> str:
        """word, bpe, wordpiece, whitespace, or where a pretrained tokenizer is."""
        default = self.model.default_tokenizer and TASK_TOKENIZERS.get(self.task, self.model.default_tokenizer)
        return self.data.tokenizer or default or self.model.checkpoint  # type: ignore[attr-defined]

    def to_json(self) -> str:
        """The recipe as JSON; the kind of model is named beside its settings."""
        values = dataclasses.asdict(self)
        values["model"] = {"kind": _kind_name(type(self.model)), **values["model"]}
        return json.dumps(values, indent=2, ensure_ascii=False) + "\n"


# name -> where it lives; imported when a run needs it
TASKS = {
    "sentiment": "pipeline.tasks.sentiment:Sentiment",
    "ner": "pipeline.tasks.ner:Ner",
    "next_word": "pipeline.tasks.next_word:NextWord",
}

# task -> the tokenizer of its models from scratch, where theirs does not suit it
TASK_TOKENIZERS = {"next_word": "bpe"}

# setting, of all kinds of models or of one -> the tasks that use it, where not all do
USED_BY = {
    "data.text_column": {"sentiment", "next_word"},
    "data.label_column": {"sentiment"},
    "data.token_column": {"ner"},
    "data.tag_column": {"ner"},
    "data.scheme": {"ner"},
    "data.separate": {"next_word"},
    "model.bidirectional": {"sentiment", "ner"},
    "model.pooling": {"sentiment"},
    "model.char_encoder": {"ner"},
    "model.crf": {"ner"},
    "model.output_dropout": {"next_word"},
    "model.tie_embeddings": {"next_word"},
    "model.adaptive_cutoffs": {"next_word"},
    "Pretrained.dropout": {"sentiment", "ner"},
    "train.class_weights": {"sentiment", "ner"},
    "train.label_smoothing": {"sentiment", "ner"},
}
UNUSED = "the task {} does not use it; remove this setting"
# setting -> why another task does not use it, where that is not plain
WHY_UNUSED = {
    "bidirectional": "the task {} reads left to right only; set it to False",
    "pooling": "the task {} answers for each word and pools nothing; remove this setting",
    "char_encoder": "the task {} does not tag words; remove this setting",
    "crf": "the task {} does not tag words; remove this setting",
    "dropout": "the task {} has no classifier; remove this setting",
}


def refuse_unused(task: str, section: Settings) -> None:
    """Refuse what was set and `task` would not use; a task of your own may use everything."""
    fields: Any = dataclasses.fields(section)  # type: ignore[arg-type]
    for f in fields:
        names = (f"{section.section}.{f.name}", f"{type(section).__name__}.{f.name}")
        users = next((USED_BY[name] for name in names if name in USED_BY), None)
        if users and task in TASKS and task not in users and getattr(section, f.name) != f.default:
            section.refuse(f.name, WHY_UNUSED.get(f.name, UNUSED).format(task))


MODELS: dict[str, type[ModelSettings]] = {"recurrent": Recurrent, "pretrained": Pretrained, "scratch": Scratch}

SECTIONS: dict[str, type[Settings]] = {"data": Data, "optim": Optim, "train": Train, "hub": Hub}


def read_json(file: Path) -> Recipe:
    """The recipe in a file that `Recipe.to_json` wrote; UTF-8 with or without BOM.

    Raises:
        UserError: it cannot be read, or holds no recipe.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{file}: not UTF-8 at byte {error.start}; convert the file to UTF-8") from error
    except OSError as error:
        raise UserError(f"{file}: cannot be read: {error.strerror}") from error
    return from_json(text, str(file))


def from_json(text: str, origin: str) -> Recipe:
    """The recipe that `Recipe.to_json` wrote; `origin` names it in messages.

    Raises:
        UserError: it is no JSON, or a name, type or value in it is refused.
    """
    try:
        values = json.loads(text)
    except ValueError as error:
        raise UserError(f"{origin}: not JSON: {reason(error)}") from error
    except RecursionError as error:
        raise UserError(f"{origin}: JSON nested too deeply") from error
    if not isinstance(values, dict):
        raise UserError(f"{origin}: a recipe is a JSON object with name, task, data and model")
    try:
        return Recipe(**{name: _section(name, value) for name, value in values.items()})
    except UserError as error:
        raise UserError(f"{origin}: {error}") from error


def _section(name: str, value: Any) -> Any:
    if name != "model" and name not in SECTIONS:
        return value
    if not isinstance(value, dict):
        raise UserError(f"{name}: {shorten(repr(value), 80)} is not an object of settings")
    value = dict(value)
    kind = _model_kind(value.pop("kind", None)) if name == "model" else SECTIONS[name]
    if kind is Pretrained and isinstance(value.get("lora"), dict):
        value["lora"] = Lora(**_values(value["lora"]))
    return kind(**_values(value))


def _values(values: dict[str, Any]) -> dict[str, Any]:
    """JSON has lists where settings have tuples."""
    return {key: tuple(item) if isinstance(item, list) else item for key, item in values.items()}


def _kind_name(kind: type) -> str:
    names = {known: name for name, known in MODELS.items()}
    return names.get(kind) or f"{kind.__module__}:{kind.__qualname__}"


def _model_kind(name: Any) -> type[ModelSettings]:
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
