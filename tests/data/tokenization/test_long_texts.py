"""Texts longer than the maximum: which tokens are kept, and how windows are joined again."""

from __future__ import annotations

import numpy as np
import pytest
from transformers import AutoTokenizer

from pipeline.config.data import Data
from pipeline.data.tokenization import long_texts, tokenizers
from pipeline.errors import UserError

WORDS = [f"w{number}" for number in range(40)]
LONG, SHORT, EMPTY = " ".join(WORDS), "w3 w4", ""


def a_tokenizer(kind: str, choice: str):
    data = Data("x", max_length=14, min_frequency=1, vocab_size=2000)
    tokenizer = tokenizers.train(kind, [" ".join(WORDS)] * 3, data)
    long_texts.keep(tokenizer, choice)
    return tokenizer


def words_of(tokenizer, row) -> str:
    return " ".join(tokenizer.convert_ids_to_tokens(row))


def test_cut_keeps_the_beginning():
    tokenizer = a_tokenizer("whitespace", "cut")
    found = long_texts.encode([LONG, SHORT, EMPTY], tokenizer, 14)
    assert [words_of(tokenizer, row) for row in found.input_ids] == [" ".join(WORDS[:14]), SHORT, EMPTY]
    assert (found.truncated, [*found.text], found.begins) == ([True, False, False], [0, 1, 2], [True] * 3)


@pytest.mark.parametrize("kind", ["whitespace", "wordpiece", "bpe"])
def test_tail_keeps_the_end_and_so_does_transformers_with_the_saved_tokenizer(kind, tmp_path):
    tokenizer = a_tokenizer(kind, "tail")
    found = long_texts.encode([LONG, SHORT, EMPTY], tokenizer, 14)
    whole = tokenizer(LONG, verbose=False)["input_ids"]
    before = 1 if kind == "wordpiece" else 0  # [CLS]
    assert found.input_ids[0] == whole[:before] + whole[before - 14 :]
    assert found.truncated == [True, False, False]
    tokenizer.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    assert loaded(LONG, truncation=True)["input_ids"] == found.input_ids[0]


def test_a_model_that_read_the_end_reads_the_beginning_once_it_is_trained_on_that():
    tokenizer = a_tokenizer("whitespace", "tail")
    long_texts.keep(tokenizer, "cut")
    (row,) = long_texts.encode([LONG], tokenizer, 14).input_ids
    assert words_of(tokenizer, row) == " ".join(WORDS[:14])


def test_head_and_tail_keep_a_quarter_from_the_beginning_and_the_rest_from_the_end():
    tokenizer = a_tokenizer("whitespace", "head+tail")
    found = long_texts.encode([LONG, SHORT, EMPTY], tokenizer, 14)
    kept = [*WORDS[:4], *WORDS[-10:]]  # round(14 / 4) is 4
    assert [words_of(tokenizer, row) for row in found.input_ids] == [" ".join(kept), SHORT, EMPTY]
    assert found.truncated == [True, False, False]


def test_head_and_tail_keep_the_special_tokens_at_both_ends():
    tokenizer = a_tokenizer("wordpiece", "head+tail")
    (row,), (truncated,), *_ = long_texts.encode([LONG], tokenizer, 14)
    whole = tokenizer(LONG, verbose=False)["input_ids"]
    assert truncated
    assert row == [*whole[:4], *whole[-10:]]  # [CLS] and 3 of 12, 9 of 12 and [SEP]
    assert (row[0], row[-1], len(row)) == (tokenizer.cls_token_id, tokenizer.sep_token_id, 14)


def test_of_512_tokens_head_and_tail_keep_128_and_382_as_sun_et_al():
    tokenizer = a_tokenizer("wordpiece", "head+tail")
    text = " ".join(WORDS * 20)
    whole = tokenizer(text, verbose=False)["input_ids"]
    (row,) = long_texts.encode([text], tokenizer, 512).input_ids
    assert row == [*whole[:129], *whole[-383:]]


@pytest.mark.parametrize("kind", ["whitespace", "wordpiece", "bpe"])
def test_windows_cover_every_token_and_share_a_third_with_the_next(kind):
    tokenizer = a_tokenizer(kind, "windows")
    found = long_texts.encode([LONG, SHORT, LONG], tokenizer, 14)
    special = 2 if kind == "wordpiece" else 0
    size = 14 - special
    own = [row[1:-1] if special else row for row, text in zip(found.input_ids, found.text, strict=True) if text == 0]
    assert all(len(row) == size for row in own[:-1])
    assert 0 < len(own[-1]) <= size
    step = size - size // 3
    joined = [token for row in own[:-1] for token in row[:step]] + own[-1]
    assert joined == tokenizer(LONG, add_special_tokens=False, verbose=False)["input_ids"]
    assert found.truncated == [False] * len(found.text)
    assert [*found.text] == [0] * len(own) + [1] + [2] * len(own)
    assert found.begins == ([True] + [False] * (len(own) - 1)) + [True] + ([True] + [False] * (len(own) - 1))
    if special:
        assert {(row[0], row[-1]) for row in found.input_ids} == {(tokenizer.cls_token_id, tokenizer.sep_token_id)}


def test_texts_without_words_keep_their_row():
    for choice in long_texts.CHOICES:
        found = long_texts.encode([EMPTY, SHORT], a_tokenizer("whitespace", choice), 14)
        assert [len(row) for row in found.input_ids] == [0, 2]
        assert found.begins == [True, True]


def test_the_choice_is_saved_with_the_tokenizer_and_read_by_transformers_alone(tmp_path):
    a_tokenizer("word", "windows").save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    assert long_texts.kept(loaded) == "windows"
    long_texts.keep(loaded, "cut")
    loaded.save_pretrained(tmp_path)
    assert "long_texts" not in (tmp_path / "tokenizer_config.json").read_text()
    assert long_texts.kept(AutoTokenizer.from_pretrained(tmp_path)) == "cut"


def test_a_choice_that_does_not_exist_is_refused():
    tokenizer = a_tokenizer("word", "middle")
    with pytest.raises(UserError, match=r"long_texts in tokenizer_config\.json is 'middle'; expected one of cut, tail"):
        long_texts.kept(tokenizer)


def test_pairs_of_texts_are_only_cut():
    long_texts.refuse_pairs(a_tokenizer("word", "cut"))
    with pytest.raises(UserError, match=r"data\.long_texts: windows is for single texts; pairs of texts are only cut"):
        long_texts.refuse_pairs(a_tokenizer("word", "windows"))


def test_windows_are_pooled_by_the_geometric_mean_of_their_probabilities():
    generator = np.random.default_rng(0)
    logits, begins = generator.normal(size=(6, 3)).astype(np.float32), np.array([1, 0, 0, 1, 1, 0], dtype=bool)
    pooled = long_texts.mean_over_texts(logits, begins)
    assert pooled.dtype == np.float32

    def softmax(values):
        return np.exp(values) / np.exp(values).sum(axis=-1, keepdims=True)

    for row, rows in enumerate(([0, 1, 2], [3], [4, 5])):
        product = softmax(logits[rows].astype(np.float64)).prod(axis=0) ** (1 / len(rows))
        np.testing.assert_allclose(softmax(pooled[row]), product / product.sum(), atol=1e-6)
    assert np.array_equal(pooled[1], logits[3])
