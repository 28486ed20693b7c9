"""Texts longer than data.max_length, for tasks with one answer per text: beginning, end, both, or windows.

The choice travels with the tokenizer (in tokenizer_config.json), so that a saved model reads new texts as it has read
those of training. Shapes: N encoded rows, T texts, C outputs of the model.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile
from typing import Any, NamedTuple

import numpy as np
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from pipeline.errors import UserError, listing

CUT, TAIL, HEAD_AND_TAIL, WINDOWS = CHOICES = "cut", "tail", "head+tail", "windows"
# Under this name a tokenizer keeps the choice.
KEPT = "long_texts"
# The beginning has this share of the tokens that are kept, the end the rest: Sun et al. (2019, section 5.3.1) keep the
# first 128 and the last 382 of BERT's 510.
HEAD = 0.25
# Neighbouring windows share 1/OVERLAP of their tokens, as those of the ner task.
OVERLAP = 3


class Encoded(NamedTuple):
    """Texts as rows.

    Attributes:
        input_ids: (N lists) with special tokens.
        truncated: (N,) whether the row lacks a part of its text.
        text: (N,) number of the text that the row belongs to; a text has one row or, if it was split, one per window.
        begins: (N,) whether it is the first row of its text.
        token_type_ids: (N lists) for rows of two texts, if the model reads them.
    """

    input_ids: list[list[int]]
    truncated: list[bool]
    text: Sequence[int]
    begins: list[bool]
    token_type_ids: list[list[int]] | None = None


def keep(tokenizer: PreTrainedTokenizerBase, choice: str) -> None:
    """Let `tokenizer` keep the choice, also when it is saved.

    For the end alone it truncates on the left, so that transformers' own pipeline keeps the end as well.
    """
    before = tokenizer.init_kwargs.pop(KEPT, CUT)
    if TAIL in (before, choice):
        side = "left" if choice == TAIL else "right"
        tokenizer.truncation_side = tokenizer.init_kwargs["truncation_side"] = side
    if choice != CUT:
        tokenizer.init_kwargs[KEPT] = choice


def kept(tokenizer: PreTrainedTokenizerBase) -> str:
    """The choice that `tokenizer` keeps: cut, tail, head+tail or windows.

    Raises:
        UserError: it is none of these.
    """
    choice = tokenizer.init_kwargs.get(KEPT, CUT)
    if choice not in CHOICES:
        raise UserError(f"{KEPT} in tokenizer_config.json is {choice!r}; expected one of {listing(CHOICES)}")
    return choice


def refuse_pairs(tokenizer: PreTrainedTokenizerBase) -> None:
    """Refuse a choice other than `cut` for rows of two texts.

    Raises:
        UserError: as above.
    """
    if (choice := kept(tokenizer)) != CUT:
        raise UserError(f"data.long_texts: {choice} is for single texts; pairs of texts are only cut: set it to cut")


def encode(texts: Sequence[str], tokenizer: PreTrainedTokenizerBase, max_length: int) -> Encoded:
    """`texts` as rows of at most `max_length` tokens, special tokens included.

    Raises:
        UserError: the tokenizer cannot split texts into windows, as it is not a fast one.
    """
    choice = kept(tokenizer)
    if choice == WINDOWS:
        return _windows(texts, tokenizer, max_length)
    if choice == HEAD_AND_TAIL:
        rows = tokenizer(list(texts), return_attention_mask=False, verbose=False)["input_ids"]
        head, tail = places(tokenizer, max_length)
        long = [len(row) > max_length for row in rows]
        ids = [row[:head] + row[len(row) - tail :] if cut else row for row, cut in zip(rows, long, strict=True)]
    else:
        ids, long = cut(texts, tokenizer, max_length)
    return Encoded(ids, long, range(len(ids)), [True] * len(ids))


def cut(
    texts: Sequence[str], tokenizer: PreTrainedTokenizerBase, max_length: int
) -> tuple[list[list[int]], list[bool]]:
    """Ids of at most `max_length` tokens for each text, special tokens included, and whether a part is missing.

    The same as calling the tokenizer, but a fast one without code of its own hands over the ids alone.
    """
    options = {"truncation": True, "max_length": max_length, "return_attention_mask": False, "verbose": False}
    if type(tokenizer)._encode_plus is not PreTrainedTokenizerFast._encode_plus:
        encoded = tokenizer(list(texts), **options)
        return encoded["input_ids"], [bool(row.overflowing) for row in encoded.encodings]
    tokenizer("", **options)  # sets the truncation
    rows = tokenizer.backend_tokenizer.encode_batch_fast(list(texts))
    return [row.ids for row in rows], [bool(row.overflowing) for row in rows]


def places(tokenizer: PreTrainedTokenizerBase, max_length: int) -> tuple[int, int]:
    """How many tokens of a long row are kept at its beginning and at its end, with the special tokens there."""
    special = tokenizer("a", return_special_tokens_mask=True)["special_tokens_mask"]
    before, behind = (len([*takewhile(bool, mask)]) for mask in (special, special[::-1]))
    head = before + round((max_length - before - behind) * HEAD)
    return head, max_length - head


def stride(tokenizer: PreTrainedTokenizerBase, max_length: int) -> int:
    """How many tokens neighbouring windows share."""
    return (max_length - tokenizer.num_special_tokens_to_add()) // OVERLAP


def _windows(texts: Sequence[str], tokenizer: PreTrainedTokenizerBase, max_length: int) -> Encoded:
    if not tokenizer.is_fast:
        raise UserError("data.long_texts: only a fast tokenizer splits texts into windows; set it to head+tail")
    encoded = tokenizer(
        list(texts),
        truncation=True,
        max_length=max_length,
        stride=stride(tokenizer, max_length),
        return_overflowing_tokens=True,
        return_attention_mask=False,
        verbose=False,
    )
    text = encoded["overflow_to_sample_mapping"]
    begins = [not place or text[place] != text[place - 1] for place in range(len(text))]
    return Encoded(encoded["input_ids"], [False] * len(text), text, begins)


def mean_over_texts(values: np.ndarray, begins: np.ndarray) -> np.ndarray:
    """(T, C) the mean over the rows of each text, in the type of `values`.

    The mean of logits has the softmax of the mean log-probabilities: windows are pooled by the geometric mean of their
    probabilities.

    Args:
        values: (N, C) of each row.
        begins: (N,) whether it is the first row of its text.
    """
    starts = np.flatnonzero(begins)
    counts = np.diff(np.append(starts, len(begins)))
    # In float64, in the order of the rows: the same on any number of processes.
    return (np.add.reduceat(values.astype(np.float64), starts) / counts[:, None]).astype(values.dtype)


def first_of_texts(outcome: dict[str, Any], begins: np.ndarray) -> dict[str, Any]:
    """The values of each text's first row, by name."""
    return {name: values[np.flatnonzero(begins)] for name, values in outcome.items()}
