"""Tokenizers: words, BPE or WordPiece trained on the training split, or a pretrained one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from pipeline import samples
from pipeline.errors import UserError
from pipeline.recipe import TRAINED_TOKENIZERS, Data

PAD, UNK, CLS, SEP, MASK, EOS = "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[EOS]"
WORDS, PIECES, CLOSED_WORDS = 30_000, 8_000, 100_000
MIN_FREQUENCY = 2
# HTML line breaks are blanks.
BREAKS = Regex(r"<br\s*/?>")
# A word is letters or digits with their marks (Hebrew points, Arabic vowels, joiners) and inner apostrophes, with the
# English clitics apart, as in the Penn Treebank and in published word vectors: do n't, it 's. An emoji is one token
# with its modifiers. Anything else that is not a blank stands alone, repetitions of it together.
LETTER, MARK, APOSTROPHE = r"[\p{L}\p{N}_]", r"[\p{M}\p{Cf}]", "['’]"
CLITIC = rf"(?i:n{APOSTROPHE}t|{APOSTROPHE}(?:s|m|d|ll|re|ve))(?!{LETTER})"
WORD = rf"(?:(?!{CLITIC}){LETTER}{MARK}*)+(?:(?!{CLITIC})['’״׳](?:(?!{CLITIC}){LETTER}{MARK}*)+)*"
EMOJI = r"\p{Extended_Pictographic}[\p{M}\p{Cf}\p{Sk}\p{Extended_Pictographic}]*"
TOKENS = Regex(rf"{CLITIC}|{WORD}|{EMOJI}|([^\s\p{{L}}\p{{N}}])\1*")


def train(kind: str, texts: Iterable[str], data: Data) -> PreTrainedTokenizerFast:
    """A tokenizer of `kind` (word, bpe, wordpiece, whitespace) for `texts`, which must be of the training split alone.

    It loads with `AutoTokenizer` anywhere, cuts at data.max_length, and gives input_ids and attention_mask.
    """
    tokenizer, trainer, special = KINDS[kind](data)
    tokenizer.train_from_iterator(_without(texts, special.values()), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=data.max_length,
        model_input_names=["input_ids", "attention_mask"],
        clean_up_tokenization_spaces=False,
        padding_side="right",
        **special,
    )


def _without(texts: Iterable[str], special: Iterable[str]) -> Iterator[str]:
    """`texts` without special tokens written out in them: as words they would take a second place in the vocabulary."""
    for text in texts:
        for token in special:
            if token in text:
                text = text.replace(token, " ")
        yield text


def _options(data: Data, size: int) -> dict[str, Any]:
    return {
        "vocab_size": data.vocab_size or size,
        "min_frequency": data.min_frequency or MIN_FREQUENCY,
        "show_progress": False,
    }


def _normalizer(data: Data, lowercase: bool = True) -> normalizers.Normalizer:
    steps = [normalizers.NFC(), normalizers.Replace(BREAKS, " ")]
    if lowercase if data.lowercase is None else data.lowercase:
        steps.append(normalizers.Lowercase())
    return normalizers.Sequence(steps)


def _word(data: Data) -> tuple[Tokenizer, Any, dict[str, str]]:
    tokenizer = Tokenizer(models.WordLevel(unk_token=UNK))
    tokenizer.normalizer = _normalizer(data)
    tokenizer.pre_tokenizer = pre_tokenizers.Split(TOKENS, "removed", invert=True)
    trainer = trainers.WordLevelTrainer(special_tokens=[PAD, UNK], **_options(data, WORDS))
    return tokenizer, trainer, {"pad_token": PAD, "unk_token": UNK}


def _bpe(data: Data) -> tuple[Tokenizer, Any, dict[str, str]]:
    """Byte-level, as GPT-2's: every text has tokens, and case is kept unless data.lowercase says otherwise."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = _normalizer(data, lowercase=False)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(special_tokens=[PAD, EOS], initial_alphabet=alphabet, **_options(data, PIECES))
    return tokenizer, trainer, {"pad_token": PAD, "eos_token": EOS}


def _wordpiece(data: Data) -> tuple[Tokenizer, Any, dict[str, str]]:
    """As BERT's (Devlin et al. 2019), accents kept: [CLS] and [SEP] around each text."""
    tokenizer = Tokenizer(models.WordPiece(unk_token=UNK))
    tokenizer.normalizer = _normalizer(data)
    tokenizer.pre_tokenizer = pre_tokenizers.Split(TOKENS, "removed", invert=True)
    tokenizer.decoder = decoders.WordPiece()
    special = [PAD, UNK, CLS, SEP, MASK]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{CLS} $A {SEP}", pair=f"{CLS} $A {SEP} $B {SEP}", special_tokens=[(CLS, 2), (SEP, 3)]
    )
    trainer = trainers.WordPieceTrainer(special_tokens=special, **_options(data, PIECES))
    names = ("pad_token", "unk_token", "cls_token", "sep_token", "mask_token")
    return tokenizer, trainer, dict(zip(names, special, strict=True))


def _whitespace(data: Data) -> tuple[Tokenizer, Any, dict[str, str]]:
    """Words as they stand between blanks, as in corpora that are cut into words and have their rare ones replaced by
    <unk> already (Mikolov's Penn Treebank, WikiText): that string is the unknown token."""
    special = {"pad_token": "<pad>", "unk_token": "<unk>", "eos_token": "<eos>"}
    tokenizer = Tokenizer(models.WordLevel(unk_token=special["unk_token"]))
    if data.lowercase:
        tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    options = {**_options(data, CLOSED_WORDS), "min_frequency": data.min_frequency or 1}
    return tokenizer, trainers.WordLevelTrainer(special_tokens=[*special.values()], **options), special


KINDS = {"word": _word, "bpe": _bpe, "wordpiece": _wordpiece, "whitespace": _whitespace}
assert tuple(KINDS) == TRAINED_TOKENIZERS


def load_tokenizer(name: str, revision: str | None = None) -> PreTrainedTokenizerBase:
    """The pretrained tokenizer `name`: a folder, a Hub id, sample:gpt2 or sample:minilm.

    Raises:
        UserError: it cannot be found or loaded.
    """
    path = str(find_sample(name)) if samples.is_sample(name) else name
    if (Path(path) / "encoder.json").is_file():
        return _from_encoder(Path(path))
    if Path(path).is_dir() and not any(Path(path).glob("*token*")) and not any(Path(path).glob("vocab*")):
        raise UserError(f"{name}: there is no tokenizer in this folder; it has no tokenizer.json")
    try:
        tokenizer = AutoTokenizer.from_pretrained(path, revision=revision or "main", trust_remote_code=False)
    except Exception as error:  # the Rust side raises bare Exception for a file that it cannot parse
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{name}: its tokenizer cannot be loaded: {reason}") from error
    if tokenizer.pad_token is None:  # GPT-2 has none; what is padded is masked anyway
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
    return tokenizer


def find_sample(name: str) -> Path:
    """The folder of a packaged tokenizer, or of a packaged checkpoint with one."""
    kind = "checkpoint" if name.removeprefix(samples.PREFIX) in samples.SAMPLES["checkpoint"] else "tokenizer"
    return samples.find(kind, name, "data.tokenizer")


def _from_encoder(folder: Path) -> PreTrainedTokenizerFast:
    """GPT-2's byte-level BPE in the form in which OpenAI published it (Radford et al. 2019)."""
    tokenizer = Tokenizer(models.BPE.from_file(str(folder / "encoder.json"), str(folder / "vocab.bpe")))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    end = "<|endoftext|>"
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=end,
        eos_token=end,
        pad_token=end,  # what is padded is masked anyway
        model_input_names=["input_ids", "attention_mask"],
        clean_up_tokenization_spaces=False,
    )


def check_length(tokenizer: PreTrainedTokenizerBase, max_length: int, name: str) -> None:
    """Refuse rows longer than a pretrained model has positions for."""
    if max_length > tokenizer.model_max_length:
        raise UserError(
            f"data.max_length: {max_length} is more than the {tokenizer.model_max_length} tokens that {name} was made"
            f" for; set it to at most {tokenizer.model_max_length}"
        )
