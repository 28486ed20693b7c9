"""Runs are compared on the same rows: other rows, labels and tasks are refused with what differs, or left out."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from run_folders import KINDS, write_run

from pipeline.compare.judging import judge
from pipeline.compare.rows import keys_of
from pipeline.errors import UserError


def refusal(*folders: Path, **options) -> str:
    with pytest.raises(UserError) as refused:
        judge(folders, **options)
    return str(refused.value)


def change(run: Path, make) -> None:
    """Replace the rows of a run by `make(table)`."""
    file = run / "predictions/test.parquet"
    table = pq.read_table(file)
    pq.write_table(make(table).replace_schema_metadata(table.schema.metadata), file)


def with_column(table: pa.Table, name: str, values: list) -> pa.Table:
    field = table.schema.field(name)
    return table.set_column(table.column_names.index(name), field, pa.array(values, field.type))


@pytest.mark.parametrize("kind", KINDS)
def test_runs_on_the_same_rows_are_compared_and_other_rows_are_refused(tmp_path, kind):
    runs = [write_run(tmp_path / name, kind, hidden_size=size) for name, size in (("a", 8), ("b", 16))]
    assert judge(runs).rows == 200
    other = write_run(tmp_path / "c", kind, shift=20)
    assert "test rows differ: 200 and 200 rows" in refusal(runs[0], other)
    assert judge([runs[0], other], common=True).rows in range(1, 181)


def test_fewer_rows_are_refused_with_the_counts_the_row_that_is_only_in_one_and_the_setting(tmp_path):
    whole, part = write_run(tmp_path / "whole"), write_run(tmp_path / "part", rows=120, data={"limit": 120})
    message = refusal(whole, part)
    assert "part and" in message
    assert "120 and 200 rows, 120 of them in both; whole goes on with row 120 (reviews.csv:122 'film" in message
    assert "data.limit is 120 in part and not set in whole; compare the rows that all have with --common" in message


def test_other_rows_are_refused_with_the_first_that_differs(tmp_path):
    message = refusal(write_run(tmp_path / "a"), write_run(tmp_path / "b", shift=50, data={"split_seed": 1}))
    assert "200 and 200 rows, 150 of them in both; the first that differs is row 0, reviews.csv:2 'café warm" in message
    assert "and reviews.csv:52 'London film" in message
    assert "data.split_seed is 0 in a and 1 in b" in message


def test_rows_in_another_order_are_refused_and_matched_with_common(tmp_path):
    one, other = write_run(tmp_path / "a"), write_run(tmp_path / "b", hidden_size=16)
    before = judge([one, other])
    change(other, lambda table: table.take(list(range(199, -1, -1))))
    assert "their test rows are the same, in another order" in refusal(one, other)
    after = judge([one, other], common=True)
    assert after.rows == 200
    assert after.estimates["b"]["accuracy"] == before.estimates["b"]["accuracy"]
    assert after.predictions["b"].table["text"].to_pylist() == after.predictions["a"].table["text"].to_pylist()


def test_other_gold_answers_are_refused_with_how_many_and_the_first(tmp_path):
    one, other = write_run(tmp_path / "a"), write_run(tmp_path / "b", hidden_size=16)

    def swapped(table: pa.Table) -> pa.Table:
        gold = table["gold"].to_pylist()
        gold[3], gold[5] = ({"good": "bad", "bad": "good"}[gold[row]] for row in (3, 5))
        return with_column(table, "gold", gold)

    change(other, swapped)
    message = refusal(one, other)
    assert "the gold answers of their test rows differ, 2 of 200, the first at reviews.csv:5" in message
    assert judge([one, other], common=True).rows == 198


def test_other_tasks_labels_and_kinds_of_answers_are_refused(tmp_path):
    classes = write_run(tmp_path / "classes")
    assert "the task of the first is sentiment, of the second ner" in refusal(
        classes, write_run(tmp_path / "d", "entities")
    )
    assert "the answers of the first are single_label_classification, of the second regression" in refusal(
        classes, write_run(tmp_path / "numbers", "numbers")
    )
    three = write_run(tmp_path / "three", labels=("bad", "good", "mixed"))
    assert "their labels differ: only the second has mixed; data.label_names renames labels" in refusal(classes, three)


def test_the_scheme_of_the_tags_does_not_matter_but_the_types_of_entities_do(tmp_path):
    one = write_run(tmp_path / "a", "entities", labels=("LOC", "PER"))
    other = write_run(tmp_path / "b", "entities", labels=("LOC", "PER"), hidden_size=16)
    file = other / "predictions/test.parquet"
    table = pq.read_table(file)
    bioes = table.schema.metadata[b"finetune"].replace(b'"I-PER"', b'"I-PER", "E-PER", "S-PER"')
    pq.write_table(table.replace_schema_metadata({b"finetune": bioes}), file)
    assert judge([one, other]).rows == 200
    assert "only the second has ORG" in refusal(
        one, write_run(tmp_path / "c", "entities", labels=("LOC", "PER", "ORG"))
    )


def test_equal_rows_are_matched_as_often_as_all_runs_have_them(tmp_path):
    runs = [write_run(tmp_path / name, hidden_size=size) for name, size in (("a", 8), ("b", 16), ("c", 32))]
    change(runs[0], lambda table: table.take([0, 0, 0, 1, 2]))
    change(runs[1], lambda table: table.take([1, 0, 0]))
    change(runs[2], lambda table: table.take([0, 5, 0, 1, 0]))
    verdict = judge(runs, common=True)
    texts = [own.table["text"].to_pylist() for own in verdict.predictions.values()]
    assert verdict.rows == 3
    assert texts[0] == texts[1] == texts[2]
    assert texts[0].count(texts[0][0]) == 2
    assert "compared on the 3 rows that all runs have (a has 5, c has 5)" in verdict.notes


def test_common_needs_a_row_that_all_have_and_the_rows_of_all(tmp_path):
    one, other = write_run(tmp_path / "a"), write_run(tmp_path / "b", hidden_size=16)
    change(other, lambda table: with_column(table, "text", [f"{text}!" for text in table["text"].to_pylist()]))
    assert "no row is in both, so train and test them on the same data" in refusal(one, other)
    assert "--common: there is no row that all of a, b have" in refusal(one, other, common=True)
    (other / "predictions/test.parquet").unlink()
    assert refusal(one, other, common=True).startswith("--common: b has no predictions/test.parquet, and tests need")


def test_a_missing_text_is_not_the_same_as_an_empty_one():
    tables = [
        pa.table({"text": ["a"], "text_pair": pa.array([pair], pa.string()), "gold": ["x"]}) for pair in (None, "")
    ]
    assert not keys_of(tables[0]).equals(keys_of(tables[1]))
    assert keys_of(pa.table({"words": [["a", "b"]], "gold": [["O", "O"]]})) != keys_of(
        pa.table({"words": [["a b"]], "gold": [["O"]]})
    )


def test_a_damaged_file_of_rows_is_refused_by_name(tmp_path):
    run = write_run(tmp_path / "a")
    (run / "predictions/test.parquet").write_bytes(b"nothing")
    assert refusal(run).startswith(f"{run}/predictions/test.parquet: ")
