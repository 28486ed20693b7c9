"""Batches of the texts to predict from.

Shapes: B rows of a batch, T time.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from pipeline.tasks.base import Batch

# A batch with this share of the rows that it may have ends where the length changes: many are without padding then.
ENOUGH = 3 / 8


def batches_by_length(lengths: Sequence[int], size: int) -> list[list[int]]:
    """The numbers of rows with these lengths in batches of up to `size`, the longest first: with little padding, and a
    batch that does not fit into memory fails at once."""
    batches: list[list[int]] = []
    for row in sorted(range(len(lengths)), key=lambda row: -lengths[row]):
        batch = batches[-1] if batches else []
        is_full = len(batch) == size or (len(batch) >= size * ENOUGH and lengths[batch[-1]] != lengths[row])
        if is_full or not batches:
            batches.append([row])
        else:
            batch.append(row)
    return batches


def padded_lists(rows: Mapping[str, Sequence[Sequence[int]]], tokenizer: PreTrainedTokenizerBase) -> Batch:
    """`input_ids` and perhaps `token_type_ids` of rows, (B, T) each, as `tokenizer.pad` pads them, in a fraction of its
    time, and `attention_mask` (B, T) if there is padding."""
    lengths = np.fromiter(map(len, rows["input_ids"]), np.int64)
    width = int(lengths.max(initial=0))
    places = np.arange(width)
    if tokenizer.padding_side == "left":
        places = places[::-1]
    mask = places < lengths[:, None]  # (B, T)
    batch = {}
    for name, own in rows.items():
        value = tokenizer.pad_token_type_id if name == "token_type_ids" else tokenizer.pad_token_id
        padded = np.full(mask.shape, value, dtype=np.int64)
        padded[mask] = np.fromiter(itertools.chain.from_iterable(own), np.int64, int(lengths.sum()))
        batch[name] = torch.from_numpy(padded)
    if not mask.all():  # without padding, a mask would only cost time
        batch["attention_mask"] = torch.from_numpy(mask.astype(np.int64))
    return batch
