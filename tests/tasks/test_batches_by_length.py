"""Batches for predictions: rows of similar length together, with little padding."""

from __future__ import annotations

import random

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from pipeline.config.data import Data
from pipeline.data.tokenization import tokenizers
from pipeline.tasks.batching import batches_by_length, padded_lists


@pytest.mark.parametrize("size", [1, 5, 64])
def test_each_row_is_in_one_batch_and_the_longest_come_first(size):
    lengths = random.Random(0).choices(range(30), k=300)
    batches = batches_by_length(lengths, size)
    rows = [row for batch in batches for row in batch]
    assert sorted(rows) == list(range(300))
    assert [lengths[row] for row in rows] == sorted(lengths, reverse=True)
    assert all(1 <= len(batch) <= size for batch in batches)


def test_a_batch_with_enough_rows_ends_where_the_length_changes():
    assert [len(batch) for batch in batches_by_length([7] * 30 + [6] * 70 + [5] * 3, 64)] == [30, 64, 9]
    assert batches_by_length([], 64) == []


@pytest.mark.parametrize("side", ["left", "right"])
def test_rows_are_padded_as_the_tokenizer_pads_them(side):
    tokenizer: PreTrainedTokenizerFast = tokenizers.train("wordpiece", ["a b c"] * 9, Data("x", max_length=8))
    tokenizer.padding_side = side
    rows = {"input_ids": [[5, 6, 7], [], [8]], "token_type_ids": [[0, 1, 1], [], [1]]}
    found, expected = padded_lists(rows, tokenizer), tokenizer.pad(dict(rows), return_tensors="pt")
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in found)
    assert "attention_mask" not in padded_lists({"input_ids": [[5, 6]]}, tokenizer)
