"""The kinds of tokenizers that are trained: what each does to a text, and its special tokens."""

from __future__ import annotations

from typing import Any

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from pipeline.config.data import TRAINED_TOKENIZERS, Data
from pipeline.data.tokenization import word_patterns

PAD, UNK, CLS, SEP, MASK, EOS = "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[EOS]"
WORDS, PIECES, CLOSED_WORDS = 30_000, 8_000, 100_000
MIN_FREQUENCY = 2
# Characters of a word that WordPiece looks at, which takes time that grows with their square. A longer word would be
# unknown, so it is cut into parts.
LONGEST_WORD = 200
# transformers' stop strings write "abcdef" with a vocabulary to learn how it joins pieces, and fail if they cannot.
WRITABLE = "abcdef"
# HTML line breaks are read as blanks.
BREAKS = Regex(r"<br\s*+/?>")
DIGIT = Regex(r"\d")
# The time to train BPE grows with the square of the longest piece.
UNBROKEN = Regex(r"\S{500}")
PART_OF_WORD = Regex(rf"\S{{{LONGEST_WORD}}}")
BLANKS, CODE_POINT = Regex(r"\s+"), Regex(r"(?m).")  # (?m) lets the point match line breaks in Ruby's syntax


def _options(data: Data, size: int) -> dict[str, Any]:
    return {
        "vocab_size": data.vocab_size or size,
        "min_frequency": data.min_frequency or MIN_FREQUENCY,
        "show_progress": False,
    }


def normalizer_for(data: Data, lowercase: bool = True, breaks: bool = True) -> normalizers.Normalizer:
    """NFC, unless `breaks` is False blanks for HTML line breaks, lower case as `data` says or by default, and 0 for
    each digit if `data` says so."""
    steps = [normalizers.NFC(), *([normalizers.Replace(BREAKS, " ")] if breaks else [])]
    return normalizers.Sequence([*steps, *_fewer_forms(data, lowercase)])


def _fewer_forms(data: Data, lowercase: bool) -> list[normalizers.Normalizer]:
    """What makes words equal that differ in their case, or in their digits."""
    steps: list[normalizers.Normalizer] = []
    if lowercase if data.lowercase is None else data.lowercase:
        steps.append(normalizers.Lowercase())
    if data.zero_digits:
        steps.append(normalizers.Replace(DIGIT, "0"))
    return steps


def _word(data: Data) -> tuple[Tokenizer, Any, dict[str, str]]:
    tokenizer = Tokenizer(models.WordLevel(unk_token=UNK))
    tokenizer.normalizer = normalizer_for(data)
    tokenizer.pre_tokenizer = word_patterns.splitter(word_patterns.VOCABULARY)
    trainer = trainers.WordLevelTrainer(special_tokens=[PAD, UNK], **_options(data, WORDS))
    return tokenizer, trainer, {"pad_token": PAD, "unk_token": UNK}


def _bpe(data: Data) -> tuple[Tokenizer, Any, dict[str, str]]:
    """Byte-level like GPT-2's (Radford et al. 2019): no text is unknown. Case is kept unless data.lowercase is set."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizer_for(data, lowercase=False)
    pieces = pre_tokenizers.Split(UNBROKEN, "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pieces, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(special_tokens=[PAD, EOS], initial_alphabet=alphabet, **_options(data, PIECES))
    return tokenizer, trainer, {"pad_token": PAD, "eos_token": EOS}


def _wordpiece(data: Data) -> tuple[Tokenizer, Any, dict[str, str]]:
    """Like BERT's (Devlin et al. 2019), with [CLS] and [SEP] around each text, except that accents are kept."""
    tokenizer = Tokenizer(models.WordPiece(unk_token=UNK, max_input_chars_per_word=LONGEST_WORD))
    tokenizer.normalizer = normalizer_for(data)
    parts, words = pre_tokenizers.Split(PART_OF_WORD, "isolated"), word_patterns.splitter(word_patterns.VOCABULARY)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([parts, words])
    tokenizer.decoder = decoders.WordPiece()
    special = [PAD, UNK, CLS, SEP, MASK]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{CLS} $A {SEP}", pair=f"{CLS} $A {SEP} $B:1 {SEP}:1", special_tokens=[(CLS, 2), (SEP, 3)]
    )
    options = {"initial_alphabet": [*WRITABLE], **_options(data, PIECES)}
    trainer = trainers.WordPieceTrainer(special_tokens=special, **options)
    names = ("pad_token", "unk_token", "cls_token", "sep_token", "mask_token")
    return tokenizer, trainer, dict(zip(names, special, strict=True))


def _whitespace(data: Data) -> tuple[Tokenizer, Any, dict[str, str]]:
    """Words separated by blanks, for corpora that are already tokenized into words, with <unk> for rare ones
    (Mikolov's Penn Treebank, WikiText): that string is the unknown token."""
    special = {"pad_token": "<pad>", "unk_token": "<unk>", "eos_token": "<eos>"}
    tokenizer = Tokenizer(models.WordLevel(unk_token=special["unk_token"]))
    if steps := _fewer_forms(data, lowercase=False):
        tokenizer.normalizer = normalizers.Sequence(steps)
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    options = {**_options(data, CLOSED_WORDS), "min_frequency": data.min_frequency or 1}
    return tokenizer, trainers.WordLevelTrainer(special_tokens=[*special.values()], **options), special


def _character(data: Data) -> tuple[Tokenizer, Any, dict[str, str]]:
    """Each code point in NFC is a token, so decoding restores every letter with its marks. A run of blanks is one
    token, and blanks around a text are dropped. Case is kept unless data.lowercase is set."""
    tokenizer = Tokenizer(models.WordLevel(unk_token=UNK))
    lines = [normalizer_for(data, lowercase=False), normalizers.Replace(BLANKS, " "), normalizers.Strip()]
    tokenizer.normalizer = normalizers.Sequence(lines)
    tokenizer.pre_tokenizer = pre_tokenizers.Split(CODE_POINT, "isolated")
    tokenizer.decoder = decoders.Fuse()
    special = {"pad_token": PAD, "unk_token": UNK, "eos_token": EOS}
    trainer = trainers.WordLevelTrainer(special_tokens=[*special.values()], **_options(data, WORDS))
    return tokenizer, trainer, special


KINDS = {
    "word": _word,
    "bpe": _bpe,
    "wordpiece": _wordpiece,
    "whitespace": _whitespace,
    "character": _character,
}
assert tuple(KINDS) == TRAINED_TOKENIZERS
# Tokenizers that lowercase words unless data.lowercase is False.
LOWER_CASING = {"word", "wordpiece"}
# How tokenizers of lists of words split each word; a byte-level one marks where a word begins.
PRETOKENIZED = {
    "word": pre_tokenizers.WhitespaceSplit(),
    "bpe": pre_tokenizers.ByteLevel(add_prefix_space=True),
    "character": pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Split(CODE_POINT, "isolated")]
    ),
}
