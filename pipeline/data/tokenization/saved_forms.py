"""A run's tokenizer as it is saved: plain transformers then gives the model what it has read in training."""

from __future__ import annotations

import copy
from typing import Any

from tokenizers import processors
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast
from transformers.tokenization_utils_base import VERY_LARGE_INTEGER

from pipeline.data.tokenization.text_pairs import general
from pipeline.data.tokenization.written_blanks import write_blanks
from pipeline.models.recurrent import RecurrentForTokenClassification


def saved_form(tokenizer: PreTrainedTokenizerBase, model: Any, continues: bool, own: bool) -> PreTrainedTokenizerBase:
    """A copy of `tokenizer` for the folder of `model`.

    Args:
        continues: whether the model continues texts.
        own: whether the model was trained from scratch, so that it has read texts as the tasks here write them only.
    """
    tokenizer = copy.deepcopy(tokenizer)
    has_state = hasattr(model, "new_cache")
    if continues and tokenizer.is_fast and (own or has_state):
        tokenizer = _with_end_in_front(tokenizer)
    if continues and has_state:
        tokenizer.model_max_length = VERY_LARGE_INTEGER  # in training, it is the length of a window
    # A prompt must end where its continuation begins. In training, rows are padded on the right.
    _keep(tokenizer, padding_side="left" if continues else "right")
    if isinstance(model, RecurrentForTokenClassification):
        _end_with_padding(tokenizer)
    return tokenizer


def _end_with_padding(tokenizer: PreTrainedTokenizerBase) -> None:
    """Make a tokenizer that puts no special tokens around a text put its padding token behind it.

    A text without words then has a token. transformers' pipeline for token classification cannot put a row without
    any into a batch. It is for a model that skips padding wherever it is: its answers for other texts do not change.
    """
    if tokenizer.pad_token is not None and tokenizer.is_fast and tokenizer.num_special_tokens_to_add() == 0:
        _surround(tokenizer, "$A {0}", "$A {0} $B {0}", tokenizer.pad_token)


def _with_end_in_front(tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
    """The tokenizer of a language model: the token that ends a text is also the one before its first word, as every
    text of the training data follows the end of another."""
    end = tokenizer.eos_token or tokenizer.sep_token
    if type(tokenizer) is not PreTrainedTokenizerFast:
        tokenizer = general(tokenizer)
    tokenizer.eos_token = tokenizer.bos_token = end
    _keep(tokenizer, eos_token=end, bos_token=end)
    _surround(tokenizer, "{0} $A", "{0} $A $B", end)
    write_blanks(tokenizer.backend_tokenizer)
    return tokenizer


def _keep(tokenizer: PreTrainedTokenizerBase, **settings: str) -> None:
    """Set attributes that are also saved."""
    for name, value in settings.items():
        setattr(tokenizer, name, value)
        tokenizer.init_kwargs[name] = value


def _surround(tokenizer: PreTrainedTokenizerBase, single: str, pair: str, token: str) -> None:
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=single.format(token),
        pair=pair.format(token),
        special_tokens=[(token, tokenizer.convert_tokens_to_ids(token))],
    )
