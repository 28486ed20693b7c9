"""Formats by content: what a file contains decides where its suffix does not, and is said."""

from __future__ import annotations

import gzip
import json

import pytest

from pipeline.config.data import Data
from pipeline.config.files.detection import HEAD_BYTES
from pipeline.config.formats import BY_SUFFIX, FORMATS
from pipeline.config.sources import resolve
from pipeline.errors import UserError

CONLL = "Ada B-PER\nsings O\n\nBonn B-LOC\nsleeps O\n\n"
LINES = '{"text": "fine", "label": 1}\n{"text": "bad", "label": 0}\n'
LIST = json.dumps([{"text": "fine", "label": 1}] * 3)
PRETTY = json.dumps([{"text": "fine", "label": 1}] * 3, indent=2)
COLUMNS = json.dumps({"text": {"0": "fine", "1": "bad"}, "label": {"0": 1, "1": 0}})
LONG = json.dumps({"text": {str(number): "a fine day" for number in range(10_000)}})
FASTTEXT = "__label__good a fine day\n__label__bad __label__sad a bad day\n"
TREES = "(3 (2 A) (4 (2 fine) (2 day)))\n(1 (2 bad) (2 day))\n"
TABS = "ham\tsee you at noon\nspam\tyou have won\nham\tthanks\n"
SEMICOLONS = "i feel calm today;joy\ni am so lost;sadness\nwhat a day;joy\nnobody came;sadness\n"
HEADER = 'text,label\n"a fine, long day",good\nbad,bad\n'
PROSE = "In the beginning, there was a word; nobody heard it.\nThen [sic] came (3) others, and so on.\n"
WIKI = "[[File:A.jpg]] is a picture.\n[[B]] is a letter.\n"


def format_of(tmp_path, name: str, content: str, task: str | None = None, **settings) -> str:
    file = tmp_path / name
    file.write_bytes(gzip.compress(content.encode()) if name.endswith(".gz") else content.encode())
    source = resolve(Data(str(file), **settings), task)
    ((part,),) = source.parts.values()
    found = next(name for name, format in FORMATS.items() if format is part.format)
    usual = BY_SUFFIX.get(file.suffix)
    said = [f"read as {found}, because of its content: {name}"] if found not in (usual, "txt") else []
    assert list(source.warnings) == (said if not name.endswith(".gz") and not settings else [*source.warnings])
    return found


@pytest.mark.parametrize(
    ("name", "content", "task", "format"),
    [
        ("a.txt", CONLL, "ner", "conll"),
        ("a.tsv", CONLL.replace(" ", "\t"), "ner", "conll"),
        ("a", CONLL, None, "conll"),
        ("a.annotated", CONLL, "ner", "conll"),
        ("a.txt.gz", CONLL, "ner", "conll"),
        ("a.txt", CONLL, "next_word", "txt"),
        ("a.jsonl", LINES, None, "jsonl"),
        ("a.json", LINES, None, "jsonl"),
        ("a.txt", LINES, None, "jsonl"),
        ("a", LINES, None, "jsonl"),
        ("a.log2", LINES, None, "jsonl"),
        ("a.ndjson", LINES, None, "jsonl"),
        ("a.json", LIST, None, "json"),
        ("a.jsonl", LIST, None, "json"),
        ("a.jsonl", PRETTY, None, "json"),
        ("a.txt", LIST, None, "json"),
        ("a.json", COLUMNS, None, "json"),
        ("a.jsonl", '{"text": "a single row", "label": 1}\n', None, "jsonl"),
        ("a.json", LONG, None, "json"),
        ("a.csv", LINES, None, "jsonl"),
        ("a.jsonl", json.dumps({"text": "a" * 2 * HEAD_BYTES, "label": 1}), None, "jsonl"),
        ("a.txt", FASTTEXT, "sentiment", "fasttext"),
        ("a", FASTTEXT, None, "fasttext"),
        ("a.txt", TREES, "sentiment", "tree"),
        ("a.train", "1 a fine day\n0 rain\n0 rain , again\n1 lovely\n", "sentiment", "label-first"),
        ("a.txt", "1 a fine day\n2 rain\n3 rain , again\n4 lovely\n", "sentiment", "txt"),
        ("a.txt", "1 a fine day\n0 rain\n0 rain , again\n1 lovely\n", "next_word", "txt"),
        ("a.jsonl", '["a fine day", 1]\n["rain", 0]\n', "sentiment", "jsonl"),
        ("a.jsonl", TABS, "sentiment", "jsonl"),
        ("a.txt", TABS, "sentiment", "tsv"),
        ("SMSSpam", TABS, "sentiment", "tsv"),
        ("a.txt", TABS, "next_word", "txt"),
        ("a.txt", SEMICOLONS, "sentiment", "csv"),
        ("a.txt", HEADER, "sentiment", "csv"),
        ("a.txt", PROSE, "sentiment", "txt"),
        ("a.txt", PROSE, "next_word", "txt"),
        ("a.txt", WIKI, "next_word", "txt"),
        ("text8", PROSE, "next_word", "txt"),
        ("a.train", PROSE, "next_word", "txt"),
        ("a.text", PROSE, "next_word", "txt"),
        ("a.iob2", CONLL, "ner", "conll"),
        ("a.csv", HEADER, "sentiment", "csv"),
    ],
)
def test_the_content_decides_where_the_suffix_does_not(tmp_path, name, content, task, format):
    assert format_of(tmp_path, name, content, task) == format


def test_data_format_overrides_the_content(tmp_path):
    assert format_of(tmp_path, "a.txt", CONLL, "ner", format="txt") == "txt"
    assert format_of(tmp_path, "a.json", LINES, format="json") == "json"


def test_a_split_whose_content_does_not_tell_is_like_the_training_split(tmp_path):
    (tmp_path / "train.txt").write_text(FASTTEXT)
    (tmp_path / "test.txt").write_text("a day without a label\n")
    source = resolve(Data(str(tmp_path)), "sentiment")
    assert {part.format for parts in source.parts.values() for part in parts} == {FORMATS["fasttext"]}
    assert source.warnings == ("read as fasttext, because of their content: train.txt, test.txt",)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a.xlsx", "a.xlsx: .xlsx files cannot be read; save the sheet as .csv"),
        ("a.pkl", "a.pkl: .pkl files cannot be read; reading a pickle can run code; write it with"),
        ("a.zip", "a.zip: .zip files cannot be read; unpack it"),
        ("a.csv.zip", "a.csv.zip: .zip files cannot be read; unpack it"),
        ("a.tar.gz", "a.tar.gz: .tar files cannot be read; unpack it"),
        ("a.tgz", "a.tgz: .tgz files cannot be read; unpack it"),
        ("a.xml", "a.xml: .xml files cannot be read; write the texts and labels to a .csv or .jsonl file"),
        ("a.odd", "a.odd: .odd cannot be read; there are: "),
    ],
)
def test_a_file_of_another_kind_is_refused_with_a_remedy(tmp_path, monkeypatch, name, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_text("what may this be\n")
    with pytest.raises(UserError) as refusal:
        resolve(Data(name))
    assert str(refusal.value).startswith(message)


def test_one_of_several_parts_is_read_alone_only_with_a_line(tmp_path):
    (tmp_path / "train-00000-of-00002.csv").write_text(HEADER)
    source = resolve(Data(str(tmp_path / "train-00000-of-00002.csv")))
    assert [line.split("csv ")[1] for line in source.warnings] == [
        "is one of several parts; name its folder to read all"
    ]


def test_the_labels_of_fasttext_may_be_anywhere_in_a_line(tmp_path):
    assert format_of(tmp_path, "a.txt", "a fine day __label__good\na bad __label__bad day\n", "sentiment") == "fasttext"


@pytest.mark.parametrize("setting", [{"separator": ";"}, {"quoting": "none"}])
def test_settings_of_tables_are_refused_for_files_that_are_none(tmp_path, setting):
    with pytest.raises(UserError, match=r"is read as jsonl, which does not use it; remove it"):
        format_of(tmp_path, "a.jsonl", LINES, **setting)
