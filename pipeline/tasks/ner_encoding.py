"""Encoding sentences as windows of tokens; see `Ner`.

Shapes: P tokens of all sentences.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from transformers import PreTrainedTokenizerBase

from pipeline.data.tagging import model_labels
from pipeline.data.tagging.tag_codes import LETTERS, OUTSIDE, Coded, Coder, write_prefixes
from pipeline.data.tokenization import word_windows
from pipeline.data.tokenization.word_alignment import ranges, surroundings, tokenize
from pipeline.models.recurrent.crf import IGNORED

LISTS = pa.list_(pa.string())


def encode(
    rows: dict[str, Any], tokenizer: PreTrainedTokenizerBase, max_length: int, labels: list[str]
) -> dict[str, Any]:
    """Windows, with the columns `labels`, `first` (position of the first token of each of the window's own words),
    `pieces` (how many tokens the tokenizer has for each of them), `tags` (of these words in the data, in IOB2),
    `begins` (whether it is the first window of its sentence) and `char_ids`, flattened."""
    before, behind = surroundings(tokenizer)
    size = max_length - len(before) - len(behind)
    coder = Coder()
    tokens = _lists(rows["tokens"])
    tags = coder.read(_lists(rows["tags"]) if "tags" in rows else _outside(tokens))
    words = tokenize(tokens.flatten(), tokenizer, size)
    parts = word_windows.cut(words.first, tags, size)
    framed = word_windows.Framed(parts, words.first, len(before), len(behind))
    columns = {"input_ids": framed.fill(words.input_ids[framed.at], before, behind)}
    columns["truncated"] = [False] * len(parts.start)  # nothing is ever truncated
    labelled = (framed.at >= np.repeat(words.first[parts.labels_from], framed.counts)) & (
        framed.at < np.repeat(words.first[parts.labels_to], framed.counts)
    )
    labelled &= "tags" in rows
    targets = targets_of(tags, words.first, coder.kinds, labels)[framed.at]
    blank = ([IGNORED] * len(before), [IGNORED] * len(behind))
    columns["labels"] = framed.fill(np.where(labelled, targets, IGNORED), *blank)
    own = parts.end - parts.begin
    offsets = pa.array(np.concatenate([[0], np.cumsum(own)]), pa.int32())
    at = ranges(parts.begin, own)
    first = words.first[at] - np.repeat(words.first[parts.start] - len(before), own)
    columns["first"] = pa.ListArray.from_arrays(offsets, pa.array(first, pa.int32()))
    pieces = np.where(words.is_read, np.diff(words.first), 0)[at]
    columns["pieces"] = pa.ListArray.from_arrays(offsets, pa.array(pieces, pa.int32()))
    if words.char_ids is not None:
        zeros = ([0] * len(before), [0] * len(behind))
        columns["char_ids"] = framed.fill(words.char_ids[framed.at], *zeros)
    gold = coder.write(tags.written("iob2"), LISTS).flatten()
    columns["tags"] = pa.ListArray.from_arrays(offsets, gold.take(pa.array(at)))
    columns["begins"] = pa.array(parts.begins.astype(bool))
    return columns


def _lists(column: Any) -> pa.ListArray:
    return column if isinstance(column, pa.Array) else pa.array(column, LISTS)


def _outside(tokens: pa.ListArray) -> pa.ListArray:
    """Tags for words without any: O."""
    lengths = pc.list_value_length(tokens).to_numpy()
    offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]), pa.int32())
    return pa.ListArray.from_arrays(offsets, pa.array(["O"] * int(lengths.sum()), pa.string()))


def targets_of(tags: Coded, first: np.ndarray, kinds: Sequence[str], labels: Sequence[str]) -> np.ndarray:
    """(P,) label of each token: an entity's tags are written over its tokens as if each were a word. A token whose tag
    the model has no label for, such as O in a model that others have trained, is ignored.

    Args:
        first: (words + 1,) the first token of each word, and P.
        kinds: types by their numbers in `tags`.
    """
    word = np.repeat(np.arange(len(first) - 1), np.diff(first))  # (P,)
    is_first = np.arange(len(word)) == first[word]
    is_inside, known = (tags.prefixes != OUTSIDE)[word], model_labels.read(labels)
    prefixes = write_prefixes(is_inside, is_inside & (tags.goes_on[word] | ~is_first), known.scheme)
    numbers = tags.kinds[word] * len(LETTERS) + prefixes
    label_of = np.full(len(kinds) * len(LETTERS), IGNORED, dtype=np.int64)
    for number in np.unique(numbers).tolist():
        index = known.id_of(LETTERS[number % len(LETTERS)], kinds[number // len(LETTERS)])
        label_of[number] = IGNORED if index is None else index
    return label_of[numbers]
