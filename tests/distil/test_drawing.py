"""Texts are drawn without repetition and without those that are held out, as a brute-force search confirms."""

from __future__ import annotations

from collections import Counter

import numpy as np
from scipy import stats

from pipeline.data.text_stats import normalised
from pipeline.distil.drawing import Draw, number_of


def drawn(contents, limit=10**6, seed=0, held_out=()):
    draw = Draw(limit, seed, held_out)
    for content in contents:
        draw.add(content)
    return draw.finish()


def random_texts(count: int) -> list[str]:
    """Texts of which many are equal, or equal but for case, blanks, punctuation and width."""
    chance = np.random.default_rng(0)
    words = ["Good", "good", "ＧＯＯＤ", "film", "film!", "סרט", "a", "a,"]
    return [" ".join(chance.choice(words, chance.integers(1, 4))) for _ in range(count)]


def test_equal_texts_are_drawn_once_and_held_out_ones_never_as_a_search_for_each_pair_finds():
    texts, held_out = random_texts(400), ["a  GOOD film", "סרט."]
    forbidden = [normalised(text) for text in held_out]
    expected = []
    for text in texts:
        if normalised(text) not in forbidden and all(normalised(text) != normalised(other) for other in expected):
            expected.append(text)
    left = [text for text in texts if normalised(text) not in forbidden]
    found = drawn(texts, held_out=held_out)
    assert found.contents == expected
    assert found.report == {
        "held_out": len(texts) - len(left), "trained": 0, "duplicates": len(left) - len(expected), "over_limit": 0,
        "drawn": len(expected),
    }  # fmt: skip


def test_pairs_and_lists_of_words_are_compared_as_a_whole():
    pairs = [("a b", "c"), ("a", "b c"), ("A B", "c!"), ("c", "a b")]
    assert drawn(pairs).contents == [pairs[0], pairs[1], pairs[3]]
    words = [["a", "b"], ["A", "b", "."], ["b", "a"]]
    assert drawn(words, held_out=[["B", "A"]]).contents == [["a", "b"]]


def test_texts_without_letters_are_not_all_equal():
    assert drawn(["!", "?", "...", "?"]).contents == ["!", "?", "..."]


def test_the_choice_depends_on_the_texts_and_the_seed_and_on_nothing_else():
    texts = [f"text {number}" for number in range(1000)]
    chosen = drawn(texts, limit=100)
    assert chosen.contents == sorted(chosen.contents, key=texts.index)  # in the order of the source
    assert chosen.report["over_limit"] == 900
    assert set(drawn(texts[::-1] + texts, limit=100).contents) == set(chosen.contents)
    assert set(drawn(texts, limit=100, seed=1).contents) != set(chosen.contents)


def test_the_numbers_are_the_same_in_every_process_and_on_every_machine():
    assert number_of("A good  film!", seed=0) == number_of("a good film", seed=0) == 11150003389911370996
    assert number_of(["סרט", "טוב"], seed=1) == 8451279247004083372


def test_every_text_is_drawn_with_the_same_probability_however_often_it_is_repeated():
    texts = [f"text {number}" for number in range(20) for _ in range(1 + 10 * (number < 5))]
    counts = Counter(text for seed in range(600) for text in drawn(texts, limit=5, seed=seed).contents)
    assert sum(counts.values()) == 3000
    # The counts vary less than those of independent draws, so the test is on the safe side.
    assert stats.chisquare([counts[text] for text in dict.fromkeys(texts)]).pvalue > 0.01
