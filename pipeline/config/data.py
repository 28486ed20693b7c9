"""Settings of the data: where examples come from, and how they are cut into tokens."""

from __future__ import annotations

from typing import Annotated, Literal

from annotated_types import Ge, Le

from pipeline.config.schema import LARGEST, Count, Seed, Settings, Share, settings

TRAINED_TOKENIZERS = ("word", "bpe", "wordpiece", "whitespace")
# Those that cut no word up.
WHOLE_WORDS = ("word", "whitespace")


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
