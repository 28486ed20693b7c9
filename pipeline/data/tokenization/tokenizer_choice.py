"""Which tokenizer reads the texts of a run: a pretrained one, or one to be trained, and the one that results."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
from transformers import PreTrainedTokenizerBase

from pipeline.config import paths
from pipeline.config.data import TRAINED_TOKENIZERS, Data
from pipeline.config.models import PairEncoding
from pipeline.data.rows import arrow_column, whole
from pipeline.data.tokenization import text_pairs, tokenizers

if TYPE_CHECKING:
    from datasets import Dataset


class KnownWords(NamedTuple):
    """Words from elsewhere, such as a file of word vectors.

    Attributes:
        fingerprint: changes whenever the words do.
        read: returns them, the more useful first.
    """

    fingerprint: str
    read: Callable[[], Iterable[str]]


class TokenizerChoice(NamedTuple):
    """Which tokenizer reads the texts; see `prepare.prepare`."""

    tokenizer: str
    revision: str | None
    characters: bool
    known_words: KnownWords | None
    trust_remote_code: bool = False
    may_change: bool = False
    pair_encoding: PairEncoding | None = None

    def fingerprint(self) -> list[Any]:
        """Changes whenever the tokenizer may; JSON-serializable."""
        own = self._replace(known_words=None)
        return [*own, self.known_words and self.known_words.fingerprint, _folder_digest(self.tokenizer)]


def suited(choice: TokenizerChoice, pretokenized: bool, report: dict[str, Any]) -> TokenizerChoice:
    """`choice`, or in place of a default one that can cut the scripts of the training texts, which `report` names.

    The report gets the kind of tokenizer, and the reason for another one than the default among its notes.
    """
    kind, why = choice.tokenizer, None
    # Words of a list need no cutting, and words with vectors must be whole.
    if choice.may_change and not pretokenized and choice.known_words is None:
        kind, why = tokenizers.default_for(choice.tokenizer, report["scripts"])
    report["tokenizer"] = kind
    report["notes"] += [why] if why else []
    return choice._replace(tokenizer=kind)


def tokenizer_of(choice: TokenizerChoice, data: Data, train: Dataset) -> PreTrainedTokenizerBase:
    """The pretrained tokenizer of `choice`, or one trained on the split `train`, for texts or pairs as in `train`."""
    is_pairs = "text_pair" in train.column_names
    if is_pairs and choice.pair_encoding != "apart" and choice.tokenizer == "word" and data.vocab_size is not None:
        data = replace(data, vocab_size=data.vocab_size - 1)  # of the kinds, it alone gets a separator afterwards
    tokenizer = _for_single_texts(choice, data, train)
    return text_pairs.for_pairs(tokenizer, choice.pair_encoding) if is_pairs else tokenizer


def _for_single_texts(choice: TokenizerChoice, data: Data, train: Dataset) -> PreTrainedTokenizerBase:
    pretokenized = "tokens" in train.column_names
    if choice.tokenizer in TRAINED_TOKENIZERS:
        return tokenizers.train(
            choice.tokenizer,
            _Texts(train),
            data,
            pretokenized=pretokenized,
            characters=choice.characters,
            known_words=choice.known_words.read() if choice.known_words else (),
        )
    loaded = tokenizers.load_tokenizer(
        choice.tokenizer, choice.revision, pretokenized, trust_remote_code=choice.trust_remote_code
    )
    tokenizers.check_length(loaded, data.max_length, choice.tokenizer)
    return loaded


class _Texts:
    """Texts, or the words of each, which can be iterated over repeatedly; only a few rows at a time are in memory."""

    def __init__(self, rows: Dataset):
        self._rows = rows

    def __iter__(self) -> Iterator[str]:
        for batch in self.batches():
            yield from batch.to_pylist()

    def batches(self) -> Iterator[pa.Array]:
        """The same, some thousands at a time."""
        tokenized = "tokens" in self._rows.column_names
        for role in ("tokens",) if tokenized else ("text", "text_pair"):
            for part in arrow_column(self._rows, role) if role in self._rows.column_names else ():
                yield pc.list_flatten(whole(part)) if tokenized else whole(part)


def unknown_warnings(choice: TokenizerChoice, shares: Mapping[str, float]) -> list[str]:
    """A line if many tokens are unknown.

    Args:
        shares: split -> share of its tokens that are unknown.
    """
    unknown = tokenizers.unknown_tokens(shares)
    if not unknown or choice.characters:  # a model that reads characters can read an unknown word
        return []
    remedy = tokenizers.unknown_remedy(choice.tokenizer)
    return [f"{unknown} are unknown to the tokenizer {choice.tokenizer}; {remedy}"]


def _folder_digest(tokenizer: str) -> str | None:
    """Hash of a local tokenizer's files."""
    folder = None if tokenizer in TRAINED_TOKENIZERS else paths.saved_tokenizer(tokenizer, "data.tokenizer")
    if folder is None:
        return None
    files = sorted(file for file in folder.iterdir() if file.suffix in (".json", ".txt", ".model", ".bpe"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
