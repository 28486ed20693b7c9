"""The rows on which an export is tried are spread over the whole split, whatever limits their number."""

from __future__ import annotations

from pipeline.export import validation_rows

NAMES = ["text"]


def test_rows_of_a_sorted_split_keep_their_shares_when_the_characters_run_out():
    long = "a" * (validation_rows.CHARACTERS // 100)
    rows = [{"text": long, "gold": "bad"}] * 300 + [{"text": long, "gold": "good"}] * 100
    found = validation_rows._some(rows, NAMES, running=False)
    assert [row["gold"] for row in found] == ["bad"] * 75 + ["good"] * 25


def test_rows_of_a_sorted_split_keep_their_shares_when_there_are_too_many():
    rows = [{"text": "a", "gold": "bad"}] * 3000 + [{"text": "a", "gold": "good"}] * 1000
    found = validation_rows._some(rows, NAMES, running=False)
    assert [row["gold"] for row in found] == ["bad"] * 750 + ["good"] * 250


def test_running_text_is_read_from_its_beginning():
    rows = [{"text": f"{number:04}" + "a" * (validation_rows.CHARACTERS // 10 - 4)} for number in range(30)]
    assert validation_rows._some(rows, NAMES, running=True) == rows[:10]


def test_one_row_is_left_of_rows_that_are_each_too_long():
    rows = [{"text": "a" * validation_rows.CHARACTERS * 2}] * 2
    assert len(validation_rows._some(rows, NAMES, running=False)) == 1
