"""Formats: one table has their names, suffixes and readers."""

from __future__ import annotations

import typing
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.config.data import Data, DataFormat
from pipeline.config.formats import BY_SUFFIX, FORMATS, TREEBANK, Part
from pipeline.config.sources import resolve
from pipeline.data.readers import registry
from pipeline.data.rows import batches
from pipeline.errors import UserError

CONTENTS = {
    "fasttext": "__label__x a b\n",
    "label-first": "x a b\n",
    "tree": "(0 (1 a) (2 b))\n",
    "csv": "text,label\na b,x\n",
    "tsv": "text\tlabel\na b\tx\n",
    "json": '[{"text": "a b", "label": "x"}]',
    "jsonl": '{"text": "a b", "label": "x"}\n',
    "txt": "a b\n",
    "conll": "a B-X\nb I-X\n",
    "tmx": '<tmx><tu><tuv xml:lang="text"><seg>a b</seg></tuv></tu></tmx>',
    **dict.fromkeys(("doccano", "label-studio", "prodigy", "spacy"), '{"text": "a b", "label": [[0, 3, "X"]]}\n'),
}


ANY_NAME = [name for name, format in FORMATS.items() if not format.is_folder and not format.beside]


def write(file: Path, format: str) -> None:
    table = pa.table({"text": ["a b"], "label": ["x"]})
    if format == "parquet":
        pq.write_table(table, file)
    elif format == "arrow":
        with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as stream:
            stream.write_table(table)
    else:
        file.write_text(CONTENTS[format])


def read(part: Part, data: Data, warnings: list[str] | None = None) -> list[dict]:
    return [row for batch in batches(registry.read(part, data, warnings)) for _, row in batch.rows()]


def test_data_format_names_the_rows_of_the_table():
    assert typing.get_args(DataFormat) == tuple(FORMATS)
    assert len(BY_SUFFIX) == sum(len(format.suffixes) for format in FORMATS.values())


@pytest.mark.parametrize("format", [*FORMATS.values(), TREEBANK], ids=lambda format: format.reader)
def test_every_row_names_functions_that_exist(format):
    for place in filter(None, (format.reader, format.class_names)):
        assert callable(registry._function(place))


@pytest.mark.parametrize("format", ANY_NAME)
def test_a_file_of_any_name_is_read_in_the_format_that_is_set(tmp_path, format):
    for name in ("corpus", "corpus.dat", "corpus.csv"):
        write(tmp_path / name, format)
        source = resolve(Data(str(tmp_path / name), format=format))
        assert source.parts == {"train": (Part(tmp_path / name, FORMATS[format]),)}
        (row,) = read(source.parts["train"][0], source.data)
        expected = {"text": "a b"} if format != "conll" else {"tokens": ["a", "b"], "tags": ["B-X", "I-X"]}
        assert {name: row[name] for name in expected} == expected


@pytest.mark.parametrize("format", FORMATS)
def test_the_suffix_chooses_the_format_if_none_is_set(tmp_path, format):
    for suffix in FORMATS[format].suffixes:
        write(tmp_path / f"a{suffix}", format)
        ((part,),) = resolve(Data(str(tmp_path / f"a{suffix}"))).parts.values()
        assert part.format == FORMATS[format]


def test_files_in_a_folder_may_have_any_suffix_if_the_format_is_set(tmp_path):
    for name in ("train.xyz", "dev.xyz", "test.xyz", "notes.xyz"):
        (tmp_path / name).write_text("what may this be\n")
    with pytest.raises(UserError, match=r"no train\.\*, validation\.\* or test\.\* in it, only dev.xyz, notes.xyz"):
        resolve(Data(str(tmp_path)))
    source = resolve(Data(str(tmp_path), format="conll"))
    assert {split: [part.file.name for part in parts] for split, parts in source.parts.items()} == {
        "train": ["train.xyz"],
        "validation": ["dev.xyz"],
        "test": ["test.xyz"],
    }
    write(tmp_path / "train.bmes", "conll")  # the format's own suffixes take precedence
    (part,) = resolve(Data(str(tmp_path), format="conll")).parts["train"]
    assert part.file.name == "train.bmes"


def test_only_a_format_of_running_text_makes_running_text(tmp_path):
    for name in ("a.txt", "b.dat"):
        write(tmp_path / name, "txt")
    assert resolve(Data(str(tmp_path / "a.txt"))).is_running_text
    assert resolve(Data(str(tmp_path / "b.dat"), format="txt")).is_running_text
    assert not resolve(Data(str(tmp_path / "a.txt"), format="conll")).is_running_text
    assert not resolve(Data(str(tmp_path / "a.txt"), separate=True)).is_running_text
    assert resolve(Data(str(tmp_path / "a.txt"), separate=False, format="conll")).is_running_text


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (Data("sample:imdb", format="csv"), "data.format: sample:imdb is a packaged sample, whose format is known"),
        (
            Data("org/name", format="csv"),
            "data.format: there is no file org/name, and a Hub dataset",
        ),
        (Data("gone.dat", format="csv"), "data.source: there is no file or folder gone.dat"),
    ],
)
def test_a_format_is_refused_if_it_would_have_no_effect(tmp_path, monkeypatch, data, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as refusal:
        resolve(data)
    assert str(refusal.value).startswith(message)


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("a.txt", {"separator": "|"}, "data.separator: a.txt is read as txt, which does not use it; remove it, or set"),
        ("a.jsonl", {"header": False}, "data.header: a.jsonl is read as jsonl, which does not use it; remove it, or"),
        ("a.conll", {"quoting": "none"}, "data.quoting: a.conll is read as conll, which does not use it; remove it"),
        ("a.parquet", {"encoding": "cp1252"}, "data.encoding: a.parquet is read as parquet, which does not use it; re"),
        ("sample:imdb", {"encoding": "cp1252"}, "data.encoding: sample:imdb is a packaged sample, whose format is kno"),
        ("org/name", {"quoting": "none"}, "data.quoting: org/name is a Hub dataset, whose files are read by datasets"),
    ],
)
def test_a_setting_that_no_reader_would_use_is_refused(tmp_path, monkeypatch, name, settings, message):
    monkeypatch.chdir(tmp_path)
    contents = {"a.jsonl": '{"text": "fine"}\n', "a.conll": "Ann B-PER\n", "a.parquet": "PAR1"}
    if name.startswith("a."):
        (tmp_path / name).write_text(contents.get(name, "fine\n"))
    with pytest.raises(UserError) as refusal:
        resolve(Data(name, **settings))
    assert str(refusal.value).startswith(message)


def test_a_setting_that_one_of_the_splits_uses_is_kept(tmp_path):
    (tmp_path / "train.csv").write_text("text|label\nfine|1\n")
    (tmp_path / "test.jsonl").write_text('{"text": "fine", "label": 1}\n')
    assert set(resolve(Data(str(tmp_path), separator="|")).parts) == {"train", "test"}


def test_a_format_that_is_not_in_the_table_is_refused():
    with pytest.raises(UserError, match=r"data\.format: 'jsonlines' is not a valid choice; did you mean jsonl\?"):
        Data("a.txt", format="jsonlines")


def test_readers_report_what_they_left_out(tmp_path):
    (tmp_path / "a.conll").write_text("-DOCSTART- O\n\na O\nb O\n\n")
    warnings: list[str] = []
    assert len(read(Part(tmp_path / "a.conll", FORMATS["conll"]), Data("a.conll"), warnings)) == 1
    assert warnings == [f"{tmp_path}/a.conll: 1 -DOCSTART- lines were left out"]
