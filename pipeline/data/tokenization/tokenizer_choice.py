"""Which tokenizer reads the texts of a run: a pretrained one, or one to be trained, and the one that results."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
from transformers import PreTrainedTokenizerBase

from pipeline.config import paths
from pipeline.config.data import TRAINED_TOKENIZERS, WHOLE_WORDS, Data
from pipeline.config.models import PairEncoding
from pipeline.data.rows import arrow_column, whole
from pipeline.data.tokenization import text_pairs, tokenizers, translated, word_patterns

if TYPE_CHECKING:
    from datasets import Dataset

# Share of the letters in scripts without blanks from which the default tokenizer is one that can cut them.
UNSPACED_SHARE = 0.2
MOST_UNKNOWN = 0.2  # share of unknown tokens in a split


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
        kind, why = default_for(choice.tokenizer, report["scripts"])
    report["tokenizer"] = kind
    report["notes"] += [why] if why else []
    return choice._replace(tokenizer=kind)


def default_for(usual: str, scripts: Mapping[str, float]) -> tuple[str, str | None]:
    """The tokenizer to train if the recipe names none.

    Words are the `usual` tokens of recurrent networks, but a script without blanks has no words to see. Chinese
    characters and kana are read one by one, as a character is about as long as a morpheme (Li et al. 2019 find that
    this beats segmenting Chinese into words). A letter of an alphabet, such as Thai, says much less, and texts would be
    several times as long; there it is BPE.

    Args:
        usual: the default of the model and the task.
        scripts: script -> its share of the letters of the training texts.

    Returns:
        The tokenizer, and the reason for the user if it is not the usual one.
    """
    unspaced = {name: share for name, share in scripts.items() if name in word_patterns.UNSPACED}
    total = sum(unspaced.values())
    if usual not in WHOLE_WORDS or total < UNSPACED_SHARE:
        return usual, None
    ideographs = sum(share for name, share in unspaced.items() if name in word_patterns.IDEOGRAPHIC)
    kind = "character" if 2 * ideographs >= total else "bpe"
    names = " and ".join(unspaced)
    return kind, (
        f"tokenizer {kind}, because {total:.0%} of the letters are {names}, which"
        f" {'is' if len(unspaced) == 1 else 'are'} written without blanks; set data.tokenizer to choose another"
    )


def tokenizer_of(choice: TokenizerChoice, data: Data, train: Dataset) -> PreTrainedTokenizerBase:
    """The pretrained tokenizer of `choice`, or one trained on the split `train`, for texts or pairs as in `train`."""
    is_pairs = "text_pair" in train.column_names
    if is_pairs and choice.pair_encoding != "apart" and choice.tokenizer == "word" and data.vocab_size is not None:
        data = replace(data, vocab_size=data.vocab_size - 1)  # of the kinds, it alone gets a separator afterwards
    if "target" in train.column_names:
        return _for_translation(choice, data, train)
    tokenizer = _for_single_texts(choice, data, train)
    return text_pairs.for_pairs(tokenizer, choice.pair_encoding) if is_pairs else tokenizer


def _for_translation(choice: TokenizerChoice, data: Data, train: Dataset) -> PreTrainedTokenizerBase:
    if not data.separate_vocabs:
        return translated.for_translation(_for_single_texts(choice, data, train), data.prefix)
    source, target = (
        translated.for_translation(_for_single_texts(choice, data, train, (role,)), None) for role in ("text", "target")
    )
    return translated.for_translation(translated.with_two_vocabularies(source, target), data.prefix)


def _for_single_texts(
    choice: TokenizerChoice, data: Data, train: Dataset, roles: Sequence[str] = ("text", "text_pair", "target")
) -> PreTrainedTokenizerBase:
    """For the texts of these `roles`, or for words of sentences."""
    pretokenized = "tokens" in train.column_names
    if choice.tokenizer in TRAINED_TOKENIZERS:
        return tokenizers.train(
            choice.tokenizer,
            _Texts(train, roles),
            data,
            pretokenized=pretokenized,
            writes="target" in train.column_names,
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

    def __init__(self, rows: Dataset, roles: Sequence[str]):
        self._rows, self._roles = rows, roles

    def __iter__(self) -> Iterator[str]:
        for batch in self.batches():
            yield from batch.to_pylist()

    def batches(self) -> Iterator[pa.Array]:
        """The same, some thousands at a time."""
        tokenized = "tokens" in self._rows.column_names
        for role in ("tokens",) if tokenized else self._roles:
            for part in arrow_column(self._rows, role) if role in self._rows.column_names else ():
                yield pc.list_flatten(whole(part)) if tokenized else whole(part)


def unknown_tokens(shares: Mapping[str, float]) -> str | None:
    """In words, the shares of unknown tokens in the splits where they are more than `MOST_UNKNOWN`."""
    high = [f"{share:.0%} of those of {split}" for split, share in shares.items() if share > MOST_UNKNOWN]
    return ", ".join(high).replace("those", "the tokens", 1) or None


def unknown_remedy(kind: str) -> str:
    """What to do if many tokens of a text are unknown to the tokenizer `kind`."""
    if kind in WHOLE_WORDS:
        return "set data.tokenizer bpe or character, or data.min_frequency 1 if there are few training rows"
    if kind in TRAINED_TOKENIZERS:
        return "set data.tokenizer bpe, to which nothing is unknown, or data.min_frequency 1"
    return "it was made for other texts; choose a model or a tokenizer for the language of the data"


def unknown_warnings(choice: TokenizerChoice, shares: Mapping[str, float]) -> list[str]:
    """A line if many tokens are unknown.

    Args:
        shares: split -> share of its tokens that are unknown.
    """
    unknown = unknown_tokens(shares)
    if not unknown or choice.characters:  # a model that reads characters can read an unknown word
        return []
    remedy = unknown_remedy(choice.tokenizer)
    return [f"{unknown} are unknown to the tokenizer {choice.tokenizer}; {remedy}"]


def _folder_digest(tokenizer: str) -> str | None:
    """Hash of a local tokenizer's files."""
    folder = None if tokenizer in TRAINED_TOKENIZERS else paths.saved_tokenizer(tokenizer, "data.tokenizer")
    if folder is None:
        return None
    files = sorted(file for file in folder.iterdir() if file.suffix in (".json", ".txt", ".model", ".bpe"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
