"""Folders as people have them: which files are which split, in which format, and what is left out and said."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from pipeline.config.data import Data
from pipeline.config.formats import FORMATS
from pipeline.config.sources import ResolvedSource, resolve
from pipeline.errors import UserError

CONTENTS = {
    ".csv": "text,label\nfine,1\n",
    ".tsv": "text\tlabel\nfine\t1\n",
    ".jsonl": '{"text": "fine", "label": 1}\n',
    ".json": '[{"text": "fine", "label": 1}]',
    ".conll": "Ada B-PER\nsings O\n\n",
    ".txt": "a fine day\n",
    ".tokens": "a fine day\n",
}


def make(root: Path, *names: str, **contents: str) -> Path:
    """A folder with files of these names; those of which `contents` says nothing have what their suffix promises."""
    for name in names:
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(contents.get(name, CONTENTS.get(file.suffix, "a fine day\n")))
    return root


def files(source: ResolvedSource, root: Path) -> dict[str, list[str]]:
    return {split: [str(part.file.relative_to(root)) for part in parts] for split, parts in source.parts.items()}


def formats(source: ResolvedSource) -> set[str]:
    names = {id(format): name for name, format in FORMATS.items()}
    return {names[id(part.format)] for parts in source.parts.values() for part in parts}


@pytest.mark.parametrize(
    ("train", "validation", "test"),
    [
        ("train.csv", "dev.csv", "test.csv"),
        ("TRAIN.csv", "Devel.csv", "Testing.csv"),
        ("trn.tsv", "val.tsv", "tst.tsv"),
        ("training.jsonl", "valid.jsonl", "test.jsonl"),
        ("train.json", "eval.json", "test.json"),
        ("train.json", "evaluation.json", "test.json"),
        ("poems.train.txt", "poems.valid.txt", "poems.test.txt"),
        ("wiki.train.tokens", "wiki.valid.tokens", "wiki.test.tokens"),
        ("reviews_train.csv", "reviews_dev.csv", "reviews_test.csv"),
        ("train_data.jsonl", "validation_data.jsonl", "test_data.jsonl"),
        ("en-train.conll", "en-dev.conll", "en-test.conll"),
        ("no_narc-ud-train.conllu", "no_narc-ud-dev.conllu", "no_narc-ud-test.conllu"),
        ("wnut17train.conll", "wnut17dev.conll", "wnut17test.conll"),
        ("drugsTrain_raw.tsv", "drugsVal_raw.tsv", "drugsTest_raw.tsv"),
        ("traindata.csv", "devset.csv", "testset.csv"),
        ("nld.train", "nld.testa", "nld.testb"),
        ("train.txt.gz", "dev.txt.gz", "test.txt.gz"),
    ],
)
def test_the_usual_names_of_splits_are_known(tmp_path, train, validation, test):
    make(tmp_path, "README.md", "LICENSE")
    for name in (train, validation, test):
        (tmp_path / name).write_text(CONTENTS.get(Path(name).suffix, "Ada B-PER\nsings O\n\n"))
    source = resolve(Data(str(tmp_path)))
    assert files(source, tmp_path) == {"train": [train], "validation": [validation], "test": [test]}
    assert not [line for line in source.warnings if "not used" in line]


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (
            ["train-00000-of-00002.csv", "train-00001-of-00002.csv"],
            ["train-00000-of-00002.csv", "train-00001-of-00002.csv"],
        ),
        (
            ["data/train-00001-of-00002.csv", "data/train-00000-of-00002.csv"],
            ["data/train-00000-of-00002.csv", "data/train-00001-of-00002.csv"],
        ),
        (["train_10.csv", "train_9.csv"], ["train_9.csv", "train_10.csv"]),
        (
            ["train/part-0-ab.csv", "train/part-1-cd.csv", "train/_SUCCESS", "train/.part-0-ab.csv.crc"],
            ["train/part-0-ab.csv", "train/part-1-cd.csv"],
        ),
        (["train.csv/part-0.csv", "train.csv/part-1.csv"], ["train.csv/part-0.csv", "train.csv/part-1.csv"]),
        (["split=train/part-0.csv"], ["split=train/part-0.csv"]),
        (["corpus/train.csv"], ["corpus/train.csv"]),
        (["part-00000.csv", "part-00001.csv"], ["part-00000.csv", "part-00001.csv"]),
        (["train/books.csv", "train/films.csv"], ["train/books.csv", "train/films.csv"]),
        (["reviews.csv", "readme.txt", "LICENSE"], ["reviews.csv"]),
    ],
)
def test_the_parts_of_a_split_are_found_in_their_order(tmp_path, names, found):
    assert files(resolve(Data(str(make(tmp_path, *names)))), tmp_path)["train"] == found


@pytest.mark.parametrize("names", ["train-0000{}-of-00003.csv", "training.shuffled/news.en-0000{}-of-00003"])
def test_parts_that_are_not_there_are_said(tmp_path, names):
    make(tmp_path, names.format(0), names.format(2))
    source = resolve(Data(str(tmp_path)), "next_word")
    missing = Path(names.format(1)).name
    assert f"train is not complete: 1 of 3 parts are not there, such as {missing}" in source.warnings


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("data/*.csv", {"train": ["data/train.csv"], "test": ["data/test.csv"]}),
        ("data/part-?.jsonl", {"train": ["data/part-0.jsonl", "data/part-1.jsonl"]}),
    ],
)
def test_a_pattern_names_files(tmp_path, pattern, found):
    make(tmp_path, "data/train.csv", "data/test.csv", "data/part-0.jsonl", "data/part-1.jsonl")
    assert files(resolve(Data(str(tmp_path / pattern))), tmp_path) == found
    with pytest.raises(UserError, match="there is no file or folder"):
        resolve(Data(str(tmp_path / "data/*.parquet")))


def test_an_address_is_refused_with_a_remedy():
    with pytest.raises(
        UserError, match=r"data.source: https://a.org/x.csv is an address; download the file, and name it"
    ):
        resolve(Data("https://a.org/x.csv"))


def test_empty_parts_are_left_out(tmp_path):
    make(tmp_path, "train/part-0.csv", "train/part-1.csv")
    (tmp_path / "train/part-0.csv").write_text("")
    assert files(resolve(Data(str(tmp_path))), tmp_path) == {"train": ["train/part-1.csv"]}


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["train.csv", "train.tsv"], "both train.csv and train.tsv are the train split; remove one"),
        (["train.csv", "dev.csv", "valid.csv"], "both dev.csv and valid.csv are the validation split"),
        (["a_train.csv", "b_train.csv"], "both a_train.csv and b_train.csv are the train split"),
        (["train.txt", "train.txt.gz"], "both train.txt and train.txt.gz are the train split"),
        (["train/a.csv", "Training/b.csv"], "both Training and train are the train split"),
        (["books.csv", "films.csv"], "no train.*, validation.* or test.* in it, only books.csv, films.csv; name"),
        (["a/train.csv", "b/train.csv"], "there are several data sets in it: a, b; set data.subset to one"),
        (["train/a.csv", "train/b.tsv"], "it has files of several kinds: a.csv, b.tsv"),
        (["corpus.zip"], "corpus.zip: .zip files cannot be read; unpack it and name the folder or a file in it"),
    ],
)
def test_what_is_not_clear_is_refused_with_the_names(tmp_path, names, message):
    with pytest.raises(UserError) as refusal:
        resolve(Data(str(make(tmp_path, *names))))
    assert message in str(refusal.value)


def test_a_file_called_after_the_split_alone_takes_precedence(tmp_path):
    make(tmp_path, "train.csv", "test.csv", "test_labels.csv", "sample_submission.csv", "train.py")
    source = resolve(Data(str(tmp_path)))
    assert files(source, tmp_path) == {"train": ["train.csv"], "test": ["test.csv"]}
    assert source.warnings == (f"in {tmp_path}, not used: sample_submission.csv, test_labels.csv",)


def test_the_plainer_of_two_names_takes_precedence_in_every_split(tmp_path):
    splits = ("train", "valid", "test")
    make(tmp_path, *(f"ptb.{kind}{split}.txt" for kind in ("", "char.") for split in splits))
    source = resolve(Data(str(tmp_path)), "next_word")
    assert files(source, tmp_path)["train"] == ["ptb.train.txt"]
    assert source.warnings[-1].endswith("not used: ptb.char.test.txt, ptb.char.train.txt, ptb.char.valid.txt")


def test_a_folder_in_a_folder_in_a_cache_is_found(tmp_path):
    make(tmp_path, "default/0.0.0/1a2b/films-train.jsonl", "default/0.0.0/1a2b/films-test.jsonl")
    assert set(resolve(Data(str(tmp_path))).parts) == {"train", "test"}


def test_files_without_labels_are_no_split(tmp_path):
    make(tmp_path, "labeledTrainData.tsv", "unlabeledTrainData.tsv", "testData.tsv")
    source = resolve(Data(str(tmp_path)))
    assert files(source, tmp_path) == {"train": ["labeledTrainData.tsv"], "test": ["testData.tsv"]}
    assert source.warnings == (f"in {tmp_path}, not used: unlabeledTrainData.tsv",)


def test_a_subset_names_one_of_several_folders(tmp_path):
    make(tmp_path, "en/train.csv", "de/train.csv")
    assert files(resolve(Data(str(tmp_path), subset="de")), tmp_path) == {"train": ["de/train.csv"]}
    with pytest.raises(UserError, match=r"data.subset: .* has no folder fr and no configurations"):
        resolve(Data(str(tmp_path), subset="fr"))


def test_what_save_to_disk_wrote_is_read_by_its_state(tmp_path):
    for split in ("train", "validation", "unsupervised"):
        make(tmp_path, f"{split}/data-00000-of-00001.arrow", f"{split}/old.arrow")
        state = {"_data_files": [{"filename": "data-00000-of-00001.arrow"}]}
        (tmp_path / split / "state.json").write_text(json.dumps(state))
    (tmp_path / "dataset_dict.json").write_text('{"splits": ["train", "validation", "unsupervised"]}')
    source = resolve(Data(str(tmp_path)))
    assert files(source, tmp_path) == {
        "train": ["train/data-00000-of-00001.arrow"],
        "validation": ["validation/data-00000-of-00001.arrow"],
    }
    assert formats(source) == {"arrow"}
    assert source.warnings == (f"in {tmp_path}, not used: the split unsupervised",)
    assert files(resolve(Data(str(tmp_path / "train"))), tmp_path) == {"train": ["train/data-00000-of-00001.arrow"]}


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"_data_files": [{"filename": "gone.arrow"}]}, "gone.arrow is missing; save the dataset again"),
        ({"_data_files": [], "_indices_data_files": [{"filename": "i.arrow"}]}, "a selection of rows apart"),
    ],
)
def test_an_incomplete_saved_dataset_is_refused(tmp_path, state, message):
    (tmp_path / "state.json").write_text(json.dumps(state))
    with pytest.raises(UserError, match=message):
        resolve(Data(str(tmp_path)))


CARD = """---
license: mit
configs:
- config_name: english
  data_files:
  - split: train
    path: en/learn-*.jsonl
  - split: test
    path:
    - en/exam.jsonl
- config_name: german
  default: true
  data_files: {train: de/*.jsonl}
- config_name: short
  data_dir: en
---
# Reviews
"""


@pytest.mark.parametrize(
    ("subset", "found"),
    [
        (None, {"train": ["de/a.jsonl"]}),
        ("english", {"train": ["en/learn-0.jsonl", "en/learn-1.jsonl"], "test": ["en/exam.jsonl"]}),
        ("short", {"train": ["en/train.jsonl"]}),
    ],
)
def test_a_clone_of_a_data_repository_is_read_as_its_card_says(tmp_path, subset, found):
    make(tmp_path, "en/learn-1.jsonl", "en/learn-0.jsonl", "en/exam.jsonl", "en/train.jsonl", "de/a.jsonl", "train.csv")
    (tmp_path / "README.md").write_text(CARD)
    assert files(resolve(Data(str(tmp_path), subset=subset)), tmp_path) == found


def test_a_configuration_that_is_not_there_is_refused(tmp_path):
    make(tmp_path, "de/a.jsonl")
    (tmp_path / "README.md").write_text(CARD)
    with pytest.raises(UserError, match=r"has no configuration germn; did you mean german\?"):
        resolve(Data(str(tmp_path), subset="germn"))
    with pytest.raises(UserError, match=r"no file matches en/learn-\*.jsonl; fetch the repository again"):
        resolve(Data(str(tmp_path), subset="english"))
    (tmp_path / "README.md").write_text(CARD.replace("  default: true\n", ""))
    with pytest.raises(UserError, match=r"it has the configurations english, german, short; set data.subset to one"):
        resolve(Data(str(tmp_path)))


def test_a_file_that_git_has_not_fetched_is_refused(tmp_path):
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n"
    for name in ("train.parquet", "train.csv"):
        (tmp_path / name).write_text(pointer)
        with pytest.raises(UserError, match="git has not fetched this file, only its address; run: git lfs pull"):
            resolve(Data(str(tmp_path / name)))


def test_folders_of_classes_are_found_in_each_split(tmp_path):
    for split in ("train", "test"):
        make(tmp_path, *(f"{split}/{kind}/{number}.txt" for kind in ("bad", "good") for number in range(2)))
    make(tmp_path, "train/unsup/0.txt", "train/urls.txt", "words.vocab", "README")
    source = resolve(Data(str(tmp_path)), "sentiment")
    assert files(source, tmp_path) == {"train": ["train"], "test": ["test"]}
    assert formats(source) == {"class-folders"}
    assert source.warnings == (f"in {tmp_path}, not used: train/urls.txt, train/unsup/, words.vocab",)


@pytest.mark.parametrize("root", ["", "20news/", "archive/20news/"])
def test_folders_of_classes_without_splits_are_the_training_split(tmp_path, root):
    make(tmp_path, *(f"{root}{kind}/{number}" for kind in ("sci.space", "rec.autos") for number in (10001, 10002)))
    (tmp_path / root / "README.TXT").write_text("about\n")
    source = resolve(Data(str(tmp_path / root if root.count("/") > 1 else tmp_path)))
    assert formats(source) == {"class-folders"}
    assert list(source.parts) == ["train"]


def test_a_file_for_each_class_is_read_with_its_class(tmp_path):
    make(tmp_path, "films.pos", "films.neg", "films.README")
    source = resolve(Data(str(tmp_path)), "sentiment")
    assert formats(source) == {"class-files"}
    assert source.warnings[0] == "a file for each class: neg in films.neg, pos in films.pos"
    assert formats(resolve(Data(str(make(tmp_path / "b", "positive.txt", "negative.txt"))))) == {"class-files"}


def test_texts_and_labels_in_two_files_are_one_split(tmp_path):
    for split in ("train", "val", "test"):
        make(tmp_path, f"{split}_text.txt", f"{split}_labels.txt")
    make(tmp_path, "mapping.txt")
    source = resolve(Data(str(tmp_path)), "sentiment")
    assert files(source, tmp_path) == {
        "train": ["train_text.txt"],
        "validation": ["val_text.txt"],
        "test": ["test_text.txt"],
    }
    assert formats(source) == {"paired-lines"}
    assert not [line for line in source.warnings if "not used" in line]
    assert formats(resolve(Data(str(tmp_path)), "next_word")) == {"txt"}


def test_texts_without_labels_next_to_them_are_texts(tmp_path):
    make(tmp_path, "train_text.txt", "train_labels.txt", "test_text.txt")
    source = resolve(Data(str(tmp_path)), "sentiment")
    assert [part.format for (part,) in source.parts.values()] == [FORMATS["paired-lines"], FORMATS["txt"]]


def test_a_file_of_words_and_tags_needs_no_other_file(tmp_path):
    make(tmp_path, "train.txt", "train_labels.txt")
    (tmp_path / "train.txt").write_text(CONTENTS[".conll"])
    assert formats(resolve(Data(str(tmp_path)), "ner")) == {"conll"}


@pytest.mark.parametrize(
    ("names", "format", "count"),
    [
        ([f"essay-{number:02}.txt" for number in range(12)], "documents", 1),
        ([*(f"essay-{number:02}.txt" for number in range(12)), "test_pilot.txt", "the_train.txt"], "documents", 1),
        ([f"volume{number}.txt" for number in (1, 2, 10)], "txt", 3),
        ([f"AA/wiki_{number:02}" for number in range(3)], "documents", 1),
    ],
)
def test_a_folder_of_texts_is_a_folder_of_documents_unless_they_are_few(tmp_path, names, format, count):
    source = resolve(Data(str(make(tmp_path, *names))), "next_word")
    assert formats(source) == {format}
    assert len(source.parts["train"]) == count
    if count > 1:
        assert files(source, tmp_path) == {"train": names}
        assert source.is_running_text


def test_tables_in_a_folder_of_texts_are_no_documents(tmp_path):
    for name in ("AA/wiki_00", "AB/wiki_00"):
        make(tmp_path, name)
        (tmp_path / name).write_text('{"text": "fine"}\n' * 3)
    with pytest.raises(UserError, match="no train"):
        resolve(Data(str(tmp_path)), "next_word")


def test_the_format_that_is_set_applies_to_a_folder(tmp_path):
    make(tmp_path, *(f"{number}.txt" for number in range(3)))
    assert formats(resolve(Data(str(tmp_path), format="documents"))) == {"documents"}
    make(tmp_path, *(f"train/{kind}/{number}.txt" for kind in "ab" for number in range(3)))
    source = resolve(Data(str(tmp_path), format="class-folders"))
    assert files(source, tmp_path) == {"train": ["train"]}


@pytest.mark.parametrize("layout", ["documents", "classes"])
def test_a_folder_of_many_files_is_resolved_in_a_moment(tmp_path, layout):
    for kind in ("a", "b"):
        (tmp_path / kind).mkdir()
        for number in range(700):
            file = tmp_path / kind / f"{number}.txt" if layout == "classes" else tmp_path / f"{kind}{number}.txt"
            file.touch()
        if layout == "documents":
            (tmp_path / kind).rmdir()
    started = time.process_time()
    source = resolve(Data(str(tmp_path)), "next_word" if layout == "documents" else "sentiment")
    assert time.process_time() - started < 0.5  # a tenth of a second, on a machine without other work
    assert len(source.parts["train"]) == 1


def test_the_fingerprint_covers_every_part_and_every_document(tmp_path):
    def fingerprint(task: str | None = None) -> str:
        return resolve(Data(str(tmp_path)), task).fingerprint

    make(tmp_path, "train_1.csv", "train_2.csv")
    first = fingerprint()
    (tmp_path / "train_2.csv").write_text("text,label\nbad,0\n")
    assert fingerprint() != first
    for file in tmp_path.iterdir():
        file.unlink()
    make(tmp_path, *(f"train/{kind}/{number}.txt" for kind in "ab" for number in range(2)))
    first = fingerprint("sentiment")
    (tmp_path / "train/a").rename(tmp_path / "train/c")  # another label
    assert fingerprint("sentiment") != first


def test_the_fingerprint_covers_labels_in_another_file(tmp_path):
    make(tmp_path, "train_text.txt", "train_labels.txt")
    first = resolve(Data(str(tmp_path)), "sentiment").fingerprint
    (tmp_path / "train_labels.txt").write_text("other\n")
    assert resolve(Data(str(tmp_path)), "sentiment").fingerprint != first


def test_of_the_two_validation_splits_of_multinli_the_matched_one_counts(tmp_path):
    make(tmp_path, "train.tsv", "dev_matched.tsv", "dev_mismatched.tsv", "diagnostic.tsv")
    source = resolve(Data(str(tmp_path)))
    assert files(source, tmp_path) == {"train": ["train.tsv"], "validation": ["dev_matched.tsv"]}
    assert any(line.endswith("not used: dev_mismatched.tsv, diagnostic.tsv") for line in source.warnings)
