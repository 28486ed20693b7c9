"""The tokenizer of models that read characters: however it is called, each token has its own characters."""

from __future__ import annotations

import pickle

import pytest
import torch
from transformers import AutoTokenizer, DataCollatorForTokenClassification

from pipeline.config.data import Data
from pipeline.data.tokenization.tokenizers import load_tokenizer, train
from pipeline.models.recurrent import RecurrentTokenizer

TEXTS = ["The U.N. official Ekeus heads for Baghdad .", "éclair שלום 👍🏽"]


@pytest.fixture(scope="module")
def tokenizer() -> RecurrentTokenizer:
    return train("word", TEXTS * 2, Data("x"), characters=True)


def read(tokenizer, row) -> list[str]:
    """Characters of each token of a row, ? for an unknown one."""
    known = dict(enumerate(tokenizer.init_kwargs["characters"], start=2))
    return ["".join(known.get(int(index), "?") for index in token if index) for token in row]


def test_characters_are_those_of_the_text_although_words_are_looked_up_in_lowercase(tokenizer):
    encoded = tokenizer("for Ekeus ZOO éclair")
    assert tokenizer.convert_ids_to_tokens(encoded["input_ids"]) == ["for", "ekeus", "[UNK]", "éclair"]
    assert read(tokenizer, encoded["char_ids"]) == ["for", "Ekeus", "???", "éclair"]
    assert {len(token) for token in encoded["char_ids"]} == {20}
    assert tokenizer.char_vocab_size == 2 + len({*"".join(TEXTS)} - {" "})


def test_composed_and_decomposed_letters_have_the_same_characters(tokenizer):
    assert tokenizer.spell("e\u0301clair") == tokenizer.spell("éclair")


@pytest.mark.parametrize(("lowercase", "word", "characters"), [(True, "ekeus", "ekeus"), (False, "Ekeus", "Ekeus")])
def test_case_follows_data_lowercase_if_it_is_set(lowercase, word, characters):
    tokenizer = train("word", TEXTS * 2, Data("x", lowercase=lowercase), characters=True)
    encoded = tokenizer("Ekeus")
    assert tokenizer.convert_ids_to_tokens(encoded["input_ids"]) == [word]
    assert read(tokenizer, encoded["char_ids"]) == [characters]


def test_each_digit_is_read_as_zero_with_data_zero_digits():
    tokenizer = train("word", ["in 1996 by 52"] * 2, Data("x", zero_digits=True), characters=True)
    assert tokenizer.init_kwargs["characters"] == "0biny"
    encoded = tokenizer("2026 in ٣")
    assert tokenizer.convert_ids_to_tokens(encoded["input_ids"]) == ["0000", "in", "[UNK]"]
    assert read(tokenizer, encoded["char_ids"]) == ["0000", "in", "0"]


def test_a_long_word_keeps_both_ends(tokenizer):
    tokenizer = train("word", ["abcdefghijklmnopqrstuvwxyz"] * 2, Data("x"), characters=True)
    assert read(tokenizer, tokenizer("abcdefghijklmnopqrstuvwxyz")["char_ids"]) == ["abcdefghijqrstuvwxyz"]


def test_rare_characters_are_unknown():
    tokenizer = train("word", ["aab", "ac"], Data("x"), characters=True)
    assert read(tokenizer, [tokenizer.spell("abc")]) == ["a??"]


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("tensors", ["pt", "np"])
def test_padding_has_no_characters(tokenizer, side, tensors):
    encoded = tokenizer(["Ekeus heads", "for"], padding=True, padding_side=side, return_tensors=tensors)
    assert encoded["char_ids"].shape == (2, 2, 20)
    assert read(tokenizer, encoded["char_ids"][0]) == ["Ekeus", "heads"]
    assert read(tokenizer, encoded["char_ids"][1]) == (["for", ""] if side == "right" else ["", "for"])


@pytest.mark.parametrize("side", ["right", "left"])
def test_rows_can_be_padded_afterwards(tokenizer, side):
    rows = [tokenizer(text) for text in ("Ekeus heads for", "Baghdad")]
    padded = tokenizer.pad(rows, padding_side=side, return_tensors="pt")
    at_once = tokenizer(["Ekeus heads for", "Baghdad"], padding=True, padding_side=side, return_tensors="pt")
    assert all(torch.equal(padded[name], at_once[name]) for name in tokenizer.model_input_names)
    collate = DataCollatorForTokenClassification(tokenizer)
    batch = collate([{**row, "labels": [0] * len(row["input_ids"])} for row in rows])
    assert batch["char_ids"].shape == (2, 3, 20)


def test_given_words_are_tokens_as_they_are(tokenizer):
    encoded = tokenizer([["U.N.", "Ekeus"], ["heads"]], is_split_into_words=True)
    assert [read(tokenizer, row) for row in encoded["char_ids"]] == [["U.N.", "Ekeus"], ["heads"]]
    assert encoded.word_ids(0) == [0, 1]
    assert read(tokenizer, tokenizer("U.N. Ekeus")["char_ids"]) == ["U", ".", "N", ".", "Ekeus"]
    assert read(tokenizer, tokenizer(["U.N.", "Ekeus"], is_split_into_words=True)["char_ids"]) == ["U.N.", "Ekeus"]


def test_truncated_and_overflowing_tokens_keep_their_own_characters(tokenizer):
    options = {"truncation": True, "max_length": 2}
    assert read(tokenizer, tokenizer("Ekeus heads for", **options)["char_ids"]) == ["Ekeus", "heads"]
    parts = tokenizer(["Ekeus heads for", "Baghdad"], return_overflowing_tokens=True, stride=1, **options)
    assert [read(tokenizer, row) for row in parts["char_ids"]] == [["Ekeus", "heads"], ["heads", "for"], ["Baghdad"]]


def test_offsets_and_pairs_are_as_with_any_fast_tokenizer(tokenizer):
    encoded = tokenizer("Ekeus heads", "for", return_offsets_mapping=True)
    assert encoded["offset_mapping"] == [(0, 5), (6, 11), (0, 3)]
    assert read(tokenizer, encoded["char_ids"]) == ["Ekeus", "heads", "for"]
    for pairs in ({"text": ["Ekeus"], "text_pair": ["for"]}, {"text": [("Ekeus", "for")]}):
        assert read(tokenizer, tokenizer(**pairs)["char_ids"][0]) == ["Ekeus", "for"]


@pytest.mark.parametrize(("text", "expected"), [("", []), ([""], [[]]), (["", "for"], [[], ["for"]])])
def test_a_text_without_words_has_no_characters(tokenizer, text, expected):
    found = tokenizer(text)["char_ids"]
    assert (found if isinstance(text, str) else [read(tokenizer, row) for row in found]) == expected


def test_the_tokenizer_survives_saving_and_pickling(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    assert (tmp_path / "tokenization_recurrent.py").is_file()
    for twin in (
        AutoTokenizer.from_pretrained(tmp_path),
        load_tokenizer(str(tmp_path)),
        pickle.loads(pickle.dumps(tokenizer)),
    ):
        assert type(twin) is RecurrentTokenizer
        assert dict(twin(TEXTS)) == dict(tokenizer(TEXTS))
