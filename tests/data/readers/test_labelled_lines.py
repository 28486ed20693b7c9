"""Lines with labels: fastText, the trees of SST, and texts and labels in two files."""

from __future__ import annotations

import pytest

from pipeline.config.data import Data
from pipeline.config.formats import FORMATS, Part
from pipeline.data import sources
from pipeline.data.readers import registry
from pipeline.data.rows import batches
from pipeline.errors import UserError
from pipeline.tasks.ner import Ner
from pipeline.tasks.sentiment import Sentiment


def read(file, format: str, content: str | None = None) -> list[tuple[int, dict]]:
    if content is not None:
        file.write_text(content)
    found = batches(registry.read(Part(file, FORMATS[format]), Data(str(file)), []))
    return [row for batch in found for row in batch.rows()]


def load(file, tmp_path) -> sources.LoadedSource:
    (tmp_path / "work").mkdir()
    return sources.load(sources.locate(Data(str(file)), "sentiment"), Sentiment.columns, tmp_path / "work")


def test_fasttext_lines_are_texts_with_a_label(tmp_path):
    content = "__label__2 Fine  film: I liked it\n\n__label__1\tdull , dull\nno label here\n__label__1\n"
    assert read(tmp_path / "a.txt", "fasttext", content) == [
        (1, {"text": "Fine  film: I liked it", "label": "2"}),
        (3, {"text": "dull , dull", "label": "1"}),
        (4, {"text": "no label here", "label": None}),
        (5, {"text": "", "label": "1"}),
    ]


def test_fasttext_lines_with_several_labels_have_lists(tmp_path):
    content = "__label__a first\n__label__a __label__b second\nthird __label__c\n"
    assert read(tmp_path / "a.txt", "fasttext", content) == [
        (1, {"text": "first", "label": ["a"]}),
        (2, {"text": "second", "label": ["a", "b"]}),
        (3, {"text": "third", "label": ["c"]}),
    ]


def test_the_first_word_of_a_line_may_be_its_label(tmp_path):
    content = "DESC:manner How did  it begin ?\nENTY:animal What barks ?\n\nDESC:manner How so ?\nENTY:animal Who ?\n"
    assert read(tmp_path / "train.label", "label-first", content) == [
        (1, {"text": "How did  it begin ?", "label": "DESC:manner"}),
        (2, {"text": "What barks ?", "label": "ENTY:animal"}),
        (4, {"text": "How so ?", "label": "DESC:manner"}),
        (5, {"text": "Who ?", "label": "ENTY:animal"}),
    ]
    assert load(tmp_path / "train.label", tmp_path).splits["train"]["label"][1] == "ENTY:animal"


def test_a_file_of_fasttext_is_recognised_and_loaded(tmp_path):
    (tmp_path / "films.train.txt").write_text("__label__good a fine day\n__label__bad rain\n")
    loaded = load(tmp_path / "films.train.txt", tmp_path)
    assert loaded.splits["train"]["label"] == ["good", "bad"]
    assert "read as fasttext, because of its content: films.train.txt" in loaded.warnings


def test_a_tree_is_its_words_and_the_label_of_its_root(tmp_path):
    content = "(3 (2 It) (4 (2 's) (4 (3 funny) (2 -LRB-) (2 1\\/2) (2 -RRB-))))\n\n(0 (1 No) (2 .))\n(2 Hm)\n"
    assert read(tmp_path / "a.txt", "tree", content) == [
        (1, {"text": "It 's funny ( 1/2 )", "label": "3"}),
        (3, {"text": "No .", "label": "0"}),
        (4, {"text": "Hm", "label": "2"}),
    ]


@pytest.mark.parametrize("line", ["(3 (2 It) (4 is)", "a text", "(3 )", "(ROOT (S (NP it)))"])
def test_what_is_no_tree_is_refused_with_its_line(tmp_path, line):
    with pytest.raises(UserError, match=r"a.txt:2: not a tree with labels, such as \(3"):
        read(tmp_path / "a.txt", "tree", f"(3 (2 It) (4 works))\n{line}\n")


def test_texts_and_labels_in_two_files_are_paired_with_the_names_of_the_labels(tmp_path):
    for split, ids in {"train": "0\n2\n1\n", "val": "1\n1\n0\n", "test": "2\n0\n1\n"}.items():
        (tmp_path / f"{split}_text.txt").write_text("so sad\nso glad\nso-so\n")
        (tmp_path / f"{split}_labels.txt").write_text(ids)
    (tmp_path / "mapping.txt").write_text("0\tvery sad\n1\tnothing\n2\tglad\n")
    loaded = load(tmp_path, tmp_path)
    assert list(loaded.splits) == ["train", "validation", "test"]
    assert loaded.splits["train"]["label"] == ["very sad", "glad", "nothing"]
    assert loaded.label_names == ["very sad", "nothing", "glad"]


@pytest.mark.parametrize(
    "names",
    [
        ("x_train.txt", "y_train.txt"),
        ("X_train.txt", "y_train.txt"),
        ("sentences", "labels"),
        ("train.txt", "train.labels"),
        ("train.txt", "train_label.txt"),
    ],
)
def test_pairs_of_other_names_are_found(tmp_path, names):
    texts, labels = names
    (tmp_path / texts).write_text("one\ntwo\n\n")
    (tmp_path / labels).write_text("a\nb\n")
    assert [row for _, row in read(tmp_path / texts, "paired-lines")] == [
        {"text": "one", "label": "a"},
        {"text": "two", "label": "b"},
    ]


def test_a_label_for_each_word_is_its_tag(tmp_path):
    (tmp_path / "sentences.txt").write_text("Ada sings\nin Bonn\n")
    (tmp_path / "labels.txt").write_text("B-PER O\nO B-LOC\n")
    (tmp_path / "work").mkdir()
    source = sources.locate(Data(str(tmp_path / "sentences.txt")), "ner")
    loaded = sources.load(source, Ner.columns, tmp_path / "work")
    assert loaded.splits["train"]["tokens"] == [["Ada", "sings"], ["in", "Bonn"]]
    assert loaded.splits["train"]["tags"] == [["B-PER", "O"], ["O", "B-LOC"]]


def test_a_text_without_its_label_is_refused(tmp_path):
    (tmp_path / "train_text.txt").write_text("one\ntwo\nthree\n")
    with pytest.raises(UserError, match=r"train_text.txt: there is no file of labels next to it"):
        read(tmp_path / "train_text.txt", "paired-lines")
    (tmp_path / "train_labels.txt").write_text("a\nb\n")
    with pytest.raises(
        UserError, match=r"train_text.txt:3: train_labels.txt has only 2 lines; each text needs its label"
    ):
        read(tmp_path / "train_text.txt", "paired-lines")
    (tmp_path / "train_labels.txt").write_text("a\nb\nc\nd\n")
    with pytest.raises(UserError, match=r"train_labels.txt:4: train_text.txt has only 3 lines"):
        read(tmp_path / "train_text.txt", "paired-lines")
