"""Tokenizers of whole words or characters whose tokens write their own blanks, as language models need it.

A vocabulary of words has no blanks: decoded alone, new words lack the one before the first of them. Here they are
spelled in the alphabet of byte-level BPE (Radford et al. 2019), where `Ġ` is a blank, and each word has one before it.
transformers' stop strings read such vocabularies, too; of others they need that "abcdef" can be written.
"""

from __future__ import annotations

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

BLANK = "Ġ"
# Decoder -> whether it writes a blank between tokens. None joins words with blanks, Fuse characters without.
BLANKS_BETWEEN = {type(None): True, decoders.Fuse: False}


def write_blanks(tokenizer: Tokenizer) -> None:
    """Change the vocabulary and the decoder of `tokenizer` as above. A text keeps its ids; byte-level BPE is as it
    should be."""
    if isinstance(tokenizer.model, models.WordPiece):
        # Its pieces are not blanks and letters alone: the decoder tells the first one of a word from the others.
        inner = tokenizer.model.continuing_subword_prefix
        first = decoders.Replace(Regex(rf"\A(?!{inner})"), " ")
        tokenizer.decoder = decoders.Sequence([first, decoders.Replace(Regex(rf"\A{inner}"), ""), decoders.Fuse()])
    elif isinstance(tokenizer.model, models.WordLevel) and type(tokenizer.decoder) in BLANKS_BETWEEN:
        _spell_in_bytes(tokenizer, BLANKS_BETWEEN[type(tokenizer.decoder)])


def _spell_in_bytes(tokenizer: Tokenizer, blanks_between: bool) -> None:
    """Spell a vocabulary in bytes, except special tokens.

    Args:
        blanks_between: whether tokens are words, with a blank before each, or the characters of a text.
    """
    vocabulary, unknown = tokenizer.get_vocab(with_added_tokens=False), tokenizer.model.unk_token
    special = {token.content for token in tokenizer.get_added_tokens_decoder().values()}
    spell = pre_tokenizers.ByteLevel(add_prefix_space=blanks_between, use_regex=False)
    spelled = {
        word if word in special else spell.pre_tokenize_str(word)[0][0]: index for word, index in vocabulary.items()
    }
    tokenizer.model = models.WordLevel(spelled, unk_token=unknown)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([tokenizer.pre_tokenizer, spell])
    blank_before_unknown = [decoders.Replace(unknown, BLANK + unknown)] if blanks_between else []
    tokenizer.decoder = decoders.Sequence([*blank_before_unknown, decoders.ByteLevel()])
