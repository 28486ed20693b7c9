"""Words to tokens: no word is lost, and each belongs to the window that gives it the most context."""

from __future__ import annotations

import random

import numpy as np
import pyarrow as pa
import pytest
from transformers import GPT2TokenizerFast

from pipeline.config.data import Data
from pipeline.data.tokenization import word_alignment
from pipeline.data.tokenization.tokenizers import load_tokenizer, train
from pipeline.data.tokenization.word_alignment import labelled, surroundings, tokenize, windows

WORDS = [["U.S.", "can't", "rejects", "<br/>", "3.5"], ["EU"], ["#tag", "@user", "👍🏽", "שָׁלוֹם", "!?"]]


def tokens(words, tokenizer, longest=99):
    return tokenize(pa.array(words, pa.string()), tokenizer, longest)


def trained(kind):
    return train(kind, [word for words in WORDS for word in words] * 2, Data("x"), pretokenized=True)


@pytest.fixture(scope="module")
def minilm():
    return load_tokenizer("sample:minilm", pretokenized=True)


def test_a_word_tokenizer_keeps_each_given_word_whole():
    tokenizer = trained("word")
    for words in WORDS:
        found = tokens(words, tokenizer)
        assert tokenizer.convert_ids_to_tokens(found.input_ids) == [word.lower() for word in words]
        assert found.first.tolist() == list(range(len(words) + 1))


@pytest.mark.parametrize("kind", ["word", "bpe", "wordpiece"])
def test_trained_tokenizers_know_the_word_of_each_token(kind, tmp_path):
    trained(kind).save_pretrained(tmp_path)
    tokenizer = load_tokenizer(str(tmp_path), pretokenized=True)
    words = [word for words in WORDS for word in words]
    found = tokens(words, tokenizer)
    own = [found.input_ids[start:end].tolist() for start, end in zip(found.first[:-1], found.first[1:], strict=True)]
    assert own == [tokens([word], tokenizer).input_ids.tolist() for word in words]


@pytest.mark.parametrize("kind", ["word", "bpe", "wordpiece", "minilm"])
def test_the_tokens_of_a_word_are_those_that_it_has_in_its_sentence(kind, minilm, monkeypatch):
    """Distinct words are tokenized once, as sentences of any length."""
    monkeypatch.setattr(word_alignment, "WORDS_AT_ONCE", 3)
    tokenizer = minilm if kind == "minilm" else trained(kind)
    generator = random.Random(0)
    choices = [*(word for words in WORDS for word in words), "rejecting", "un-EU-like", "x" * 30, "don't", "北京"]
    words = [generator.choice(choices) for _ in range(200)]
    encoded = tokenizer([words], is_split_into_words=True, add_special_tokens=False)
    found = tokens(words, tokenizer)
    assert found.input_ids.tolist() == encoded["input_ids"][0]
    assert np.repeat(np.arange(200), np.diff(found.first)).tolist() == encoded.word_ids(0)


def test_no_words_have_no_tokens(minilm):
    assert [part.tolist() for part in tokens([], minilm)[:2]] == [[], [0]]


def test_a_byte_level_tokenizer_marks_where_given_words_begin():
    tokenizer = trained("bpe")
    found = tokenizer.convert_ids_to_tokens(tokens(["EU", "EU"], tokenizer).input_ids)
    assert found[0][0] == "Ġ"
    assert found[: len(found) // 2] == found[len(found) // 2 :]


def test_a_pretrained_byte_level_tokenizer_marks_them_as_well_and_is_saved_so(tmp_path):
    trained("bpe").backend_tokenizer.model.save(str(tmp_path))
    files = {"vocab": str(tmp_path / "vocab.json"), "merges": str(tmp_path / "merges.txt")}
    GPT2TokenizerFast(**files, unk_token="[EOS]", eos_token="[EOS]").save_pretrained(tmp_path / "gpt2")

    def first_token(tokenizer):
        return tokenizer.convert_ids_to_tokens(tokens(["EU", "EU"], tokenizer).input_ids)[0]

    assert first_token(load_tokenizer(str(tmp_path / "gpt2")))[0] == "E"
    marked = load_tokenizer(str(tmp_path / "gpt2"), pretokenized=True)
    assert first_token(marked)[0] == "Ġ"
    marked.save_pretrained(tmp_path / "saved")
    assert first_token(load_tokenizer(str(tmp_path / "saved")))[0] == "Ġ"


def test_a_word_that_the_tokenizer_drops_gets_the_unknown_token(minilm):
    found = tokens(["EU", "\u200b", "", "rejects", "\x7f"], minilm)
    assert np.diff(found.first).min() == 1
    assert minilm.convert_ids_to_tokens(found.input_ids[found.first[[1, 2, 4]]]) == ["[UNK]"] * 3
    assert minilm.convert_ids_to_tokens(found.input_ids[found.first[[0, 3]]]) == ["eu", "rejects"]


def test_a_word_is_cut_to_the_size_of_a_window(minilm):
    found = tokens(["a", "b" * 60, "c"], minilm, 4)
    assert np.diff(found.first).tolist() == [1, 4, 1]


def test_special_tokens_are_found_by_tokenizing(minilm):
    assert [minilm.convert_ids_to_tokens(ids) for ids in surroundings(minilm)] == [["[CLS]"], ["[SEP]"]]
    assert surroundings(trained("word")) == ([], [])


class WithCharacters:
    """Stands for a tokenizer that gives the code points of the first three characters of each token."""

    is_fast, unk_token_id = True, 1

    def __init__(self, tokenizer):
        self.tokenizer = tokenizer

    def __call__(self, sentences, **options):
        encoded = self.tokenizer(sentences, **options)
        found = [self.tokenizer.convert_ids_to_tokens(ids) for ids in encoded["input_ids"]]
        encoded["char_ids"] = [[[ord(c) for c in f"{token:3}"[:3]] for token in row] for row in found]
        return encoded


def test_characters_go_with_their_tokens():
    found = tokens(["EU", " ", "can't"], WithCharacters(trained("word")))
    expected = [[ord(c) for c in "eu "], [0, 0, 0], [ord(c) for c in "can"]]
    assert found.char_ids.tolist() == expected


def naive_owner(first, parts, word):
    """The first window with most context, word by word."""

    def context(part):
        before = first[word] - first[part.start] if part.start else np.inf
        behind = first[part.stop] - first[word + 1] if part.stop < len(first) - 1 else np.inf
        return min(before, behind)

    readers = [part for part in parts if part.start <= word < part.stop]
    return max(readers, key=context)


@pytest.mark.parametrize("size", [2, 5, 16, 64])
def test_every_word_has_one_owner_that_gives_it_the_most_context(size):
    generator = random.Random(size)
    for _ in range(100):
        sizes = [generator.randint(1, min(size, 4)) for _ in range(generator.randint(1, 200))]
        first = np.concatenate([[0], np.cumsum(sizes)])
        parts = windows(first, size)
        assert [part.begin for part in parts] == [0, *(part.end for part in parts[:-1])]
        assert parts[-1].end == len(sizes)
        for part in parts:
            assert part.start <= part.begin < part.end <= part.stop
            assert first[part.stop] - first[part.start] <= size
            for word in range(part.begin, part.end):
                assert naive_owner(first, parts, word) == part


def test_a_word_within_a_long_sentence_has_context_on_both_sides():
    parts = windows(np.arange(1001), 60)
    for part in parts:
        assert part.begin - part.start >= 9 or part.start == 0
        assert part.stop - part.end >= 9 or part.stop == 1000
    assert len(parts) < 1000 / 60 * 1.6


def test_a_sentence_that_fits_is_one_window():
    assert windows(np.arange(11), 10) == [(0, 10, 0, 10)]
    assert windows(np.arange(1), 10) == []


def test_each_word_is_labelled_once_and_no_entity_is_cut():
    generator = random.Random(0)
    dropped = 0
    for _ in range(300):
        words = generator.randint(20, 120)
        parts = windows(np.arange(words + 1), 12)
        entities, place = [], 0
        while place < words:
            size = min(generator.choice([1, 2, 3, 5, 20]), words - place)
            entities.append(("X", place, place + size))
            place += size + generator.choice([0, 1])
        times = np.zeros(words, dtype=int)
        for part, (begin, end) in zip(parts, labelled(parts, entities), strict=True):
            assert begin >= end or part.start <= begin < end <= part.stop
            times[begin:end] += 1
            for _, start, stop in entities:
                assert not start < begin < stop or begin >= end
                assert not start < end < stop or begin >= end
        assert times.max() == 1
        for _, start, stop in entities:
            assert len(set(times[start:stop].tolist())) == 1
            if times[start] == 0:
                dropped += 1
                assert stop - start > 4  # only what no window of 12 reads with the overlap of 4
        free = np.ones(words, dtype=bool)
        for _, start, stop in entities:
            free[start:stop] = False
        assert (times[free] == 1).all()
    assert dropped
