"""Lists that are written as texts: what Python, NumPy and JSON print is read as it was."""

from __future__ import annotations

import json

import numpy as np
import pytest

from pipeline.data.columns import as_list
from pipeline.data.list_texts import NotAList, parse

WORDS = ["Ann's", 'the "Inn"', "a,b", "]", "\\d\n", "é😀", "None", "3"]


@pytest.mark.parametrize("write", [str, json.dumps, lambda words: json.dumps(words, ensure_ascii=False), repr])
def test_words_come_back_as_they_were(write):
    assert parse(write(WORDS)) == WORDS
    assert parse(write([])) == []


def test_arrays_come_back_as_they_were():
    many = [f"word{number}'s" for number in range(300)]
    assert parse(str(np.array(WORDS, dtype=object))) == WORDS
    assert parse(repr(np.array(WORDS[:3], dtype=object))) == WORDS[:3]
    assert parse(str(np.array(many))) == many
    assert parse(str(np.arange(50))) == list(range(50))
    with pytest.raises(NotAList, match="NumPy has left out the middle"):
        parse(str(np.arange(5000)))


@pytest.mark.parametrize("text", ["word", "[1, 2", "", "(1)"])
def test_a_text_that_is_no_list_is_refused(text):
    with pytest.raises(NotAList):
        parse(text)


def test_words_without_quotes_are_a_list_only_where_it_is_known_to_be_one():
    assert parse("[B-PER, O, 0.5, 3]") == ["B-PER", "O", 0.5, 3]
    with pytest.raises(NotAList, match="'unclear' in a list has no quotes"):
        parse("[unclear]", bare_words=False)


def test_labels_that_are_arrays_stay_apart():
    assert as_list("['a' 'b']") == ["a", "b"]
    assert as_list("['a', 'b']") == ["a", "b"]
    assert as_list("[1 0]") == [1, 0]
    assert as_list("[unclear]") is None
