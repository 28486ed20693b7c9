"""JSON in every form in which tables are written, read in bulk, and refused in one line with the place."""

from __future__ import annotations

import json

import pandas as pd
import pyarrow as pa
import pytest

from pipeline.config.data import Data
from pipeline.config.sources import resolve
from pipeline.data.readers import common, registry
from pipeline.data.rows import batches
from pipeline.errors import UserError

ROWS = [{"text": "a fine day", "label": "good"}, {"text": "rain, again", "label": "bad"}]
FRAME = pd.DataFrame([*ROWS, {"text": "so-so", "label": None}])


def read(file, content: str | None = None, **settings) -> list[tuple[int, dict]]:
    if content is not None:
        file.write_text(content)
    source = resolve(Data(str(file), **settings))
    found = batches(registry.read(source.parts["train"][0], source.data, []))
    return [row for batch in found for row in batch.rows()]


@pytest.mark.parametrize("orient", ["records", "columns", "index", "split", "table"])
def test_a_frame_is_read_in_whatever_orient_pandas_has_written_it(tmp_path, orient):
    FRAME.to_json(tmp_path / "a.json", orient=orient)
    rows = read(tmp_path / "a.json")
    assert [line for line, _ in rows] == [1, 2, 3]
    assert [row for _, row in rows] == [*ROWS, {"text": "so-so", "label": None}]


def test_rows_of_values_get_numbers_as_names_of_their_columns(tmp_path):
    FRAME.to_json(tmp_path / "a.json", orient="values")
    assert read(tmp_path / "a.json")[1] == (2, {"1": "rain, again", "2": "bad"})
    assert read(tmp_path / "b.json", '[["text", "label"], ["fine", 1]]') == [(1, {"text": "fine", "label": 1})]


def test_a_frame_with_an_index_of_names_is_read(tmp_path):
    FRAME.set_index(pd.Index(["x", "y", "z"])).to_json(tmp_path / "a.json", orient="index")
    assert [row["label"] for _, row in read(tmp_path / "a.json")] == ["good", "bad", None]


@pytest.mark.parametrize(
    "value",
    [
        ROWS,
        {"data": ROWS},
        {"version": "1.1", "examples": ROWS},
        {"text": [row["text"] for row in ROWS], "label": [row["label"] for row in ROWS]},
        {"features": [{"name": "text"}], "rows": [{"row_idx": n, "row": row} for n, row in enumerate(ROWS)]},
    ],
)
def test_a_list_of_rows_is_found_wherever_it_is(tmp_path, value):
    for indent in (None, 2):
        assert [row for _, row in read(tmp_path / "a.json", json.dumps(value, indent=indent))] == ROWS


@pytest.mark.parametrize("form", ["records", "lists"])
def test_splits_in_one_object_become_a_column(tmp_path, form):
    one = ROWS if form == "records" else {name: [row[name] for row in ROWS] for name in ("text", "label")}
    rows = read(tmp_path / "a.json", json.dumps({"train": one, "dev": one}))
    assert [row["split"] for _, row in rows] == ["train", "train", "dev", "dev"]
    assert [row["text"] for _, row in rows] == [row["text"] for row in ROWS * 2]


def test_objects_one_after_the_other_are_rows(tmp_path):
    content = "\n".join(json.dumps(row, indent=1) for row in ROWS)
    assert [row for _, row in read(tmp_path / "a.json", content)] == ROWS


def test_lines_keep_their_numbers_whatever_is_between_them(tmp_path):
    content = '\n{"text": "a\\u2028b", "n": 1}\r\n  \n{"text": "c", "n": 2.5}\n{"text": "d"}'
    assert read(tmp_path / "a.jsonl", content) == [
        (2, {"text": "a\u2028b", "n": 1}),
        (4, {"text": "c", "n": 2.5}),
        (5, {"text": "d"}),
    ]


def test_lists_on_lines_are_rows_with_numbered_columns(tmp_path):
    content = '["a fine day", 1]\n["rain", 0]\n'
    assert read(tmp_path / "a.jsonl", content) == [(1, {"1": "a fine day", "2": 1}), (2, {"1": "rain", "2": 0})]


@pytest.mark.parametrize(("name", "content"), [("a.json", '["fine", "rain"]'), ("a.jsonl", '"fine"\n"rain"\n')])
def test_texts_alone_are_rows(tmp_path, name, content):
    assert read(tmp_path / name, content) == [(1, {"text": "fine"}), (2, {"text": "rain"})]


def test_whole_numbers_next_to_others_stay_whole(tmp_path):
    content = '{"text": 2018, "scores": [1, 2.5]}\n{"text": 0.5, "scores": [1]}\n'
    assert [json.dumps(row) for _, row in read(tmp_path / "a.jsonl", content)] == content.splitlines()


def test_values_of_several_kinds_stay_as_they_are(tmp_path):
    rows = [{"label": 1}, {"label": "one"}, {"label": [1, "PER"]}, {"label": {"a": None}}, {"label": 10**30}]
    content = "\n".join(map(json.dumps, rows))
    assert [row for _, row in read(tmp_path / "a.jsonl", content)] == rows


@pytest.mark.parametrize("suffix", ["json", "jsonl"])
def test_rows_are_the_same_wherever_a_chunk_ends(tmp_path, monkeypatch, suffix):
    text = ", ".join(map(json.dumps, ROWS)) if suffix == "json" else "\n".join(map(json.dumps, ROWS))
    (tmp_path / f"a.{suffix}").write_text(f"[{text}]" if suffix == "json" else text)
    for size in (1, 2, 3, 7, 19):
        monkeypatch.setattr("pipeline.data.readers.pieces.CHUNK_BYTES", size)
        monkeypatch.setattr(common, "CHUNK_BYTES", size)
        assert [row for _, row in read(tmp_path / f"a.{suffix}")] == ROWS


@pytest.mark.parametrize("compression", ["gzip", "bz2", "zstd"])
@pytest.mark.parametrize("name", ["a.json", "a.jsonl"])
def test_compressed_json_is_read(tmp_path, name, compression):
    content = FRAME.to_json(orient="records", lines=name == "a.jsonl").encode()
    suffix = {"gzip": "gz", "bz2": "bz2", "zstd": "zst"}[compression]
    with pa.output_stream(str(tmp_path / f"{name}.{suffix}"), compression=compression) as stream:
        stream.write(content)
    assert [row["text"] for _, row in read(tmp_path / f"{name}.{suffix}")] == list(FRAME["text"])


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", '[{"text": "a"}\n{"text": "b"}]', "a.json:2: not JSON at column 1: Expecting ',' or ']'"),
        ("a.json", '[{"text": "a"},\n  {"text" "b"}]', "a.json:2: not JSON at column 11: Expecting ':' delimiter"),
        ("a.json", '[{"text": "a"}]\n[]', "a.json:2: not JSON at column 1: Extra data"),
        ("a.json", '[{"text": "a"}', "a.json:1: not JSON at column 15: Expecting ',' or ']'"),
        ("a.json", "[]", "a.json: it has no rows"),
        ("a.json", "{}", "a.json: expected a list of objects"),
        ("a.json", '{"text": "a", "label": 1}', "a.json: expected a list of objects"),
        ("a.json", '{"a": ["x", "y"], "b": ["x"]}', "a.json: the column 'b' has 1 values, but 'a' has 2"),
        ("a.json", '{"a": {"b": 1}}', "a.json: it is not clear which names are columns and which are rows"),
        ("a.json", '[["a", 1], ["b"]]', "a.json: row 2: 1 values, but there are 2 columns"),
        ("a.json", "[{'text': 'a', 'label': None}]", "a.json:1: this is a Python dictionary, not JSON; write each"),
        ("a.jsonl", "{'text': 'a', 'label': 1}\n", "a.jsonl:1: this is a Python dictionary, not JSON; write each"),
        ("a.jsonl", '{"text": "a"}\n{"text": "b", "label": True}', "a.jsonl:2: this is a Python dictionary"),
        ("a.json", "[('Ann', {'entities': [(0, 3, 'PER')]})]", "a.json:1: this is a Python dictionary"),
        ("a.jsonl", '{"text": "a"}\n{"text": "b",}\n', "a.jsonl:2: not JSON at column 1"),  # 14; from Python 3.13 on 13
        ("a.jsonl", '["a", 1]\n["b"]\n', "a.jsonl:2: 1 values, but the first line has a list of 2"),
        ("a.jsonl", '{"text": "a"},{"text": "b"}\n', "a.jsonl:1: not JSON at column 14: Extra data"),
    ],
)
def test_what_is_no_table_is_refused_with_its_place(tmp_path, name, content, message):
    with pytest.raises(UserError) as refusal:
        read(tmp_path / name, content, format=name.removeprefix("a."))
    assert str(refusal.value).replace(f"{tmp_path}/", "").startswith(message), str(refusal.value)


def test_many_rows_are_read_in_batches(tmp_path):
    content = "".join(f'{{"text": "day {number}", "tags": ["a", "b"]}}\n' for number in range(12_000))
    rows = read(tmp_path / "a.jsonl", content)
    assert len(rows) == 12_000
    assert rows[-1] == (12_000, {"text": "day 11999", "tags": ["a", "b"]})
