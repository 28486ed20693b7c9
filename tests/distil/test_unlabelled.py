"""Texts without labels come from any source, are cut by a stated rule, and are counted."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.config.data import Data
from pipeline.data import new_rows
from pipeline.data.new_rows import NewRow
from pipeline.data.tokenization import tokenizers
from pipeline.data.tokenization.segmentation import cutter
from pipeline.distil import unlabelled
from pipeline.distil.drawing import Unlabelled
from pipeline.errors import UserError
from pipeline.tasks.base import Task, load_task

TRAINED = Data("x", max_length=8)


def task_of(name: str, pairs: bool | None = False) -> Task:
    task = load_task(name)
    task.reads_pairs = pairs
    return task


def write(folder: Path, name: str, content: str) -> Data:
    file = folder / name
    file.parent.mkdir(exist_ok=True)
    file.write_text(content, encoding="utf-8")
    return Data(str(file))


def read(*sources: Data, task: str | Task = "sentiment", limit: int = 1000, seed: int = 0, **options) -> Unlabelled:
    settings = {"held_out": [], "data": TRAINED, "tokenizer": None, **options}
    task = task_of(task) if isinstance(task, str) else task
    found = unlabelled.read(sources, task, limit=limit, seed=seed, **settings)
    counts = found.report
    made = counts["rows"] - counts["empty"] - counts["cut"] + counts["sentences"]
    names = ("short", "long", "held_out", "trained", "duplicates", "over_limit", "drawn")
    assert made == sum(counts[name] for name in names)
    assert len(found.contents) == counts["drawn"]
    json.dumps(counts)
    return found


def test_running_text_is_cut_into_sentences_of_usual_length(tmp_path):
    text = f"It was a dark night. Rain.\n\nמי ידע מה? {'word ' * 60}.\n"
    found = read(write(tmp_path, "text.txt", text))
    assert found.contents == ["It was a dark night.", "מי ידע מה?"]
    counts = found.report
    assert (counts["rows"], counts["empty"], counts["cut"], counts["sentences"]) == (3, 1, 2, 4)
    assert (counts["short"], counts["long"]) == (1, 1)
    said = unlabelled.described({**counts, "rows": 3000, "sources": {"a.txt": 3000}})
    assert said == (
        "2 texts from 3,000 rows of a.txt, 4 sentences; left out: 1 without text, 1 of less than 3 words,"
        " 1 of more than 50 words"
    )


def test_data_separate_decides_whether_rows_are_cut(tmp_path):
    lines = write(tmp_path, "tweets.txt", "One two three. Four five six.\nok\n")
    whole = Data(lines.source, separate=True)
    assert read(whole).contents == ["One two three. Four five six.", "ok"]
    rows = write(tmp_path, "rows.csv", 'text\n"One two three. Four five six."\n"so so"\n')
    assert read(rows).contents == ["One two three. Four five six.", "so so"]
    assert read(Data(rows.source, separate=False)).contents == ["One two three.", "Four five six."]


def test_documents_that_the_student_would_not_read_as_a_whole_are_cut(tmp_path):
    nine = "One two three four five. Six seven eight nine."
    rows = write(tmp_path, "rows.csv", f'text\n"{nine}"\n"One two three. Four five six."\n')
    assert read(rows).contents == [*nine.replace(". ", ".|").split("|"), "One two three. Four five six."]
    assert read(rows, data=Data("x", max_length=9)).contents[0] == nine
    assert read(rows, data=Data("x", max_length=8, long_texts="windows")).contents[0] == nine
    assert read(rows, data=Data("x", max_length=8, long_texts="tail")).contents == read(rows).contents


@pytest.mark.slow  # 25,000 reviews
def test_the_sample_of_reviews_gives_its_sentences():
    found = read(Data("sample:imdb_text"), limit=50)
    assert len(found.contents) == 50
    assert found.report["rows"] == 25_000
    assert found.report["sentences"] > 10 * found.report["rows"]
    assert all("<br" not in text and text == text.strip() for text in found.contents)


def test_labels_of_a_labelled_file_are_ignored(tmp_path):
    rows = write(tmp_path, "reviews.csv", "text,label\na good one,1\na bad one,0\nno label here,\n")
    assert read(rows).contents == ["a good one", "a bad one", "no label here"]
    words = write(tmp_path, "news.conll", "Ann B-PER\nsaw O\nRome B-LOC\n\nIt O\nrained O\n\n")
    tokenizer = tokenizers.train("word", ["Ann saw Rome"], Data("x"))
    assert read(words, task="ner", tokenizer=tokenizer).contents == [["Ann", "saw", "Rome"], ["It", "rained"]]


@pytest.mark.parametrize("text", ["Ann saw Rome, didn't she?", 'ב"כ הממשלה אמר (אתמול).', "Ann 在北京。"])
def test_texts_for_a_tagger_are_cut_into_words_as_predict_does(text, tmp_path):
    tokenizer = tokenizers.train("word", ["Ann saw Rome"], Data("x"))
    rows = write(tmp_path, "news.jsonl", json.dumps({"text": text}) + "\n" + '{"text": "\\u200e"}\n')
    found = read(rows, task="ner", tokenizer=tokenizer)
    assert found.contents == [[text[start:end] for start, end in cutter(tokenizer)(text)]]
    assert found.report["empty"] == 1  # a mark of direction, which is no word


def test_documents_for_a_language_model_stay_whole(tmp_path):
    text = write(tmp_path, "text.txt", "One two three. Four five six. Seven.\n\nok\n")
    assert read(text, task="next_word").contents == ["One two three. Four five six. Seven.", "ok"]


def test_pairs_of_texts_stay_pairs(tmp_path):
    rows = write(tmp_path, "pairs.jsonl", '{"premise": "It rains. A lot.", "hypothesis": "It is wet."}\n')
    assert read(rows, task=task_of("sentiment", pairs=True)).contents == [("It rains. A lot.", "It is wet.")]
    single = write(tmp_path, "single.jsonl", '{"text": "It rains."}\n')
    with pytest.raises(UserError, match=r"the model reads pairs.*distil\.unlabelled\.text_pair_column"):
        read(single, task=task_of("sentiment", pairs=True))


def test_rows_of_validation_and_test_and_their_sentences_are_left_out(tmp_path):
    text = write(tmp_path, "text.txt", "A   GOOD film! Another good film. So it ends here. A good film.\n")
    found = read(text, held_out=["a good film", "Something else. So it ends here."])
    assert found.contents == ["Another good film."]
    assert found.report["held_out"] == 3


def test_training_rows_which_the_teacher_answers_anyway_are_left_out(tmp_path):
    text = write(tmp_path, "rows.csv", "text\nA   GOOD film!\nAnother one\nso it ends\na good film\n")
    found = read(text, trained=["a good film", "so it ends"], held_out=["So it ends."])
    assert found.contents == ["Another one"]
    assert (found.report["trained"], found.report["held_out"]) == (2, 1)
    assert "1 equal to a row of validation or test, 2 equal to a training row" in unlabelled.described(found.report)
    words = write(tmp_path, "news.conll", "Ann B-PER\nsaw O\n\nIt O\nrained O\n\n")
    tokenizer = tokenizers.train("word", ["Ann saw"], Data("x"))
    assert read(words, task="ner", tokenizer=tokenizer, trained=[["Ann", "saw"]]).contents == [["It", "rained"]]


def test_the_same_texts_are_drawn_from_sources_in_any_order(tmp_path):
    one = write(tmp_path, "one.csv", "text\n" + "".join(f"text number {n}\n" for n in range(60)))
    two = write(tmp_path, "two.csv", "text\n" + "".join(f"Text number {n}!\n" for n in range(40, 100)))
    found = read(one, two, limit=30)
    assert found.report["duplicates"] == 20
    assert found.report["over_limit"] == 70
    assert found.report["sources"] == {one.source: 60, two.source: 60}
    assert {text.strip("!").lower() for text in read(two, one, limit=30).contents} == {
        text.strip("!").lower() for text in found.contents
    }
    assert read(one, two, limit=30) == found
    assert read(one, two, limit=30, seed=1).contents != found.contents


def test_how_a_source_was_read_is_said_with_its_name_if_there_are_several(tmp_path):
    one = write(tmp_path, "one.csv", "text,n\nof one,1\n")
    two = write(tmp_path, "two.csv", "text,n\nof two,1\n")
    (columns,) = read(one).report["notes"]
    assert read(one, two).report["notes"] == [f"{source.source}: {columns}" for source in (one, two)]


def test_only_rows_that_nobody_is_scored_on_are_read(tmp_path):
    for split in ("train", "test"):
        write(tmp_path / "folder", f"{split}.csv", f"text,label\nof {split},1\nalso {split},0\n")
    assert read(Data(str(tmp_path / "folder"))).contents == ["of train", "also train"]
    table = "text,split\na,train\nb,test\nc,validation\nd,unsup\n"
    assert read(write(tmp_path, "table.csv", table)).contents == ["a", "d"]
    alone = write(tmp_path / "alone", "test.csv", "text,label\nthe only split,1\n")
    assert read(Data(str(Path(alone.source).parent))).contents == ["the only split"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "text,label\n", r"a\.csv: it has no rows"),
        ("a.csv", "x1,x2\n1,2\n3,4\n", r"distil\.unlabelled\.text_column"),
        ("a.txt", "ok\n", r"^distil\.unlabelled: no text is left of it \(0 texts from 1 rows of "),
        ("a.jsonl", '{"text": "a"}\n{"text": [1]}\n', r"a\.jsonl:2: the text is a list; expected a string"),
        ("a.csv", "text\n\n", r"a\.csv"),
    ],
)  # fmt: skip
def test_a_source_without_texts_is_refused_in_one_line(name, content, message, tmp_path):
    with pytest.raises(UserError, match=message) as error:
        read(write(tmp_path, name, content))
    assert "data." not in str(error.value).replace("data.csv", "").replace("distil.unlabelled", "")


def test_a_source_that_does_not_exist_is_refused_by_the_name_of_its_setting(tmp_path):
    with pytest.raises(UserError, match=r"^distil\.unlabelled\.source: .*nothing\.csv"):
        read(Data(str(tmp_path / "nothing.csv")))


def test_unlabelled_splits_of_a_hub_dataset_are_read(monkeypatch):
    import datasets

    texts = {"train": ["a"], "test": ["b"], "unsupervised": ["c", "d"]}
    splits = {name: datasets.Dataset.from_dict({"text": own, "label": [0] * len(own)}) for name, own in texts.items()}
    monkeypatch.setattr("datasets.load_dataset", lambda *names, **options: splits)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("pipeline.hub.download.go_offline_if_unreachable", lambda: None)
    monkeypatch.setattr("pipeline.data.hub_source.resolve", lambda data: "0" * 40)
    assert read(Data("org/name")).contents == ["a", "c", "d"]


def test_memory_does_not_grow_with_the_texts_that_are_not_drawn(tmp_path, monkeypatch):
    source = write(tmp_path, "a.csv", "text\nx\n")

    def peak(rows: int) -> int:
        def found(*_) -> Iterator[NewRow]:
            return (NewRow(f"text {number} {'word ' * 50}", None) for number in range(rows))

        monkeypatch.setattr(new_rows, "read_unscored", found)
        tracemalloc.start()
        read(source, limit=100, data=Data("x"))
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return size

    few, many = peak(500), peak(4_500)
    assert many - few < 4_000 * 8 * 4  # a number for each row, which is copied to be sorted; a row has 300 bytes
