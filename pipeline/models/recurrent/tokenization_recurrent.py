"""Tokenizer of recurrent models that read characters: a fast one that also returns the characters of each token."""

# Shapes: B rows, T tokens, W characters of a token.

from __future__ import annotations

import contextlib
import functools
import re
import unicodedata
from collections.abc import Iterator, Sequence
from typing import Any

from tokenizers import Encoding, pre_tokenizers
from transformers import BatchEncoding, PreTrainedTokenizerFast

PADDING, UNKNOWN = 0, 1


class RecurrentTokenizer(PreTrainedTokenizerFast):
    """
    A fast tokenizer that adds `char_ids` (B, T, W) to its output: the characters of each token as written in the text,
    also of unknown tokens. They are normalized to NFC only. Padding and special tokens have no characters.

    Words passed with `is_split_into_words=True` are tokens as they are; only running text is pre-tokenized.

    Args:
        characters (`str`):
            The known characters, with ids from 2. Padding has the id 0, any other character the id 1.
        max_characters (`int`, *optional*, defaults to 20):
            W. Longer tokens keep as many of their first and of their last characters.
        lowercase_characters (`bool`, *optional*, defaults to `False`):
            Whether to lowercase the characters.
        zero_digits (`bool`, *optional*, defaults to `False`):
            Whether to read each digit as 0 among the characters.
    """

    _auto_class = "AutoTokenizer"
    model_input_names = ["input_ids", "attention_mask", "char_ids"]  # noqa: RUF012 - as in transformers

    # Settings are read from `init_kwargs`, which are saved. A class with its own `__init__` would be rebuilt by
    # transformers from its vocabulary alone.
    @property
    def max_characters(self) -> int:
        return int(self.init_kwargs.get("max_characters", 20))

    @functools.cached_property
    def _character_ids(self) -> dict[str, int]:
        known = self.init_kwargs.get("characters")
        if known is None:
            raise ValueError("tokenizer_config.json is missing or has no `characters`, which this tokenizer needs")
        return {character: index for index, character in enumerate(known, start=2)}

    @property
    def char_vocab_size(self) -> int:
        """Number of character ids, including those of padding and of unknown characters."""
        return len(self._character_ids) + 2

    def spell(self, token: str) -> list[int]:
        """The (W,) character ids of `token`, given as written in the text."""
        token = unicodedata.normalize("NFC", token)
        if self.init_kwargs.get("lowercase_characters", False):
            token = token.lower()
        if self.init_kwargs.get("zero_digits", False):
            token = re.sub(r"\d", "0", token)
        width = self.max_characters
        if len(token) > width:
            # Prefixes and suffixes say more than the middle. With an odd width the prefix is one longer.
            token = token[: width - width // 2] + token[len(token) - width // 2 :]
        ids = [self._character_ids.get(character, UNKNOWN) for character in token]
        return ids + [PADDING] * (width - len(ids))

    def _encode_plus(
        self,
        text: Any,
        text_pair: Any = None,
        is_split_into_words: bool = False,
        return_tensors: Any = None,
        **kwargs: Any,
    ) -> BatchEncoding:
        with self._keep_words() if is_split_into_words else contextlib.nullcontext():
            encoded = super()._encode_plus(
                text, text_pair, is_split_into_words=is_split_into_words, return_tensors=return_tensors, **kwargs
            )
        samples = _samples(text, text_pair, is_split_into_words)
        # A long text may be cut into several rows, each with the index of the sample that it comes from.
        origins = encoded.get("overflow_to_sample_mapping", range(len(samples)))
        char_ids = [
            [self.spell(token) for token in _tokens(encoding, samples[int(origin)], is_split_into_words)]
            for encoding, origin in zip(encoded.encodings, origins, strict=True)
        ]
        has_rows = _is_batched(text, is_split_into_words) or kwargs.get("return_overflowing_tokens", False)
        if return_tensors is not None:
            encoded["char_ids"] = BatchEncoding({"char_ids": char_ids}, tensor_type=return_tensors)["char_ids"]
        else:
            encoded["char_ids"] = char_ids if has_rows else char_ids[0]
        return encoded

    @contextlib.contextmanager
    def _keep_words(self) -> Iterator[None]:
        pre_tokenizer = self._tokenizer.pre_tokenizer
        self._tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        try:
            yield
        finally:
            self._tokenizer.pre_tokenizer = pre_tokenizer

    def _pad(self, encoded_inputs: Any, *args: Any, **kwargs: Any) -> dict:
        """Pad the `char_ids` of one row on the same side as its `input_ids`."""
        side = kwargs.get("padding_side") or self.padding_side
        padded = super()._pad(encoded_inputs, *args, **kwargs)
        if "char_ids" in padded:
            rows = list(padded["char_ids"])
            missing = [[PADDING] * self.max_characters for _ in range(len(padded["input_ids"]) - len(rows))]
            padded["char_ids"] = rows + missing if side == "right" else missing + rows
        return padded


def _is_batched(text: Any, is_split_into_words: bool) -> bool:
    if is_split_into_words:
        return bool(text) and isinstance(text[0], (list, tuple))
    return isinstance(text, (list, tuple))


def _samples(text: Any, text_pair: Any, is_split_into_words: bool) -> list[tuple[Any, Any]]:
    """The text, or its words, and the paired text of each row, from the arguments of a tokenizer call."""
    if not _is_batched(text, is_split_into_words):
        return [(text, text_pair)]
    if text_pair is not None:
        return list(zip(text, text_pair, strict=True))
    is_pair = (list, tuple) if is_split_into_words else str
    return [
        tuple(row) if not isinstance(row, str) and len(row) == 2 and isinstance(row[0], is_pair) else (row, None)
        for row in text
    ]


def _tokens(encoding: Encoding, sample: tuple[Any, Any], is_split_into_words: bool) -> Iterator[str]:
    """Each token of `encoding` as written in its text; empty for padding and special tokens."""
    places: Sequence[tuple[int, int]] = encoding.offsets
    for sequence, word, (start, end) in zip(encoding.sequence_ids, encoding.word_ids, places, strict=True):
        if sequence is None:
            yield ""
        else:
            source = sample[sequence][word] if is_split_into_words else sample[sequence]
            yield source[start:end]


__all__ = ["RecurrentTokenizer"]
