"""Tokenizers: of words, pieces of words or characters, trained on the training split, or a pretrained one."""

from __future__ import annotations

import functools
import itertools
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast
from transformers.tokenization_utils_base import VERY_LARGE_INTEGER

from pipeline.config import paths
from pipeline.config.data import WHOLE_WORDS, Data
from pipeline.data import text_stats
from pipeline.data.tokenization import word_patterns
from pipeline.data.tokenization.tokenizer_kinds import (
    KINDS,
    LONGEST_WORD,
    LOWER_CASING,
    MIN_FREQUENCY,
    PRETOKENIZED,
    UNK,
    WRITABLE,
    normalizer_for,
)
from pipeline.errors import UserError, reason
from pipeline.hub import download
from pipeline.models.recurrent import RecurrentForCausalLM, RecurrentTokenizer

WORDS_WITH_VECTORS = 100_000
LETTERS_OF_PIECES = 1000  # the trainer keeps no more
SAMPLE = 20_000  # texts, or words, that show how the data is written
TEXTS_AT_ONCE = 1000
# Setting in tokenizer_config.json: each letter and digit was a word in the training data.
ONE_BY_ONE = "words_are_characters"
# Set in tokenizer_config.json if they were longer words of such a script.
WITHOUT_BLANKS = "words_without_blanks"


def train(
    kind: str,
    texts: Iterable[str],
    data: Data,
    *,
    pretokenized: bool = False,
    writes: bool = False,
    characters: bool = False,
    known_words: Iterable[str] = (),
) -> PreTrainedTokenizerFast:
    """A tokenizer of `kind`, a key of `KINDS`, for `texts`, which must be of the training split alone.

    It loads with `AutoTokenizer` anywhere, truncates to data.max_length, and returns input_ids and attention_mask.

    Args:
        texts: a list or another iterable that can be read more than once, as training WordPiece does.
        pretokenized: the texts are words of sentences, and the tokenizer will be given lists of words: a word
            tokenizer then keeps each of them whole, and cuts running text as predictions do. If the words are single
            characters of a script without blanks, running text is cut into such characters by a tokenizer of any kind.
        writes: a model will write texts like these, so that HTML line breaks are not read as blanks.
        characters: it also returns char_ids, the characters of each token. Words are looked up in lower case, as
            data.lowercase says, but their characters keep their case unless data.lowercase is set. Characters are known
            if they occur at least data.min_frequency times in `texts`.
        known_words: words that get a token whether or not they are in `texts`, the more useful first, until
            data.vocab_size is reached.

    Raises:
        UserError: data.vocab_size is less than the tokens that every tokenizer of this kind has for these texts.
    """
    tokenizer, trainer, special = KINDS[kind](data)
    if pretokenized:
        tokenizer.pre_tokenizer = PRETOKENIZED.get(kind, tokenizer.pre_tokenizer)
        tokenizer.normalizer = normalizer_for(data, lowercase=kind in LOWER_CASING, breaks=False)
    elif writes and kind == "bpe":
        tokenizer.normalizer = normalizer_for(data, lowercase=False, breaks=False)
    counts: Counter[str] = Counter()
    read = functools.partial(_without, texts, special.values())
    if kind == "wordpiece":
        _isolate_ideographs(tokenizer, itertools.islice(texts, SAMPLE))
        _number_letters(tokenizer, trainer, read())
    tokenizer.train_from_iterator(_counted(read(), counts, data) if characters else read(), trainer)
    if kind == "wordpiece":
        tokenizer = _letters_no_longer_special(tokenizer, special.values())
    _check_size(tokenizer, kind, data)
    _add_words(tokenizer, known_words, data.vocab_size or WORDS_WITH_VECTORS)
    cuts = _cut_running_text(tokenizer, kind, characters, itertools.islice(texts, SAMPLE)) if pretokenized else {}
    known = sorted(character for character, count in counts.items() if count >= (data.min_frequency or MIN_FREQUENCY))
    spelling: dict[str, Any] = {}
    if characters:
        spelling = {"characters": "".join(known), "lowercase_characters": bool(data.lowercase)}
        spelling |= {"zero_digits": True} if data.zero_digits else {}
    inputs = ["input_ids", "attention_mask"]
    return (RecurrentTokenizer if characters else PreTrainedTokenizerFast)(
        tokenizer_object=tokenizer,
        model_max_length=data.max_length,
        model_input_names=[*inputs, "char_ids"] if characters else inputs,
        clean_up_tokenization_spaces=False,
        padding_side="right",
        **spelling,
        **special,
        **cuts,
    )


def _cut_running_text(tokenizer: Tokenizer, kind: str, characters: bool, words: Iterable[str]) -> dict[str, Any]:
    """Make a tokenizer of lists of words cut running text into words like `words`.

    Returns:
        What tokenizer_config.json must say, for `segmentation.cutting`.
    """
    words = list(words)
    spelling = word_patterns.spelling(words)
    if kind in WHOLE_WORDS and spelling.scripts:
        words_like_these = (
            word_patterns.CHARACTERS if spelling.characters else word_patterns.by_character(spelling.scripts)
        )
        tokenizer.pre_tokenizer = word_patterns.splitter(words_like_these)
    elif kind in WHOLE_WORDS:
        pattern = word_patterns.TAGGED if characters else word_patterns.TAGGED_OR_WHOLE
        tokenizer.pre_tokenizer = word_patterns.splitter(pattern)
    elif spelling.scripts:
        apart = word_patterns.isolated(spelling.scripts)
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([apart, tokenizer.pre_tokenizer])
    if spelling.characters:
        return {ONE_BY_ONE: True}
    return (
        {WITHOUT_BLANKS: True}
        if any(len(word) > 1 and word[0] >= word_patterns.FIRST_UNSPACED for word in words)
        else {}
    )


def _isolate_ideographs(tokenizer: Tokenizer, texts: Iterable[str]) -> None:
    """Make each Chinese character a word, as BERT does, if `texts` have some; so the kana around them."""
    scripts = word_patterns.IDEOGRAPHIC & set(text_stats.script_shares(texts))
    if scripts:
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([word_patterns.isolated(scripts), tokenizer.pre_tokenizer])


def _number_letters(tokenizer: Tokenizer, trainer: Any, texts: Iterable[str]) -> None:
    """Make `trainer` find the same pieces in every process.

    It breaks ties by the ids of pieces, and numbers the letters within words in the order of a hash table with a random
    seed. As special tokens they have their ids before it begins.
    """
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(tokenizer.normalizer.normalize_str(text))
    letters = sorted(counts, key=lambda letter: (-counts[letter], letter))[:LETTERS_OF_PIECES]
    letters = sorted({*letters, *WRITABLE})
    inner = [trainer.continuing_subword_prefix + letter for letter in letters if not letter.isspace()]
    trainer.special_tokens = [*trainer.special_tokens, *inner]


def _letters_no_longer_special(tokenizer: Tokenizer, special: Iterable[str]) -> Tokenizer:
    """The same tokenizer with `special` as its only special tokens."""
    plain = Tokenizer(models.WordPiece(tokenizer.get_vocab(), unk_token=UNK, max_input_chars_per_word=LONGEST_WORD))
    plain.normalizer, plain.pre_tokenizer = tokenizer.normalizer, tokenizer.pre_tokenizer
    plain.decoder, plain.post_processor = tokenizer.decoder, tokenizer.post_processor
    plain.add_special_tokens(list(special))
    return plain


def _check_size(tokenizer: Tokenizer, kind: str, data: Data) -> None:
    found = tokenizer.get_vocab_size()
    if data.vocab_size is not None and found > data.vocab_size:
        raise UserError(
            f"data.vocab_size: {data.vocab_size} is too small for the tokenizer {kind}: its special tokens and single"
            f" {'bytes' if kind == 'bpe' else 'letters'} alone are {found}; set it to at least {found}"
        )


def _add_words(tokenizer: Tokenizer, known: Iterable[str], size: int) -> None:
    """Give `known` words, normalised as the tokenizer does, ids after those of training, up to `size` in all.

    Raises:
        UserError: they contain no word of the training split: the language or the kind of file is wrong.
    """
    trained = tokenizer.get_vocab()
    vocabulary = dict(trained)
    shared, known = 0, list(known)
    for word in known:
        normal = tokenizer.normalizer.normalize_str(word) if tokenizer.normalizer else word
        shared += normal in trained
        if len(vocabulary) < size:
            vocabulary.setdefault(normal, len(vocabulary))
    if known and not shared:
        raise UserError(f"model.vectors: it has no vector for any of the {len(trained)} words of the vocabulary")
    if len(vocabulary) > len(trained):
        tokenizer.model = models.WordLevel(vocabulary, unk_token=tokenizer.model.unk_token)


def _without(texts: Iterable[str], special: Iterable[str]) -> Iterator[str]:
    """`texts` without special tokens that occur in them as text, which would enter the vocabulary twice."""
    pattern = re.compile("|".join(map(re.escape, special)))
    for part in _parts(texts):
        # One search for many texts: special tokens hardly ever occur in any.
        if pattern.search("\n".join(part)):
            part = [pattern.sub(" ", text) for text in part]
        yield from part


def _counted(texts: Iterable[str], counts: Counter[str], data: Data) -> Iterator[str]:
    """`texts`, while counting their characters as `RecurrentTokenizer.spell` reads them, except blanks."""
    for part in _parts(texts):
        normal = unicodedata.normalize("NFC", " ".join(part))
        normal = normal.lower() if data.lowercase else normal
        normal = re.sub(r"\d", "0", normal) if data.zero_digits else normal
        counts.update("".join(normal.split()))
        yield from part


def _parts(texts: Iterable[str]) -> Iterator[list[str]]:
    pending = iter(texts)
    while part := list(itertools.islice(pending, TEXTS_AT_ONCE)):
        yield part


def load_tokenizer(
    name: str, revision: str | None = None, pretokenized: bool = False, trust_remote_code: bool = False
) -> PreTrainedTokenizerBase:
    """The pretrained tokenizer `name`: a folder, a Hub id, sample:gpt2 or sample:minilm.

    Args:
        pretokenized: it will be given lists of words; a byte-level one then marks where each word begins.
        trust_remote_code: whether code that comes with it is run.

    Raises:
        UserError: it cannot be found or loaded.
    """
    folder = paths.saved_tokenizer(name, "data.tokenizer") or download.snapshot(name, revision, "data.tokenizer")
    if (folder / "encoder.json").is_file():
        return _from_encoder(folder, pretokenized)
    path, options = str(folder), {"trust_remote_code": trust_remote_code}
    try:
        tokenizer = AutoTokenizer.from_pretrained(path, **options)
        if pretokenized and _joins_first_word(tokenizer):
            tokenizer = AutoTokenizer.from_pretrained(path, add_prefix_space=True, **options)
        tokenizer("a \N{SNOWMAN}", verbose=False)  # some load but cannot tokenize a text
    except Exception as error:  # the Rust side raises bare Exception for a file that it cannot parse
        raise UserError(f"{name}: its tokenizer cannot be loaded: {_reason(error)}") from error
    if tokenizer.pad_token is None:  # GPT-2 has none; padding is masked anyway
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
    _check_tokenizer(tokenizer, name)
    if _is_of_recurrent_language_model(folder):
        tokenizer.model_max_length = VERY_LARGE_INTEGER  # an older version kept the window of its training here
    return tokenizer


def _is_of_recurrent_language_model(folder: Path) -> bool:
    file = folder / "config.json"
    config = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    return RecurrentForCausalLM.__name__ in (config.get("architectures") or ())


def _from_encoder(folder: Path, pretokenized: bool) -> PreTrainedTokenizerFast:
    """GPT-2's byte-level BPE from the files that OpenAI published (Radford et al. 2019)."""
    tokenizer = Tokenizer(models.BPE.from_file(str(folder / "encoder.json"), str(folder / "vocab.bpe")))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=pretokenized)
    tokenizer.decoder = decoders.ByteLevel()
    end = "<|endoftext|>"
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=end,
        eos_token=end,
        pad_token=end,  # padding is masked anyway
        model_input_names=["input_ids", "attention_mask"],
        clean_up_tokenization_spaces=False,
    )


def _joins_first_word(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether it is byte-level and reads a single word as a continuation of another one."""
    cutter = tokenizer.backend_tokenizer.pre_tokenizer if tokenizer.is_fast else None
    return cutter is not None and b'"add_prefix_space":false' in cutter.__getstate__()


def _check_tokenizer(tokenizer: PreTrainedTokenizerBase, name: str) -> None:
    if tokenizer.pad_token_id is None or (tokenizer.unk_token_id is None and tokenizer.eos_token_id is None):
        raise UserError(f"{name}: its tokenizer lacks a token for padding or for unknown words; add [PAD] and [UNK]")
    length = tokenizer.model_max_length
    if not isinstance(length, (int, float)) or length < 1:
        raise UserError(f"{name}: model_max_length in tokenizer_config.json is {length!r}; expected a number of tokens")


def _reason(error: BaseException) -> str:
    untrusted = "it comes with its own code, which runs only with trust_remote_code"
    return untrusted if "trust_remote_code" in str(error) else reason(error)


def check_length(tokenizer: PreTrainedTokenizerBase, max_length: int, name: str) -> None:
    """Refuse rows longer than a pretrained model has positions for."""
    if max_length > tokenizer.model_max_length:
        raise UserError(
            f"data.max_length: {max_length} is more than the {tokenizer.model_max_length} tokens that {name} can read;"
            f" set it to at most {tokenizer.model_max_length}"
        )
