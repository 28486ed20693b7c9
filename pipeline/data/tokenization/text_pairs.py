"""How a tokenizer writes two texts into one row."""

from __future__ import annotations

from collections.abc import Sequence

from tokenizers import processors
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from pipeline.config.models import PairEncoding
from pipeline.data.tokenization.long_texts import Encoded, refuse_pairs
from pipeline.data.tokenization.tokenizer_kinds import SEP
from pipeline.errors import UserError
from pipeline.models.recurrent import RecurrentTokenizer

TYPES = "token_type_ids"


def for_pairs(tokenizer: PreTrainedTokenizerBase, how: PairEncoding | None) -> PreTrainedTokenizerBase:
    """`tokenizer`, changed so that `tokenizer(text, text_pair)` gives what the model reads, also after it is saved.

    Args:
        how: see `PairEncoding`; None: as the tokenizer does by itself, but always with a special token between the
            texts, which the one of GPT-2 leaves out.

    Raises:
        UserError: it is written in Python, so its template cannot be changed.
    """
    if how == "apart":
        tokenizer = _with_template(tokenizer, None)
    elif not _is_joined(tokenizer):
        if tokenizer.sep_token is None and tokenizer.eos_token is None:
            tokenizer.add_special_tokens({"sep_token": SEP})
        tokenizer = _with_template(tokenizer, tokenizer.sep_token or tokenizer.eos_token)
    if how is not None:
        names = [name for name in tokenizer.model_input_names if name != TYPES]
        names += [TYPES] if how in ("apart", "typed") else []
        tokenizer.model_input_names = tokenizer.init_kwargs["model_input_names"] = names  # the second one is saved
    return tokenizer


def encode(texts: Sequence[str], second: Sequence[str], tokenizer: PreTrainedTokenizerBase, max_length: int) -> Encoded:
    """Each of `texts` with its `second` one as a row of at most `max_length` tokens, the longer of both cut first.

    Raises:
        UserError: data.long_texts is set to something else.
    """
    refuse_pairs(tokenizer)
    encoded = tokenizer(
        list(texts), list(second), truncation=True, max_length=max_length, return_attention_mask=False, verbose=False
    )
    ids, rows = encoded["input_ids"], range(len(texts))
    # A row without tokens will get one, which belongs to the first text.
    types = [own or [0] for own in encoded[TYPES]] if TYPES in encoded else None
    return Encoded(ids, [bool(row.overflowing) for row in encoded.encodings], rows, [True] * len(ids), types)


def _is_joined(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether it puts a special token between two texts."""
    if not tokenizer.is_fast:
        return True  # which is unknown, and cannot be changed
    texts = tokenizer("a", "b", verbose=False).encodings[0].sequence_ids  # None for what is in neither text
    return None in texts[texts.index(0) : texts.index(1)] if {0, 1} <= set(texts) else True


def _with_template(tokenizer: PreTrainedTokenizerBase, separator: str | None) -> PreTrainedTokenizerBase:
    """It writes a single text as it is, and two texts with `separator` between them; the second one has the type 1."""
    if not tokenizer.is_fast:
        raise UserError("data.tokenizer: it is written in Python and cannot be told how to join two texts; use another")
    if type(tokenizer) not in (PreTrainedTokenizerFast, RecurrentTokenizer):
        tokenizer = general(tokenizer)
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="$A",
        pair=f"$A {separator} $B:1" if separator else "$A $B:1",
        special_tokens=[(separator, tokenizer.convert_tokens_to_ids(separator))] if separator else [],
    )
    return tokenizer


def general(
    tokenizer: PreTrainedTokenizerBase, kind: type[PreTrainedTokenizerFast] = PreTrainedTokenizerFast
) -> PreTrainedTokenizerFast:
    """The same tokenizer in the general class: that of BERT would come back from its folder with BERT's template."""
    kept = ("model_max_length", "padding_side", "truncation_side", "model_input_names", "clean_up_tokenization_spaces")
    return kind(
        tokenizer_object=tokenizer.backend_tokenizer,
        **{name: getattr(tokenizer, name) for name in kept},
        **tokenizer.special_tokens_map,
    )
