"""Texts are made from training rows by masking and n-gram sampling, with the probabilities of the paper."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from scipy import stats

from pipeline.config.data import Data
from pipeline.data.text_stats import normalised
from pipeline.data.tokenization import tokenizers
from pipeline.distil import augment
from pipeline.distil.augment import LONGEST_NGRAM, MASK, P_MASK, P_NGRAM, changed_text, changed_words
from pipeline.distil.unlabelled import described
from pipeline.errors import UserError

WORDS = [f"w{number}" for number in range(12)]


@pytest.fixture(scope="module")
def samples() -> list[list[str]]:
    chance = np.random.default_rng(0)
    return [changed_words(WORDS, chance) for _ in range(20_000)]


def test_a_tenth_of_the_words_is_masked_each_independently(samples):
    whole = [sample for sample in samples if len(sample) == len(WORDS)]
    masked = Counter(sample.count(MASK) for sample in whole)
    expected = stats.binom(len(WORDS), P_MASK).pmf(np.arange(6))
    expected = np.append(expected, 1 - expected.sum())
    found = [masked[count] for count in range(6)] + [sum(masked[count] for count in range(6, 13))]
    assert stats.chisquare(found, expected * len(whole)).pvalue > 0.001


def test_a_quarter_of_the_texts_are_ngrams_of_one_to_five_words_from_any_place(samples):
    ngrams = [sample for sample in samples if len(sample) < len(WORDS)]
    assert stats.binomtest(len(ngrams), len(samples), P_NGRAM).pvalue > 0.001
    sizes = Counter(map(len, ngrams))
    assert set(sizes) == set(range(1, LONGEST_NGRAM + 1))
    assert stats.chisquare([*sizes.values()]).pvalue > 0.001
    begins = Counter(WORDS.index(sample[0]) for sample in ngrams if len(sample) == 3 and sample[0] != MASK)
    assert stats.chisquare([begins[place] for place in range(len(WORDS) - 2)]).pvalue > 0.001
    for sample in ngrams:  # words that follow one another
        numbers = [WORDS.index(word) - place for place, word in enumerate(sample) if word != MASK]
        assert len(set(numbers)) <= 1


def test_a_text_shorter_than_an_ngram_is_kept_whole():
    chance = np.random.default_rng(0)
    assert {len(changed_words(["a", "b"], chance)) for _ in range(200)} == {1, 2}
    assert changed_words([], chance) == []
    assert changed_text("", chance) == ""


@pytest.mark.parametrize("text", ["a  good\tfilm , really", "סרט טוב מאוד", "这部电影很好，真的", "日本 film です"])
def test_what_is_not_masked_stays_as_it_is_written(text):
    chance = np.random.default_rng(0)
    for _ in range(200):
        parts, place = changed_text(text, chance).split(MASK), 0
        for part in parts:
            place = text.index(part.strip(), place)  # in their order
    changed = [changed_text(text, chance) for _ in range(300)]
    assert any(MASK in one and one != MASK for one in changed)
    assert text in changed


def test_letters_of_scripts_without_blanks_are_masked_one_by_one():
    chance = np.random.default_rng(0)
    sizes = Counter(len(changed_text("这部电影很好", chance).replace(MASK, "？")) for _ in range(500))
    assert set(sizes) == {1, 2, 3, 4, 5, 6}


def rows(count: int) -> list[str]:
    return [f"a rather good film number {number} of many" for number in range(count)]


def test_texts_are_new_different_and_none_of_them_is_held_out():
    held_out = ["A rather GOOD film!", "good film"]
    found = augment.make(rows(30), held_out, 400, seed=0)
    forms = [normalised(text) for text in found.contents]
    assert len(set(forms)) == len(forms) == found.report["drawn"] <= 400
    assert not {*forms} & {normalised(text) for text in [*held_out, *rows(30)]}
    assert all(text.replace(MASK, "").strip() for text in found.contents)
    counts = found.report
    assert counts["made"] == sum(counts[name] for name in ("empty", "held_out", "duplicates", "over_limit", "drawn"))
    assert counts["rows"] == 30
    assert counts["held_out"] > 0
    assert described(counts).startswith(f"{counts['drawn']} texts made of 30 training rows; left out: ")


def test_no_more_texts_are_made_than_are_asked_for_and_each_row_is_used_equally_often():
    found = augment.make(rows(50), [], 100, seed=0)
    assert found.report["drawn"] == 100
    assert found.report["made"] < 250
    few = augment.make(rows(50), [], 10**6, seed=0)
    assert few.report["made"] == augment.ROUNDS * 50


def test_the_same_seed_makes_the_same_texts():
    assert augment.make(rows(9), [], 50, 3) == augment.make(rows(9), [], 50, 3) != augment.make(rows(9), [], 50, 4)


def test_words_are_masked_in_lists_and_texts_of_pairs_are_changed_in_turn():
    sentence = ["Ann", "saw", "Rome", ",", "and", "left"]
    found = augment.make([sentence], [], 15, 0).contents
    assert all(isinstance(words, list) and set(words) <= {*sentence, MASK} for words in found)
    pairs = augment.make([("a b c d e f g h", "i j k l m n o p")], [], 10**6, 0).contents
    changed = {(one != "a b c d e f g h", other != "i j k l m n o p") for one, other in pairs}
    assert changed == {(True, False), (False, True), (True, True)}


def test_rows_of_which_nothing_new_can_be_made_are_refused():
    with pytest.raises(UserError, match=r"distil.augment: nothing new can be made of the training rows"):
        augment.make(["word"], [], 10, 0)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("word", "a [UNK] film"), ("whitespace", "a <unk> film"), ("wordpiece", "a [MASK] film"), ("bpe", "a film")],
)
def test_a_mask_is_one_token_that_the_tokenizer_knows_or_nothing(kind, expected):
    tokenizer = tokenizers.train(kind, ["a good film", "a bad film"] * 3, Data("x", vocab_size=300))
    text, pair, words = augment.written_for([f"a {MASK} film", (f"{MASK} a", "b"), ["a", MASK]], tokenizer)
    assert text == expected
    assert len(pair) == len(words) == 2  # the words of a list stay aligned
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    plain = tokenizer("a film", add_special_tokens=False)["input_ids"]
    assert len(ids) == len(plain) + (kind != "bpe")
    if kind != "bpe":
        assert set(ids) - set(plain) == {tokenizer.mask_token_id or tokenizer.unk_token_id}
