"""Tokenizers: of words, BPE or WordPiece, trained on the training split, or a pretrained one."""

from __future__ import annotations

import functools
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from pipeline.config import paths
from pipeline.config.data import TRAINED_TOKENIZERS, Data
from pipeline.data import word_patterns
from pipeline.errors import UserError, reason
from pipeline.hub import download
from pipeline.models.recurrent import RecurrentTokenizer

PAD, UNK, CLS, SEP, MASK, EOS = "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[EOS]"
WORDS, PIECES, CLOSED_WORDS, WORDS_WITH_VECTORS = 30_000, 8_000, 100_000, 100_000
MIN_FREQUENCY = 2
LETTERS_OF_PIECES = 1000  # the trainer keeps no more
# HTML line breaks are read as blanks.
BREAKS = Regex(r"<br\s*+/?>")
# The time to train BPE grows with the square of the longest piece.
UNBROKEN = Regex(r"\S{500}")


def train(
    kind: str,
    texts: Iterable[str],
    data: Data,
    *,
    pretokenized: bool = False,
    characters: bool = False,
    known_words: Iterable[str] = (),
) -> PreTrainedTokenizerFast:
    """A tokenizer of `kind` (word, bpe, wordpiece, whitespace) for `texts`, which must be of the training split alone.

    It loads with `AutoTokenizer` anywhere, truncates to data.max_length, and returns input_ids and attention_mask.

    Args:
        texts: a list or another iterable that can be read more than once, as training WordPiece does.
        pretokenized: the texts are words of sentences, and the tokenizer will be given lists of words: a word
            tokenizer then keeps each of them whole. It cuts running text at blanks only, or as predictions do if it
            reads characters.
        characters: it also returns char_ids, the characters of each token. Words are looked up in lower case, as
            data.lowercase says, but their characters keep their case unless data.lowercase is set. Characters are known
            if they occur at least data.min_frequency times in `texts`.
        known_words: words that get a token whether or not they are in `texts`, the more useful first, until
            data.vocab_size is reached.
    """
    tokenizer, trainer, special = KINDS[kind](data)
    if pretokenized:
        tokenizer.pre_tokenizer = PRETOKENIZED.get(kind, tokenizer.pre_tokenizer)
        tokenizer.normalizer = _normalizer(data, lowercase=kind in LOWER_CASING, breaks=False)
    counts: Counter[str] = Counter()
    read = functools.partial(_without, texts, special.values())
    if kind == "wordpiece":
        _number_letters(tokenizer, trainer, read())
    tokenizer.train_from_iterator(_counted(read(), counts, bool(data.lowercase)) if characters else read(), trainer)
    if kind == "wordpiece":
        tokenizer = _letters_no_longer_special(tokenizer, special.values())
    _add_words(tokenizer, known_words, data.vocab_size or WORDS_WITH_VECTORS)
    if pretokenized and characters:
        tokenizer.pre_tokenizer = word_patterns.splitter(word_patterns.TAGGED)
    known = sorted(character for character, count in counts.items() if count >= (data.min_frequency or MIN_FREQUENCY))
    spelling = {"characters": "".join(known), "lowercase_characters": bool(data.lowercase)} if characters else {}
    inputs = ["input_ids", "attention_mask"]
    return (RecurrentTokenizer if characters else PreTrainedTokenizerFast)(
        tokenizer_object=tokenizer,
        model_max_length=data.max_length,
        model_input_names=[*inputs, "char_ids"] if characters else inputs,
        clean_up_tokenization_spaces=False,
        padding_side="right",
        **spelling,
        **special,
    )


def _number_letters(tokenizer: Tokenizer, trainer: Any, texts: Iterable[str]) -> None:
    """Make `trainer` find the same pieces in every process.

    It breaks ties by the ids of pieces, and numbers the letters within words in the order of a hash table with a random
    seed. As special tokens they have their ids before it begins.
    """
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(tokenizer.normalizer.normalize_str(text))
    letters = sorted(counts, key=lambda letter: (-counts[letter], letter))[:LETTERS_OF_PIECES]
    inner = [trainer.continuing_subword_prefix + letter for letter in sorted(letters) if not letter.isspace()]
    trainer.special_tokens = [*trainer.special_tokens, *inner]


def _letters_no_longer_special(tokenizer: Tokenizer, special: Iterable[str]) -> Tokenizer:
    """The same tokenizer with `special` as its only special tokens."""
    plain = Tokenizer(models.WordPiece(tokenizer.get_vocab(), unk_token=UNK))
    plain.normalizer, plain.pre_tokenizer = tokenizer.normalizer, tokenizer.pre_tokenizer
    plain.decoder, plain.post_processor = tokenizer.decoder, tokenizer.post_processor
    plain.add_special_tokens(list(special))
    return plain


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
    for text in texts:
        for token in special:
            if token in text:
                text = text.replace(token, " ")
        yield text


def _counted(texts: Iterable[str], counts: Counter[str], lowercase: bool) -> Iterator[str]:
    """`texts`, while counting their characters except blanks."""
    for text in texts:
        normal = unicodedata.normalize("NFC", text)
        counts.update("".join((normal.lower() if lowercase else normal).split()))
        yield text


def _options(data: Data, size: int) -> dict[str, Any]:
    return {
        "vocab_size": data.vocab_size or size,
        "min_frequency": data.min_frequency or MIN_FREQUENCY,
        "show_progress": False,
    }


def _normalizer(data: Data, lowercase: bool = True, breaks: bool = True) -> normalizers.Normalizer:
    steps = [normalizers.NFC(), *([normalizers.Replace(BREAKS, " ")] if breaks else [])]
    if lowercase if data.lowercase is None else data.lowercase:
        steps.append(normalizers.Lowercase())
    return normalizers.Sequence(steps)


def _word(data: Data) -> tuple[Tokenizer, Any, dict[str, str]]:
    tokenizer = Tokenizer(models.WordLevel(unk_token=UNK))
    tokenizer.normalizer = _normalizer(data)
    tokenizer.pre_tokenizer = word_patterns.splitter(word_patterns.VOCABULARY)
    trainer = trainers.WordLevelTrainer(special_tokens=[PAD, UNK], **_options(data, WORDS))
    return tokenizer, trainer, {"pad_token": PAD, "unk_token": UNK}


def _bpe(data: Data) -> tuple[Tokenizer, Any, dict[str, str]]:
    """Byte-level like GPT-2's (Radford et al. 2019): no text is unknown. Case is kept unless data.lowercase is set."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = _normalizer(data, lowercase=False)
    pieces = pre_tokenizers.Split(UNBROKEN, "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pieces, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(special_tokens=[PAD, EOS], initial_alphabet=alphabet, **_options(data, PIECES))
    return tokenizer, trainer, {"pad_token": PAD, "eos_token": EOS}


def _wordpiece(data: Data) -> tuple[Tokenizer, Any, dict[str, str]]:
    """Like BERT's (Devlin et al. 2019), with [CLS] and [SEP] around each text, except that accents are kept."""
    tokenizer = Tokenizer(models.WordPiece(unk_token=UNK))
    tokenizer.normalizer = _normalizer(data)
    tokenizer.pre_tokenizer = word_patterns.splitter(word_patterns.VOCABULARY)
    tokenizer.decoder = decoders.WordPiece()
    special = [PAD, UNK, CLS, SEP, MASK]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{CLS} $A {SEP}", pair=f"{CLS} $A {SEP} $B:1 {SEP}:1", special_tokens=[(CLS, 2), (SEP, 3)]
    )
    trainer = trainers.WordPieceTrainer(special_tokens=special, **_options(data, PIECES))
    names = ("pad_token", "unk_token", "cls_token", "sep_token", "mask_token")
    return tokenizer, trainer, dict(zip(names, special, strict=True))


def _whitespace(data: Data) -> tuple[Tokenizer, Any, dict[str, str]]:
    """Words separated by blanks, for corpora that are already tokenized into words, with <unk> for rare ones
    (Mikolov's Penn Treebank, WikiText): that string is the unknown token."""
    special = {"pad_token": "<pad>", "unk_token": "<unk>", "eos_token": "<eos>"}
    tokenizer = Tokenizer(models.WordLevel(unk_token=special["unk_token"]))
    if data.lowercase:
        tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    options = {**_options(data, CLOSED_WORDS), "min_frequency": data.min_frequency or 1}
    return tokenizer, trainers.WordLevelTrainer(special_tokens=[*special.values()], **options), special


KINDS = {"word": _word, "bpe": _bpe, "wordpiece": _wordpiece, "whitespace": _whitespace}
assert set(KINDS) <= set(TRAINED_TOKENIZERS)
# Tokenizers that lowercase words unless data.lowercase is False.
LOWER_CASING = {"word", "wordpiece"}
# How tokenizers of lists of words split each word; a byte-level one marks where a word begins.
PRETOKENIZED = {"word": pre_tokenizers.WhitespaceSplit(), "bpe": pre_tokenizers.ByteLevel(add_prefix_space=True)}


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
    return tokenizer


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
