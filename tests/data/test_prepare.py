"""Preparing: at once the second time, again after any change, and never by half."""

from __future__ import annotations

import shutil

import pytest

from pipeline.config.data import Data
from pipeline.data import prepare as module
from pipeline.data.new_data import encode_split
from pipeline.data.prepare import prepare
from pipeline.data.sources import locate
from pipeline.errors import UserError
from pipeline.tasks.sentiment import Sentiment


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FINETUNE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def builds(monkeypatch):
    """Counts how often data is really prepared."""
    calls = []
    real = module._build
    monkeypatch.setattr(module, "_build", lambda *arguments: (calls.append(1), real(*arguments)))
    return calls


def test_splits_are_encoded_with_lengths_ids_and_labels(reviews):
    prepared = prepare(locate(Data(str(reviews))), Sentiment(), "word")
    assert {name: len(rows) for name, rows in prepared.splits.items()} == {"train": 128, "validation": 16, "test": 16}
    row = prepared.splits["test"][3]
    assert row["id"] == 3
    assert row["length"] == len(row["input_ids"])
    assert prepared.labels == ["negative", "positive"]
    assert sum(prepared.splits["test"]["label"]) == 8


def test_the_vocabulary_comes_from_the_training_split_alone(tmp_path):
    for split, word in {"train": "apple", "validation": "banana", "test": "cherry"}.items():
        (tmp_path / f"{split}.csv").write_text("text,label\n" + f"{word} {word},1\n{word} tree,0\n" * 3)
    prepared = prepare(locate(Data(str(tmp_path))), Sentiment(), "word")
    assert "apple" in prepared.tokenizer.get_vocab()
    assert not {"banana", "cherry"} & set(prepared.tokenizer.get_vocab())
    assert prepared.report["encoded"]["test"]["unknown_share"] > 0.5


def test_a_second_run_starts_at_once(reviews, builds):
    first = prepare(locate(Data(str(reviews))), Sentiment(), "word")
    second = prepare(locate(Data(str(reviews))), Sentiment(), "word")
    assert len(builds) == 1
    assert first.report == second.report
    assert first.splits["train"][:] == second.splits["train"][:]
    assert first.tokenizer.get_vocab() == second.tokenizer.get_vocab()


@pytest.mark.parametrize(
    "change",
    [
        {"max_length": 5},
        {"limit": 100},
        {"split_seed": 1},
        {"min_frequency": 1},
        {"test_share": 0.2},
        {"vocab_size": 9},
    ],
)
def test_no_change_of_a_setting_is_missed(reviews, builds, change):
    prepare(locate(Data(str(reviews))), Sentiment(), "word")
    prepare(locate(Data(str(reviews), **change)), Sentiment(), "word")
    assert len(builds) == 2


def test_no_change_of_a_byte_is_missed(reviews, builds):
    prepare(locate(Data(str(reviews))), Sentiment(), "word")
    reviews.write_text(reviews.read_text().replace("funny film 0", "funny film O"))
    prepare(locate(Data(str(reviews))), Sentiment(), "word")
    assert len(builds) == 2


CARD = """---
configs:
- config_name: default
  data_files:
  - split: train
    path: a.csv
  - split: SPLIT
    path: b.csv
dataset_info:
  features:
  - name: label
    dtype:
      class_label:
        names: {'0': bad, '1': GOOD}
---
"""


def test_no_change_of_what_a_readme_says_is_missed(tmp_path, builds):
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_text("text,label\n" + "".join(f"word {name} {row},{row % 2}\n" for row in range(40)))
    sizes = []
    for split, good in (("test", "good"), ("validation", "good"), ("validation", "fine")):
        (tmp_path / "README.md").write_text(CARD.replace("SPLIT", split).replace("GOOD", good))
        prepared = prepare(locate(Data(str(tmp_path))), Sentiment(), "word")
        sizes.append(len(prepared.splits["test"]))
        assert prepared.labels == ["bad", good]
    assert len(builds) == 3
    assert sizes[0] == 40 > sizes[1] == sizes[2]


def test_a_damaged_entry_is_rebuilt(reviews, builds, cache):
    prepare(locate(Data(str(reviews))), Sentiment(), "word")
    (file,) = cache.glob("*/train.arrow")
    file.write_bytes(file.read_bytes()[:100])
    assert len(prepare(locate(Data(str(reviews))), Sentiment(), "word").splits["train"]) == 128
    assert len(builds) == 2


def test_a_refusal_leaves_nothing_behind(tmp_path, cache):
    (tmp_path / "a.csv").write_text("text,label\na,1\nb,2,3\n")
    with pytest.raises(UserError, match=r"a\.csv:3"):
        prepare(locate(Data(str(tmp_path / "a.csv"))), Sentiment(), "word")
    assert list(cache.iterdir()) == []


def test_long_rows_are_truncated_and_reported(reviews):
    prepared = prepare(locate(Data(str(reviews), max_length=4)), Sentiment(), "word")
    assert max(prepared.splits["train"]["length"]) == 4
    assert prepared.report["notes"][-1].startswith("rows truncated to data.max_length 4 tokens: ")


def test_a_text_without_known_words_has_one_unknown_token(tmp_path):
    (tmp_path / "a.csv").write_text(
        "text,label\n" + "".join(f"good {n},1\nbad {n},0\n" for n in range(20)) + "\u200b,1\n"
    )
    prepared = prepare(locate(Data(str(tmp_path / "a.csv"))), Sentiment(), "word")
    assert min(min(rows["length"]) for rows in prepared.splits.values()) == 1


def test_new_data_is_encoded_for_an_existing_model(reviews, tmp_path):
    prepared = prepare(locate(Data(str(reviews))), Sentiment(), "word")
    rows, _ = encode_split(
        locate(Data(str(reviews))), "test", Sentiment(), prepared.tokenizer, prepared.labels, tmp_path
    )
    assert len(rows) == 160
    with pytest.raises(UserError, match=r"reviews.csv:2: the model does not know the label 'positive'; it has a, b"):
        encode_split(locate(Data(str(reviews))), "test", Sentiment(), prepared.tokenizer, ["a", "b"], tmp_path)


def test_new_data_is_truncated_to_the_length_of_the_model(tmp_path):
    (tmp_path / "a.csv").write_text("text,label\n" + "".join(f"{'good ' * 400}{n},{n % 2}\n" for n in range(30)))
    long = prepare(locate(Data(str(tmp_path / "a.csv"), max_length=300)), Sentiment(), "word")
    rows, _ = encode_split(
        locate(Data(str(tmp_path / "a.csv"))), "test", Sentiment(), long.tokenizer, long.labels, tmp_path
    )
    assert set(rows["length"]) == {300}


def test_a_missing_split_is_refused(reviews, tmp_path):
    for name in ("train.csv", "dev.csv"):
        shutil.copy(reviews, tmp_path / name)
    tokenizer = prepare(locate(Data(str(reviews))), Sentiment(), "word").tokenizer
    with pytest.raises(UserError, match=r"split: .* has no test split, only train, validation"):
        encode_split(locate(Data(str(tmp_path))), "test", Sentiment(), tokenizer, ["negative", "positive"], tmp_path)


def test_texts_taken_for_labels_are_reported_before_there_is_too_little_to_carve(tmp_path):
    (tmp_path / "a.csv").write_text("text,label\n" + "".join(f"good {n},id {n}\n" for n in range(40)))
    with pytest.raises(UserError, match=r"data\.label_column: 40 different labels in 40 rows"):
        prepare(locate(Data(str(tmp_path / "a.csv"))), Sentiment(), "word")


def test_a_cache_that_cannot_be_written_to_is_refused(reviews, tmp_path, monkeypatch):
    monkeypatch.setenv("FINETUNE_CACHE", str(reviews))
    with pytest.raises(
        UserError, match=r"FINETUNE_CACHE: cannot write to .*reviews\.csv: .*; make room or name another folder"
    ):
        prepare(locate(Data(str(reviews))), Sentiment(), "word")
