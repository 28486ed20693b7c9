"""Folders of words and tags as they are published: by any suffix, with the usual names of splits."""

from __future__ import annotations

import pytest

from pipeline.config.data import Data
from pipeline.data import sources
from pipeline.data.prepare import unify_tags
from pipeline.tasks.ner import Ner

TRAIN = "Ada{0}B-PER\nByron{0}I-PER\nsings{0}O\n\n" * 3 + "Oslo{0}B-LOC\nsleeps{0}O\n\n"
OTHER = "Rome{0}B-LOC\nsleeps{0}O\n\nnobody{0}O\nsings{0}O\n\n"


def load(folder, **settings):
    """Split -> its tokens and tags, and the rest of what was loaded."""
    work = folder.parent / "work"
    work.mkdir()
    data = Data(str(folder), **settings)
    loaded, _ = unify_tags(sources.load(sources.locate(data, "ner"), Ner.columns, work), data, work)
    rows = {split: list(zip(rows["tokens"], rows["tags"], strict=True)) for split, rows in loaded.splits.items()}
    return rows, loaded


@pytest.mark.parametrize(
    ("names", "separator"),
    [
        (("train.txt", "dev.txt", "test.txt"), " "),
        (("train.tsv", "devel.tsv", "test.tsv"), "\t"),
        (("train.conll", "devel.conll", "test.conll"), " "),
        (("train.bio", "valid.bio", "test.bio"), "\t"),
        (("train.iob2", "dev.iob2", "test.iob2"), " "),
        (("train", "dev", "test"), " "),
    ],
)
def test_a_folder_of_words_and_tags_is_read_whatever_its_suffix(tmp_path, names, separator):
    folder = tmp_path / "corpus"
    folder.mkdir()
    for name in names:
        content = TRAIN if name.startswith("train") else OTHER
        (folder / name).write_text(content.format(separator))
    rows, loaded = load(folder)
    assert list(rows) == ["train", "validation", "test"]
    assert rows["train"][0] == (["Ada", "Byron", "sings"], ["B-PER", "I-PER", "O"])
    assert rows["train"][3] == (["Oslo", "sleeps"], ["B-LOC", "O"])
    assert (
        rows["validation"] == rows["test"] == [(["Rome", "sleeps"], ["B-LOC", "O"]), (["nobody", "sings"], ["O"] * 2)]
    )
    assert loaded.unlabelled == []


def test_a_split_of_words_alone_is_unlabelled(tmp_path):
    folder = tmp_path / "corpus"
    folder.mkdir()
    (folder / "train.conll").write_text(TRAIN.format("\t"))
    (folder / "test.conll").write_text("Rome\nsleeps\n\nnobody\n\n")
    rows, loaded = load(folder)
    assert (list(rows), loaded.unlabelled) == (["train"], ["test"])


def test_letters_of_one_kind_of_entity_are_read_with_a_type_and_reported(tmp_path):
    folder = tmp_path / "corpus"
    folder.mkdir()
    (folder / "train.tsv").write_text("Ataxia\tB\nsyndrome\tI\nis\tO\n\nno\tO\nataxia\tB\n\n")
    rows, loaded = load(folder)
    assert rows["train"] == [
        (["Ataxia", "syndrome", "is"], ["B-ENT", "I-ENT", "O"]),
        (["no", "ataxia"], ["O", "B-ENT"]),
    ]
    assert any("their entities are of the type ENT" in line for line in loaded.warnings)


def test_words_of_several_files_of_a_split_keep_their_places(tmp_path):
    folder = tmp_path / "corpus" / "train"
    folder.mkdir(parents=True)
    (folder / "part-0.conll").write_text(TRAIN.format("\t"))
    (folder / "part-1.conll").write_text("Rome\tB-LOC\nsleeps\tO\nhere\tI-PER\n\n")
    rows, loaded = load(folder.parent)
    assert rows["train"][-1] == (["Rome", "sleeps", "here"], ["B-LOC", "O", "B-PER"])
    assert any(f"{folder / 'part-1.conll'}:3 I-PER after O" in line for line in loaded.warnings)


def test_the_columns_of_train_are_those_of_all_splits(tmp_path):
    """On its own, the test split would be read by its third column, the only one with entities."""
    folder = tmp_path / "corpus"
    folder.mkdir()
    (folder / "train.conll").write_text("Ada B-PER O\nByron I-PER O\nsings O O\n\nOslo B-LOC O\nsleeps O O\n\n" * 2)
    (folder / "test.conll").write_text("Rome O B-X\nsleeps O O\n\n")
    rows, loaded = load(folder)
    assert rows["test"] == [(["Rome", "sleeps"], ["O", "O"])]
    assert [line for line in loaded.warnings if "tags in column 2" in line] == [
        f"{folder / name}: words in column 1, tags in column 2 (of 3: word, tags, tags)"
        for name in ("train.conll", "test.conll")
    ]
