"""Settings of the data: where examples come from and how they are tokenized."""

from __future__ import annotations

from typing import Annotated, Literal

from annotated_types import Ge, Le

from pipeline.config.schema import LARGEST, Count, Seed, Settings, Share, settings

TRAINED_TOKENIZERS = ("word", "bpe", "wordpiece", "whitespace", "character")
# Those that keep words whole.
WHOLE_WORDS = ("word", "whitespace")
# Settings of a tokenizer that is trained.
OF_TRAINED = ("vocab_size", "min_frequency", "lowercase", "zero_digits", "separate_vocabs")

# The names in the table of formats (config/formats.py).
DataFormat = Literal[
    "csv", "tsv", "json", "jsonl", "txt", "parquet", "arrow", "conll", "fasttext", "label-first", "tree",
    "paired-lines", "parallel", "tmx", "documents", "class-folders", "class-files", "doccano", "label-studio",
    "prodigy", "spacy", "brat",
]  # fmt: skip


@settings("data")
class Data(Settings):
    """Where the examples come from and how they are tokenized."""

    source: str
    """Hub id (`stanfordnlp/imdb`), file or folder, or `sample:NAME` (rotten_tomatoes, imdb, twitter_ner, ...)."""
    revision: str | None = None
    """Commit, tag or branch of a Hub dataset; pin a commit so that the data cannot change."""
    subset: str | None = None
    """Configuration of a Hub dataset that has several."""
    streaming: bool = False
    """Read only the first `limit` rows of a Hub dataset instead of downloading all of it."""
    text_column: str | None = None
    """Column of the texts; None: inferred from the column names if they are unambiguous."""
    label_column: str | None = None
    """Column of the labels; None: inferred from the column names if they are unambiguous."""
    token_column: str | None = None
    """Column of the words of each sentence: a name or, in a CoNLL file, a number; None: inferred."""
    tag_column: str | None = None
    """Column of the tags of the words: a name or, in a CoNLL file, a number; None: inferred, in a CoNLL file the
    last column."""
    scheme: Literal["iob2", "bioes"] | None = None
    """Tagging scheme that the model learns; the tags in the data are converted to it. None: iob2."""
    limit: Count | None = None
    """Use at most this many rows of each split, spread evenly over it."""
    validation_share: Share | None = None
    """Share of the rows held out for validation if the source has no such split; None: 0.1."""
    test_share: Share | None = None
    """Share of the rows held out for testing if the source has no such split; None: 0.1."""
    split_seed: Seed = 0
    """Seed that selects the held-out rows; independent of train.seed, so all seeds are scored on the same rows."""
    max_length: Annotated[int, Ge(4), Le(LARGEST)] = 256
    """Longest row in tokens. Longer rows are truncated, or split into overlapping windows (ner); the run reports how
    many. For next_word, the length of a window of truncated back-propagation or of a transformer's block; nothing is
    truncated."""
    separate: bool | None = None
    """For next_word: True if each row is a separate document, False if rows are lines of running text. None: rows of
    .txt files and of sample:imdb_text are running text, all others are documents."""
    tokenizer: str | None = None
    """word, bpe, wordpiece, whitespace (split at whitespace only) or character, trained on the training split; or a
    pretrained tokenizer: folder, Hub id or sample:gpt2. None: the default of the model, the task and the script."""
    tokenizer_revision: str | None = None
    """Commit, tag or branch of a tokenizer on the Hub."""
    vocab_size: Annotated[int, Ge(8), Le(10_000_000)] | None = None
    """Maximum vocabulary size of a trained tokenizer; None: 30,000 for word and character, 8,000 for bpe and
    wordpiece, 100,000 for whitespace or with model.vectors, whose words are added to the vocabulary."""
    min_frequency: Count | None = None
    """How often a word must occur in the training split to enter the vocabulary; None: 2, or 1 for whitespace."""
    lowercase: bool | None = None
    """Lowercase the text in a trained tokenizer; None: for word and wordpiece, except with model.char_encoder."""
    zero_digits: bool | None = None
    """Read every digit as 0 in a trained tokenizer, also among the characters of model.char_encoder, so that new dates,
    scores and amounts are not unknown words; None: no. Refused with model.vectors that tell numbers apart."""
    format: DataFormat | None = None
    """Format of local files; None: inferred from their suffixes."""
    label_names: tuple[str, ...] | None = None
    """Names of labels that are numbers or abbreviations in the data, such as 0=negative 1=positive (for tags 0=O
    1=B-PER); None: labels keep the names that they have in the data."""
    separator: str | None = None
    """Character between the columns of a table, or `tab`; None: detected."""
    quoting: Literal["double", "backslash", "none"] | None = None
    """How a quotation mark is written inside a quoted field of a table: doubled or after a backslash; none: nothing is
    quoted, and quotation marks are part of the text. None: detected."""
    header: bool | None = None
    """Whether the first line of a table names its columns; without names, columns are numbered from 1. None:
    detected."""
    encoding: str | None = None
    """Encoding of text files, such as latin-1; None: UTF-8, or UTF-16 with a byte order mark."""
    missing_labels: tuple[str, ...] | None = None
    """Further values that mean that a row has no label, such as unknown; an empty value, null, NaN and N/A always do.
    Rows without a label are not trained on."""
    problem_type: Literal["single_label_classification", "multi_label_classification", "regression"] | None = None
    """What the labels of a text are: one class, any number of classes, or a number; None: inferred from the labels."""
    text_pair_column: str | None = None
    """Column of the second text, if the model reads pairs of texts; None: inferred from the column names if they are
    unambiguous."""
    long_texts: Literal["cut", "tail", "head+tail", "windows"] = "cut"
    """What happens to texts longer than max_length: only the beginning is read (cut), only the end (tail), a quarter
    from the beginning and the rest from the end (head+tail), or all of it in overlapping windows whose scores are
    pooled."""
    overlaps: Literal["refuse", "longest"] = "refuse"
    """What happens to annotated spans that overlap: the row is refused, or the longest span is kept."""
    target_column: str | None = None
    """For translation: column of the texts to write, in parallel files and TMX the language; None: inferred from the
    column names if they are unambiguous, or the column that is left. With text_column, it says which way to
    translate."""
    prefix: str | None = None
    """For translation: text in front of each source, such as "translate English to German: " for T5."""
    separate_vocabs: bool | None = None
    """For translation by recurrent models: train a tokenizer for each side, of up to data.vocab_size tokens, and learn
    embeddings for each; None: both sides share one vocabulary."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.streaming and self.limit is None:
            self.refuse("streaming", "requires data.limit, the number of rows to read from the stream")
        self._check_label_names()
        if (self.validation_share or 0.1) + (self.test_share or 0.1) >= 1.0:
            self.refuse("validation_share", "with data.test_share, it leaves nothing to train on; lower one of them")
        if self.tokenizer not in (None, *TRAINED_TOKENIZERS):
            for name in OF_TRAINED:
                if getattr(self, name) is not None:
                    self.refuse(name, f"the pretrained tokenizer {self.tokenizer} determines it; remove this setting")
        elif self.tokenizer_revision is not None:
            self.refuse("tokenizer_revision", "data.tokenizer is not a Hub id; set it to one, or remove this setting")

    @property
    def names_of_labels(self) -> dict[str, str]:
        """Value in the data -> name, from `label_names`."""
        pairs = (entry.partition("=") for entry in self.label_names or ())
        return {value.strip(): name.strip() for value, _, name in pairs}

    def _check_label_names(self) -> None:
        if self.label_names and self.problem_type == "regression":
            self.refuse("label_names", "numbers have no names; remove this setting, or data.problem_type")
        for entry in self.label_names or ():
            value, equals, name = (part.strip() for part in entry.partition("="))
            if not (value and equals and name):
                self.refuse("label_names", f"{entry!r} is not a value and its name; write it as in 0=negative")
        if len(self.names_of_labels) < len(self.label_names or ()):
            self.refuse("label_names", "two names for the same value; remove one")
