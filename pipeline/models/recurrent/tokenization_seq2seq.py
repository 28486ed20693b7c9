"""Tokenizer of recurrent encoder-decoders whose source and target texts have vocabularies of their own."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Iterator
from typing import Any, ClassVar

from tokenizers import Tokenizer
from transformers import BatchEncoding, PreTrainedTokenizerFast

SOURCE_FILE = "source_tokenizer.json"


class RecurrentSeq2SeqTokenizer(PreTrainedTokenizerFast):
    """
    A fast tokenizer that reads source texts with one vocabulary, and target texts (`text_target`) with another. As in
    Marian, decoding is about target texts unless `use_source_tokenizer=True`; so are the vocabulary and the length of
    the tokenizer. Special tokens have the same ids on both sides.

    Args:
        source_tokenizer_file (`str`, *optional*):
            File of the tokenizer of source texts. That of target texts is the `tokenizer_file`.
    """

    _auto_class = "AutoTokenizer"
    vocab_files_names: ClassVar[dict[str, str]] = {
        "tokenizer_file": "tokenizer.json",
        "source_tokenizer_file": SOURCE_FILE,
    }
    _reads_targets = False

    @functools.cached_property
    def source_tokenizer(self) -> Tokenizer:
        """That of source texts."""
        file = self.init_kwargs.get("source_tokenizer_file")
        if file is None:
            raise ValueError(f"{SOURCE_FILE} is missing, which this tokenizer needs to read source texts")
        return Tokenizer.from_file(file)

    @property
    def source_vocab_size(self) -> int:
        """Number of tokens of source texts, those that were added included."""
        return self.source_tokenizer.get_vocab_size()

    # transformers calls these two around `text_target`.
    def _switch_to_input_mode(self) -> None:
        self._reads_targets = False

    def _switch_to_target_mode(self) -> None:
        self._reads_targets = True

    def _encode_plus(self, *args: Any, **kwargs: Any) -> BatchEncoding:
        with contextlib.nullcontext() if self._reads_targets else self._of_sources():
            return super()._encode_plus(*args, **kwargs)

    def _decode(self, token_ids: int | list[int], *args: Any, use_source_tokenizer: bool = False, **kwargs: Any) -> str:
        with self._of_sources() if use_source_tokenizer else contextlib.nullcontext():
            return super()._decode(token_ids, *args, **kwargs)

    @contextlib.contextmanager
    def _of_sources(self) -> Iterator[None]:
        """Within this context, the tokenizer is that of source texts."""
        target = self.backend_tokenizer
        self._tokenizer = self.source_tokenizer
        try:
            yield
        finally:
            self._tokenizer = target

    def _save_pretrained(
        self, save_directory: str | os.PathLike, file_names: tuple[str, ...], *args: Any, **kwargs: Any
    ) -> tuple[str, ...]:
        file = os.path.join(save_directory, SOURCE_FILE)
        self.source_tokenizer.save(file)
        return (*super()._save_pretrained(save_directory, file_names, *args, **kwargs), file)


__all__ = ["RecurrentSeq2SeqTokenizer"]
