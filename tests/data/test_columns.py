"""How the values of columns are read, from Arrow or Python: texts, labels, numbers, tokens and tags."""

from __future__ import annotations

import math

import pyarrow as pa
import pytest

from pipeline.data import columns
from pipeline.data.rows import MISSING
from pipeline.errors import UserError


def at(index: int) -> str:
    return f"f:{index + 1}"


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, ""), (math.nan, ""), (3, "3"), (2.5, "2.5"), ("\u200fא", "\u200fא"), ("nan", "nan"), ("null", "null")],
)
def test_texts_stay_as_they_are(value, text):
    assert columns.read_texts([value, "a"], at).to_pylist() == [text, "a"]


def test_strings_of_arrow_are_taken_as_they_are():
    assert columns.read_texts(pa.array(["a ", None, ""]), at).to_pylist() == ["a ", "", ""]
    assert columns.read_texts(pa.array([1, None]), at).to_pylist() == ["1", ""]
    assert columns.read_texts(pa.nulls(2), at).to_pylist() == ["", ""]


@pytest.mark.parametrize("value", [["a"], {"a": 1}, b"a", True, "\ud800"])
def test_a_value_that_is_not_text_is_refused_with_its_line(value):
    with pytest.raises(UserError, match=r"f:2: the text"):
        columns.read_texts(["a", value], at)


@pytest.mark.parametrize(
    ("value", "label"),
    [
        (1, "1"),
        (1.0, "1"),
        ("1.0", "1"),
        ("1.5", "1.5"),
        (" good ", "good"),
        (True, "True"),
        (["good"], "good"),
        *((missing, None) for missing in (None, "", "  ", math.nan, "NaN", "null", "N/A", "None", "NA", [], MISSING)),
        *((stance, stance) for stance in ("NONE", "none", "na")),
    ],
)
def test_labels_are_strings_or_null_if_there_is_none(value, label):
    assert columns.read_labels([value, "x"], at).to_pylist() == [label, "x"]


@pytest.mark.parametrize(
    "column", [pa.array([1, 0, None, 1]), pa.array([1.0, 0.0, None, 1.0]), pa.array(["1", "0.0", "nan", " 1"])]
)
def test_labels_of_arrow_are_those_of_python(column):
    assert columns.read_labels(column, at).to_pylist() == ["1", "0", None, "1"]
    assert columns.read_labels(column.to_pylist(), at).to_pylist() == ["1", "0", None, "1"]


@pytest.mark.parametrize("value", [{"a": 1}, [["a"]], b"a", ["a", "b"]])
def test_a_value_that_is_no_single_label_is_refused_with_its_line(value):
    with pytest.raises(UserError, match=r"f:2: the (label is|row has 2 labels)"):
        columns.read_labels(["a", value], at)


@pytest.mark.parametrize(
    ("value", "labels"),
    [
        (["a", "b", "a"], ["a", "b"]),
        ([], []),
        ("['a', 'b']", ["a", "b"]),
        ('["a", "b"]', ["a", "b"]),
        ("a, b", ["a", "b"]),
        ([1, 2.0], ["1", "2"]),
        (None, None),
        ("", None),
    ],
)
def test_lists_of_labels_are_read_from_lists_and_from_strings(value, labels):
    assert columns.read_label_lists([value], at).to_pylist() == [labels]


@pytest.mark.parametrize(("value", "number"), [(1, 1.0), ("0.5", 0.5), (None, None), ("nan", None), (" 2 ", 2.0)])
def test_numbers_are_read_from_numbers_and_from_strings(value, number):
    assert columns.read_numbers([value], at).to_pylist() == [number]


@pytest.mark.parametrize("value", ["good", "inf", True, [1]])
def test_a_label_that_is_not_a_number_is_refused_with_its_line(value):
    with pytest.raises(UserError, match=r"f:2: the label .* is not a number"):
        columns.read_numbers([1, value], at)


def test_the_line_of_an_error_is_that_of_the_first_row_with_the_value():
    with pytest.raises(UserError, match="f:3: the label 'x'"):
        columns.read_numbers(pa.array(["1", "2", "x", "1", "x"]), at)


@pytest.mark.parametrize(
    "column", [pa.array([["a", "1"], []]), [["a", 1], []], pa.array([["a", "1"], []], columns.LIST)]
)
def test_tokens_are_lists_of_words(column):
    assert columns.read_tokens(column, at).to_pylist() == [["a", "1"], []]


def test_ids_of_tags_become_digits():
    assert columns.read_tags(pa.array([[0, 12], [3]]), at).to_pylist() == [["0", "12"], ["3"]]


@pytest.mark.parametrize(
    ("value", "says"),
    [("a b", "the tokens are a text"), (None, "the tokens are missing"), (["a", None], "token 2 is missing"),
     ([["a"]], "token 1 is a list"), (["\ud800"], "half a surrogate pair")],
)  # fmt: skip
def test_a_value_that_is_no_list_of_words_is_refused_with_its_line(value, says):
    with pytest.raises(UserError, match=f"f:2: .*{says}"):
        columns.read_tokens([["a"], value], at)


def test_a_list_of_one_label_that_is_written_as_a_text_is_that_label():
    assert columns.read_labels(["['joy']", '["fear"]', "joy", "[UNK]"], str).to_pylist() == [
        "joy",
        "fear",
        "joy",
        "[UNK]",
    ]
