"""A text and its translation as token ids: both end with the end token, and the prefix stands in front of the text.

Both sides share one vocabulary, or have one each, in one tokenizer. It keeps the prefix (in tokenizer_config.json), so
that a saved model reads new texts as it has read those of training.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile
from typing import Any

from tokenizers import processors
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from pipeline.data.tokenization import text_pairs
from pipeline.errors import UserError
from pipeline.models.recurrent import RecurrentSeq2SeqTokenizer

# Under this name a tokenizer keeps the prefix.
KEPT = "source_prefix"


def for_translation(tokenizer: PreTrainedTokenizerBase, prefix: str | None) -> PreTrainedTokenizerBase:
    """`tokenizer`, changed so that texts end with its end token, also after it is saved, and with `prefix` kept.

    Raises:
        UserError: it has no end token, or is written in Python and does not add it.
    """
    end = tokenizer.eos_token or tokenizer.sep_token
    if end is None:
        raise UserError("data.tokenizer: it has no end-of-text token, which translation needs; set it to bpe")
    if tokenizer.convert_tokens_to_ids(end) not in tokenizer("a", verbose=False)["input_ids"]:
        tokenizer = _with_end(tokenizer, end)
    tokenizer.init_kwargs.pop(KEPT, None)
    if prefix:
        tokenizer.init_kwargs[KEPT] = prefix
    return tokenizer


def _with_end(tokenizer: PreTrainedTokenizerBase, end: str) -> PreTrainedTokenizerBase:
    if not tokenizer.is_fast:
        raise UserError("data.tokenizer: it is written in Python and cannot be told to end texts; use another")
    if type(tokenizer) is not PreTrainedTokenizerFast:
        tokenizer = text_pairs.general(tokenizer)
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=f"$A {end}", pair=f"$A {end} $B {end}", special_tokens=[(end, tokenizer.convert_tokens_to_ids(end))]
    )
    return tokenizer


def with_two_vocabularies(
    source: PreTrainedTokenizerBase, target: PreTrainedTokenizerBase
) -> RecurrentSeq2SeqTokenizer:
    """One tokenizer of those of both sides, which were trained as tokenizers of one kind and end texts already."""
    both = text_pairs.general(target, RecurrentSeq2SeqTokenizer)
    both.source_tokenizer = source.backend_tokenizer
    return both


def encode_sources(
    texts: Sequence[str], tokenizer: PreTrainedTokenizerBase, max_length: int
) -> tuple[list[list[int]], list[bool]]:
    """The ids of texts that are to be translated, at most `max_length` each, and whether they were cut."""
    prefix = tokenizer.init_kwargs.get(KEPT, "")
    ids = tokenizer([prefix + text for text in texts], return_attention_mask=False, verbose=False)["input_ids"]
    return _cut(ids, tokenizer, max_length)


def encode_targets(
    texts: Sequence[str], tokenizer: PreTrainedTokenizerBase, max_length: int
) -> tuple[list[list[int]], list[bool]]:
    """The same of translations."""
    ids = tokenizer(text_target=list(texts), return_attention_mask=False, verbose=False)["input_ids"]
    return _cut(ids, tokenizer, max_length)


def decode_source(ids: Any, tokenizer: PreTrainedTokenizerBase, skip_special_tokens: bool = False) -> str:
    """The text of the ids of a source. A tokenizer whose sides differ, such as Marian's, otherwise takes them for those
    of a target."""
    side = {"use_source_tokenizer": True} if hasattr(tokenizer, "_switch_to_target_mode") else {}
    return tokenizer.decode(ids, skip_special_tokens=skip_special_tokens, **side)


def _cut(
    rows: list[list[int]], tokenizer: PreTrainedTokenizerBase, max_length: int
) -> tuple[list[list[int]], list[bool]]:
    """Rows of at most `max_length` tokens, which keep the special tokens at their end, and whether each was cut."""
    special = {*tokenizer.all_special_ids} - {tokenizer.unk_token_id}
    is_long = [len(ids) > max_length for ids in rows]
    for number in (number for number, cut in enumerate(is_long) if cut):
        ids = rows[number]
        ends = sum(1 for _ in takewhile(special.__contains__, reversed(ids)))
        rows[number] = ids[: max_length - ends] + ids[len(ids) - ends :]
    return rows, is_long
