"""Readers: rows with their line numbers, and one helpful line for everything that is wrong with a file."""

from __future__ import annotations

import contextlib
import json
import pickle

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.config import sources
from pipeline.config.data import Data
from pipeline.config.formats import Part, format_of
from pipeline.data.readers import registry
from pipeline.data.rows import batches
from pipeline.errors import UserError


def read(file, warnings=None):
    format = format_of(file)
    assert format is not None
    found = batches(registry.read(Part(file, format), Data(str(file)), warnings))
    return [row for batch in found for row in batch.rows()]


def rows_of(tmp_path, name, content):
    file = tmp_path / name
    file.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    return read(file)


@pytest.mark.parametrize(
    ("name", "content", "rows"),
    [
        ("a.csv", "text,label\ngood,1\nbad,0\n", [(2, "good"), (3, "bad")]),
        ("bom.csv", b"\xef\xbb\xbftext,label\ngood,1\n", [(2, "good")]),
        ("crlf.csv", "text,label\r\ngood,1\r\nbad,0\r\n", [(2, "good"), (3, "bad")]),
        ("cr.csv", "text,label\rgood,1\rbad,0\r", [(2, "good"), (3, "bad")]),
        ("blank.csv", "text,label\n\ngood,1\n\nbad,0", [(3, "good"), (5, "bad")]),
        ("lines.csv", 'text,label\n"two\nlines",1\nbad,0\n', [(2, "two\nlines"), (4, "bad")]),
        ("quotes.csv", 'text,label\n"say ""hi"", now",1\n', [(2, 'say "hi", now')]),
        ("UPPER.CSV", "text,label\ngood,1\n", [(2, "good")]),
        ("a.tsv", "text\tlabel\ngood, or not\t1\n", [(2, "good, or not")]),
        ("a.jsonl", '{"text": "good"}\n\n{"text": "bad"}\n', [(1, "good"), (3, "bad")]),
        ("a.json", '[{"text": "good"}, {"text": "bad"}]', [(1, "good"), (2, "bad")]),
        ("data.json", '{"version": 1, "data": [{"text": "good"}]}', [(1, "good")]),
        ("a.txt", "good\nbad\r\nlast", [(1, "good"), (2, "bad"), (3, "last")]),
        ("he.csv", "text,label\n\u200fשָׁלוֹם 👍🏽\u200e,1\n", [(2, "\u200fשָׁלוֹם 👍🏽\u200e")]),
        ("separator.txt", "one\u2028line\x85still\n", [(1, "one\u2028line\x85still")]),
    ],
)
def test_a_clean_file_is_read_with_its_line_numbers(tmp_path, name, content, rows):
    assert [(line, row["text"]) for line, row in rows_of(tmp_path, name, content)] == rows


@pytest.mark.parametrize("size", [10_000_000])
def test_a_line_of_ten_megabytes_is_one_row(tmp_path, size):
    ((_, row),) = rows_of(tmp_path, "long.csv", "text,label\n" + "x" * size + ",1\n")
    assert len(row["text"]) == size


def test_lines_are_whole_wherever_a_chunk_ends(tmp_path, monkeypatch):
    content = "text,label\r\nschön,1\r\nböse,0\r\n"
    for size in range(1, 12):
        monkeypatch.setattr("pipeline.data.readers.common.CHUNK_BYTES", size)
        found = rows_of(tmp_path, "a.csv", content)
        assert found == [(2, {"text": "schön", "label": "1"}), (3, {"text": "böse", "label": "0"})]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "", "a.csv: the file is empty"),
        ("a.csv", b"text,label\ncaf\xe9,1\n", "a.csv:2: not UTF-8 at byte 14 (0xe9); it may be cp1252 ('café'): set"),
        ("a.csv", b"PK\x03\x04....", "a.csv: this is a zip archive"),
        ("a.csv", b"\x1f\x8b\x08\x00", "a.csv: the gzip archive is damaged or incomplete"),
        ("a.csv", b"PAR1", "a.csv: this is a parquet file; set data.format to parquet"),
        ("a.csv", b"text,label\na\x00b,1\n", "a.csv: a NUL at byte 12"),
        ("a.csv", "text,label\na,b,1\n", "a.csv:2: 3 fields, but the header has 2, separated by commas; nothing is"),
        ("a.csv", "text,text\na,1\n", "a.csv:1: two columns are called 'text'"),
        ("a.csv", "\n\n", "a.csv:1: no header"),
        ("a.jsonl", '{"text": "a"}\n{"text": \n', "a.jsonl:2: not JSON at column"),
        ("a.jsonl", '{"text": "a"}\n["b"]\n', "a.jsonl:2: expected an object with named fields"),
        ("a.json", '[{"text": "a"},]', "a.json:1: not JSON at column"),
        ("a.json", '{"text": "a"}', "a.json: expected a list of objects"),
        ("a.json", "[1]", "a.json:1: expected an object with named fields, found 1"),
        ("a.jsonl", '{"text": "a", "label": ' + "9" * 5000 + "}", "a.jsonl:1: not JSON: Exceeds the limit"),
        ("a.json", "[" * 100_000, "a.json:1: JSON nested too deeply"),
        ("a.parquet", b"PAR1 and nothing else", "a.parquet: not a readable parquet file after row 0"),
    ],
)
def test_a_broken_file_is_refused_with_its_place(tmp_path, name, content, message):
    with pytest.raises(UserError) as refusal:
        rows_of(tmp_path, name, content)
    printed = str(refusal.value).replace(f"{tmp_path}/", "")
    assert printed.startswith(message), printed
    assert "\n" not in printed


def test_parquet_of_every_string_type_is_read(tmp_path):
    texts = ["good", None, "bad"]
    columns = {
        "text": pa.array(texts, pa.large_string()),
        "label": pa.array(["x", "y", "x"]).dictionary_encode(),
    }
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    assert [(n, row["text"], row["label"]) for n, row in read(tmp_path / "a.parquet")] == [
        (1, "good", "x"),
        (2, None, "y"),
        (3, "bad", "x"),
    ]


def test_a_truncated_parquet_file_is_refused(tmp_path):
    pq.write_table(pa.table({"text": ["a"] * 1000}), tmp_path / "a.parquet")
    content = (tmp_path / "a.parquet").read_bytes()
    with pytest.raises(UserError, match="not a readable parquet file"):
        rows_of(tmp_path, "b.parquet", content[: len(content) // 2])


def test_json_escapes_are_read_as_characters(tmp_path):
    ((_, row),) = rows_of(tmp_path, "a.json", json.dumps([{"text": "שלום 👍"}]))
    assert row["text"] == "שלום 👍"


def test_parquet_columns_with_the_same_name_are_refused(tmp_path):
    table = pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], names=["text", "text"])
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(UserError, match="two columns are called 'text'; rename one"):
        read(tmp_path / "a.parquet")


def test_no_damaged_byte_of_a_parquet_footer_causes_a_traceback(tmp_path):
    pq.write_table(pa.table({"text": ["a", "b"]}), tmp_path / "a.parquet")
    content = bytearray((tmp_path / "a.parquet").read_bytes())
    footer = int.from_bytes(content[-8:-4], "little")
    for place in range(len(content) - 8 - footer, len(content) - 8):
        damaged = content[:place] + bytes([content[place] ^ 0x5A]) + content[place + 1 :]
        with contextlib.suppress(UserError):  # a byte without a meaning may change
            rows_of(tmp_path, "b.parquet", bytes(damaged))


@pytest.mark.parametrize("kind", [pa.timestamp("s"), pa.timestamp("ns"), pa.duration("s")])
def test_times_that_python_cannot_represent_are_read(tmp_path, kind):
    pq.write_table(pa.table({"text": ["a"], "when": pa.array([2**50 + 1], kind)}), tmp_path / "a.parquet")
    ((_, row),) = read(tmp_path / "a.parquet")
    assert row["text"] == "a"


def test_a_source_that_another_process_has_found_is_read(tmp_path):
    (tmp_path / "a.csv").write_text("text,label\ngood,1\n")
    source = pickle.loads(pickle.dumps(sources.resolve(Data(str(tmp_path / "a.csv")))))
    (batch,) = registry.read(source.parts["train"][0], source.data)
    assert batch["text"].to_pylist() == ["good"]
