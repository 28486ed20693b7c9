"""Folders of texts: documents, and classes as folders or files."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.config.data import Data
from pipeline.config.formats import FORMATS, Part
from pipeline.data import sources
from pipeline.data.readers import registry
from pipeline.data.rows import batches
from pipeline.errors import UserError
from pipeline.tasks.next_word import NextWord
from pipeline.tasks.sentiment import Sentiment


def read(folder: Path, format: str, warnings: list[str] | None = None, **settings) -> list[dict]:
    found = batches(registry.read(Part(folder, FORMATS[format]), Data(str(folder), **settings), warnings))
    return [row for batch in found for _, row in batch.rows()]


def write(root: Path, texts: dict[str, str]) -> None:
    for name, text in texts.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


def test_each_file_is_a_document_in_the_order_of_the_names(tmp_path):
    write(
        tmp_path, {"b10.txt": "ten\n", "b9.txt": "nine,\nof course\n", "a/z.txt": "z", "README.txt": "about", ".x": "-"}
    )
    assert read(tmp_path, "documents") == [
        {"text": "z", "file": "a/z.txt"},
        {"text": "nine,\nof course", "file": "b9.txt"},
        {"text": "ten", "file": "b10.txt"},
    ]


def test_articles_of_wikiextractor_are_documents(tmp_path):
    article = '<doc id="{0}" url="u" title="T{0}">\nT{0}\n\nText {0}.\n\n</doc>\n'
    write(tmp_path, {"AA/wiki_00": article.format(1) + article.format(2), "AA/wiki_01": article.format(3)})
    assert [row["text"] for row in read(tmp_path, "documents")] == ["T1\n\nText 1.", "T2\n\nText 2.", "T3\n\nText 3."]


def test_documents_are_rows_of_next_word_that_are_no_running_text(tmp_path):
    write(tmp_path / "essays", {f"essay{number}.txt": f"essay number {number}\nends here\n" for number in range(12)})
    (tmp_path / "work").mkdir()
    source = sources.locate(Data(str(tmp_path / "essays")), "next_word")
    loaded = sources.load(source, NextWord.columns, tmp_path / "work")
    assert not source.is_running_text
    assert len(loaded.splits["train"]) == 12
    assert loaded.splits["train"]["text"][10] == "essay number 10\nends here"


def test_the_folder_of_a_text_is_its_label(tmp_path):
    films = {
        f"{split}/{kind}/{n}_7.txt": f"{kind} {n}<br />"
        for split in ("train", "test")
        for kind in ("neg", "pos")
        for n in (2, 10)
    }
    write(tmp_path / "films", {**films, "train/unsup/0_0.txt": "unknown", "films.vocab": "the"})
    (tmp_path / "work").mkdir()
    loaded = sources.load(
        sources.locate(Data(str(tmp_path / "films")), "sentiment"), Sentiment.columns, tmp_path / "work"
    )
    assert list(loaded.splits) == ["train", "test"]
    assert loaded.splits["train"]["text"] == ["neg 2<br />", "neg 10<br />", "pos 2<br />", "pos 10<br />"]
    assert loaded.splits["train"]["label"] == ["neg", "neg", "pos", "pos"]


def test_a_class_may_have_thousands_of_texts(tmp_path):
    write(tmp_path, {f"{label}/{number}.txt": "fine" for label in ("neg", "pos") for number in range(1200)})
    assert len(read(tmp_path, "class-folders")) == 2400


def test_a_text_in_another_encoding_is_refused_with_its_file(tmp_path):
    write(tmp_path, {"a/1.txt": "fine", "b/1.txt": "dull"})
    (tmp_path / "b/2.txt").write_bytes(b"cost: \xa350, which is a lot of money for a caf\xe9")
    with pytest.raises(UserError, match=r"b/2.txt:1: not UTF-8 at byte 6 \(0xa3\); .*set data.encoding"):
        read(tmp_path, "class-folders")
    assert read(tmp_path, "class-folders", encoding="latin-1")[2]["text"].startswith("cost: £50")


def test_a_file_for_each_class_has_a_text_on_each_line(tmp_path):
    write(tmp_path, {"polarity.pos": "fine\nlovely\n", "polarity.neg": "dull\n"})
    assert read(tmp_path, "class-files") == [
        {"text": "dull", "label": "neg", "file": "polarity.neg"},
        {"text": "fine", "label": "pos", "file": "polarity.pos"},
        {"text": "lovely", "label": "pos", "file": "polarity.pos"},
    ]


@pytest.mark.parametrize(
    ("format", "message"),
    [
        ("documents", "there is no text in it"),
        ("class-folders", "expected at least two folders, one for each class"),
        ("class-files", "expected a file for each class, such as pos.txt and neg.txt"),
    ],
)
def test_a_folder_without_texts_is_refused(tmp_path, format, message):
    with pytest.raises(UserError, match=message):
        read(tmp_path, format)
