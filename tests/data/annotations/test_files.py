"""Files of annotation tools, from the disk to the rows of a task: recognised by their content, whatever their name."""

from __future__ import annotations

import gzip
import json
import zlib

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from annotation_rows import sentence

from pipeline.config.data import Data
from pipeline.data import sources
from pipeline.errors import UserError
from pipeline.tasks.ner import Ner
from pipeline.tasks.next_word import NextWord
from pipeline.tasks.sentiment import Sentiment

TEXT, SPANS = "Ann left Rome", [[0, 3, "PER"], [9, 13, "LOC"]]
TAGGED = ["Ann/B-PER left Rome/B-LOC", "So it goes"]
OBJECTS = [{"start": start, "end": end, "label": kind} for start, end, kind in SPANS]
REGIONS = [{"start": s, "end": e, "text": TEXT[s:e], "labels": [k]} for s, e, k in SPANS]
RESULTS = [{"type": "labels", "value": region} for region in REGIONS]
TASKS = [
    {"id": 1, "data": {"text": TEXT}, "annotations": [{"result": RESULTS}]},
    {"id": 2, "data": {"text": "So it goes"}, "annotations": [{"result": []}]},
]
PAIRS = [[TEXT, {"entities": SPANS}], ["So it goes", {"entities": []}]]
OWN = [{"type": k, "start": s, "end": e, "text": TEXT[s:e], "score": 0.5} for s, e, k in SPANS]


GOES = {"tokenized_text": ["So", "it", "goes"], "ner": []}


@pytest.mark.parametrize("rows", ["json", "jsonl"])
def test_a_file_of_a_tool_may_be_compressed_or_in_another_encoding(tmp_path, rows):
    row = {"text": "Zoë left", "label": [[0, 3, "PER"]]}
    text = json.dumps([row, row] if rows == "json" else row, ensure_ascii=False, indent=1 if rows == "json" else None)
    (tmp_path / f"a.{rows}.gz").write_bytes(gzip.compress(text.encode()))
    (tmp_path / "b.dat").write_bytes(text.encode("utf-16"))
    for name in (f"a.{rows}.gz", "b.dat"):
        data = Data(str(tmp_path / name), format="doccano")
        loaded = sources.load(sources.locate(data, "ner"), Ner.columns, tmp_path)
        assert sentence(loaded.splits["train"][0]) == "Zoë/B-PER left"


def test_a_setting_that_names_another_column_than_that_of_the_tool_is_followed(tmp_path):
    rows = [{"text": f"film {n}", "label": "spam", "genre": "ab"[n % 2], "answer": "accept"} for n in range(4)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for column, labels in ((None, ["spam"] * 4), ("label", ["spam"] * 4), ("genre", ["a", "b"] * 2)):
        data = Data(str(tmp_path / "a.jsonl"), label_column=column)
        loaded = sources.load(sources.locate(data), Sentiment.columns, tmp_path)
        assert loaded.splits["train"]["label"] == labels


def two(column, spans, **more):
    """A row with `spans` in `column`, and one without."""
    return [{"text": TEXT, column: spans, **more}, {"text": "So it goes", column: [], **more}]


def lines(*rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


def load(file, tmp_path, task=Ner, **settings):
    """Split -> rows, and the warnings."""
    work = tmp_path / "work"
    work.mkdir(exist_ok=True)
    source = sources.locate(Data(str(file), **settings), task.name)
    loaded = sources.load(source, task.columns, work)
    return {split: list(rows) for split, rows in loaded.splits.items()}, loaded.warnings


@pytest.mark.parametrize(
    ("name", "content", "settings"),
    [
        ("all.jsonl", lines(*two("label", SPANS, id=1)), {}),
        ("all.json", json.dumps(two("label", SPANS)), {}),
        ("ner.jsonl", lines(*two("spans", OBJECTS, answer="accept")), {}),
        ("export.json", json.dumps(TASKS), {}),
        ("export.jsonl", lines(*TASKS), {}),
        ("export", json.dumps(TASKS), {"format": "label-studio"}),
        ("min.json", json.dumps(two("label", REGIONS, annotator=1)), {}),
        ("train.json", json.dumps(PAIRS), {}),
        ("train.jsonl", lines(*PAIRS), {}),
        ("train.spacy", json.dumps(PAIRS), {}),
        ("train.txt", lines(*PAIRS), {"format": "spacy"}),
        ("a.json", json.dumps({"classes": ["PER"], "annotations": PAIRS}), {}),
        ("out.jsonl", lines(*two("entities", OWN)), {}),
        ("gliner.jsonl", lines({"tokenized_text": TEXT.split(), "ner": [[0, 0, "PER"], [2, 2, "LOC"]]}, GOES), {}),
    ],
)
def test_a_file_is_recognised_by_its_content(name, content, settings, tmp_path):
    file = tmp_path / name
    file.write_text(content, encoding="utf-8")
    splits, warnings = load(file, tmp_path, **settings)
    assert [sentence(row) for row in splits["train"]] == TAGGED
    assert warnings == []


def test_cells_of_tables_are_recognised(tmp_path):
    def cell(value):
        return '"' + str(value).replace('"', '""') + '"'

    words, tags = TEXT.split(), ["B-PER", "O", "B-LOC"]
    last, none = GOES["tokenized_text"], ["O"] * 3
    tables = [
        ["tokens,tags", f"{cell(words)},{cell(tags)}", f"{cell(last)},{cell(none)}"],
        ["tokens,ner_tags", *(",".join(cell(json.dumps(one)) for one in row) for row in ((words, tags), (last, none)))],
        ["sentence,word_labels", f"{TEXT},{cell(','.join(tags))}", f"So it goes,{cell(','.join(none))}"],
        ["id,TEXT,label", f"1,{TEXT},{cell(json.dumps(REGIONS))}", "2,So it goes,"],
    ]
    for number, table in enumerate(tables):
        file = tmp_path / f"{number}.csv"
        file.write_text("\n".join(table) + "\n")
        splits, warnings = load(file, tmp_path)
        assert [sentence(row) for row in splits["train"]] == TAGGED
        assert warnings == []


def test_spans_in_nested_columns_of_parquet_are_read(tmp_path):
    lists = {"start": [0, 9], "end": [3, 13], "label": ["PER", "LOC"]}
    file = tmp_path / "a.parquet"
    for entities, none in ((OBJECTS, []), (lists, {name: [] for name in lists})):
        pq.write_table(pa.table({"text": [TEXT, "So it goes"], "entities": [entities, none]}), file)
        splits, _ = load(file, tmp_path)
        assert [sentence(row) for row in splits["train"]] == TAGGED


@pytest.mark.parametrize(
    "content",
    [
        "Sentence #,Word,Tag\nSentence: 1,Ann,B-PER\n,left,O\n,Rome,B-LOC\nSentence: 2,So,O\n,it,O\n,goes,O\n",
        "sentence_id,words,labels\n0,Ann,B-PER\n0,left,O\n0,Rome,B-LOC\n1,So,O\n1,it,O\n1,goes,O\n",
        "word,tag\nAnn,B-PER\nleft,O\nRome,B-LOC\n\nSo,O\nit,O\ngoes,O\n",
    ],
)
def test_tables_with_a_word_in_each_row_are_sentences(content, tmp_path):
    file = tmp_path / "ner_dataset.csv"
    file.write_text(content)
    splits, warnings = load(file, tmp_path)
    assert [sentence(row) for row in splits["train"]] == TAGGED
    assert splits["train"][0]["lines"] == [2, 3, 4]
    assert warnings == []


@pytest.mark.parametrize(
    ("name", "content", "task", "choice"),
    [
        ("a.jsonl", lines(*two("label", SPANS, id=1)), Ner, "tokens = text, tags = label (of: text, label, id)"),
        ("a.json", json.dumps(TASKS), Ner, "tokens = data.text, tags = annotations (of: id, data, annotations)"),
        ("a.json", json.dumps(TASKS), NextWord, "text = data.text (of: id, data, annotations)"),
        (
            "a.csv",
            "sent_id,word,tag\n1,Ann,B-PER\n1,ran,O\n",
            Ner,
            "tokens = word, tags = tag, sentences = sent_id (of: sent_id, word, tag)",
        ),
        ("a.csv", "sentence,tag\nAnn ran,B-PER O\n", Ner, "tokens = sentence, tags = tag (of: sentence, tag)"),
        (
            "a.jsonl",
            lines(*[{"text": f"t {n}", "accept": ["AB"[n % 2]], "options": [], "answer": "accept"} for n in range(4)]),
            Sentiment,
            "text = text, label = accept (of: text, accept, options, answer)",
        ),
    ],
)
def test_what_was_chosen_is_named_as_in_the_file(name, content, task, choice, tmp_path):
    (tmp_path / name).write_text(content)
    source = sources.locate(Data(str(tmp_path / name)), task.name)
    assert str(sources.load(source, task.columns, tmp_path).columns) == choice


def test_settings_name_the_columns_as_in_the_file(tmp_path):
    file = tmp_path / "a.csv"
    file.write_text("w,gold,sent_id\nAnn,B-PER,1\nleft,O,1\n")
    splits, _ = load(file, tmp_path, token_column="w", tag_column="gold")
    assert [sentence(row) for row in splits["train"]] == ["Ann/B-PER left"]
    file = tmp_path / "a.jsonl"
    file.write_text(lines({"body": TEXT, "text": "no", "gold": SPANS}))
    splits, _ = load(file, tmp_path, token_column="body", tag_column="gold")
    assert [sentence(row) for row in splits["train"]] == TAGGED[:1]


def test_the_training_split_decides_for_all_splits(tmp_path):
    (tmp_path / "train.jsonl").write_text(lines({"text": TEXT, "label": SPANS}))
    (tmp_path / "dev.jsonl").write_text(lines({"text": "So it goes", "label": []}))
    splits, _ = load(tmp_path, tmp_path)
    assert {split: [sentence(row) for row in rows] for split, rows in splits.items()} == {
        "train": TAGGED[:1],
        "validation": TAGGED[1:],
    }


def test_a_mistake_is_refused_with_its_file_and_line(tmp_path):
    (tmp_path / "train.jsonl").write_text(lines({"text": TEXT, "label": SPANS}))
    (tmp_path / "dev.jsonl").write_text(lines({"text": "a", "label": []}, {"text": "So", "label": [[0, 9, "X"]]}))
    with pytest.raises(UserError, match=r"dev.jsonl:2: the span 0 to 9 \(X\) is outside the text"):
        load(tmp_path, tmp_path)


def test_only_accepted_texts_of_prodigy_are_learned(tmp_path):
    file = tmp_path / "cat.jsonl"
    answers = enumerate(("accept", "reject", "ignore", "accept"))
    file.write_text(lines(*[{"text": f"t {n}", "label": "AB"[n % 2], "answer": answer} for n, answer in answers]))
    splits, warnings = load(file, tmp_path, Sentiment)
    assert [(row["text"], row["label"]) for row in splits["train"]] == [("t 0", "A"), ("t 3", "B")]
    assert warnings == [
        f"{file}: 1 rejected rows were left out: they say what a text is not (line 2)",
        f"{file}: 1 ignored rows were left out (line 3)",
    ]


def test_tasks_of_label_studio_are_texts_for_other_tasks(tmp_path):
    file = tmp_path / "export.json"
    file.write_text(json.dumps(TASKS))
    splits, _ = load(file, tmp_path, NextWord)
    assert [row["text"] for row in splits["train"]] == [TEXT, "So it goes"]


def test_categories_of_spacy_are_labels(tmp_path):
    file = tmp_path / "cats.jsonl"
    file.write_text(lines(*[[f"t {n}", {"cats": {"A": n % 2, "B": 1 - n % 2}}] for n in range(4)]))
    splits, _ = load(file, tmp_path, Sentiment)
    assert [(row["text"], row["label"]) for row in splits["train"]] == [
        ("t 0", "B"),
        ("t 1", "A"),
        ("t 2", "B"),
        ("t 3", "A"),
    ]


def test_a_file_that_is_not_what_data_format_says_is_refused(tmp_path):
    file = tmp_path / "a.jsonl"
    file.write_text(lines({"text": "a", "score": 1}))
    with pytest.raises(UserError, match=r"a.jsonl: no rows of doccano; expected rows such as .*, or remove"):
        load(file, tmp_path, format="doccano")
    with pytest.raises(UserError, match=r"brat needs the folder of the .txt and .ann files"):
        load(file, tmp_path, format="brat")
    (tmp_path / "a.spacy").write_bytes(zlib.compress(b"nothing"))
    with pytest.raises(UserError, match=r"only spaCy can read this file|cannot read this file"):
        load(tmp_path / "a.spacy", tmp_path)
