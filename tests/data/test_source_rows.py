"""Rows as a user writes them: where they stand, and which are asked when the answering speed is measured."""

from __future__ import annotations

import pyarrow as pa
import pytest

from pipeline.config.data import Data
from pipeline.config.sources import ResolvedSource
from pipeline.data import source_rows
from pipeline.data.rows import Places


def written(tmp_path, **columns):
    table = pa.table({"place": [f"a.csv:{n}" for n in range(len(next(iter(columns.values()))))], **columns})
    with pa.OSFile(str(tmp_path / "rows.arrow"), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table, max_chunksize=3)
    return tmp_path / "rows.arrow"


@pytest.mark.parametrize(
    ("columns", "rows"),
    [
        ({"text": ["a", "b"]}, ["a", "b"]),
        ({"text": ["a", "b"], "text_pair": ["c", "d"]}, [("a", "c"), ("b", "d")]),
        ({"words": [["Ada", "Bell"], ["."]]}, [["Ada", "Bell"], ["."]]),
    ],
)
def test_a_sample_has_what_a_model_reads(tmp_path, columns, rows):
    assert source_rows.sample(written(tmp_path, **columns), 32) == rows


def test_a_sample_is_spread_over_the_split(tmp_path):
    file = written(tmp_path, text=[str(number) for number in range(10)])
    assert source_rows.sample(file, 3) == ["0", "3", "6"]


def test_files_are_named_as_the_user_did_and_only_those_in_the_home_folder_begin_with_a_tilde(monkeypatch):
    monkeypatch.setenv("HOME", "/home/ann")
    places = Places(("/home/ann/a.csv", "/home/anna/b.csv"), "train")
    source = ResolvedSource(Data("~/a.csv"), "files")
    assert source_rows.shown(places, source).parts == ("~/a.csv", "/home/anna/b.csv")
