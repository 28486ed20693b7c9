"""`finetune predict` on files: read as training reads them, one answer per row in the order of the file."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import ROOT

from pipeline import inference
from pipeline.cli import main, predict
from pipeline.config.data import Data
from pipeline.config.models import Recurrent
from pipeline.config.recipe import Recipe
from pipeline.config.training import Optim, Train
from pipeline.errors import UserError
from pipeline.run import train
from pipeline.tasks import text_answers
from pipeline.tasks.text_answers import TextAnswers

TEXTS = ["a warm film", 'dull, "flat" and\nlong', "", "warm"]
IDS = [31, 7, 12, 4]


def model_of(folder: Path, task: str, source: str, content: str, **data: str) -> str:
    file = folder / source
    file.write_text(content, encoding="utf-8")
    recipe = Recipe(
        name="x",
        task=task,
        data=Data(str(file), **data),
        model=Recurrent(hidden_size=8, embedding_size=8),
        optim=Optim(learning_rate=0.05),
        train=Train(output_dir=str(folder / "run"), epochs=20 if task == "ner" else 4, batch_size=8),
    )
    train(recipe)
    return str(folder / "run")


@pytest.fixture(scope="module")
def reviews_model(tmp_path_factory) -> str:
    """A model of reviews that was trained on the column `review_body`."""
    rows = "".join(f'"a warm film {n}",x,good\n"dull and flat {n}",y,bad\n' for n in range(30))
    content = f"review_body,text,label\n{rows}"
    return model_of(tmp_path_factory.mktemp("reviews"), "sentiment", "train.csv", content, text_column="review_body")


@pytest.fixture(scope="module")
def names_model(tmp_path_factory) -> str:
    """A model of people and places that has learned its sentences by heart."""
    ends = [f"{n} O\n\n" if n % 2 else "\n" for n in range(60)]
    sentences = ("Ann B-PER\nLee I-PER\nsaw O\nRome B-LOC\n", "Ann B-PER\nsaw O\nRome B-LOC\n")
    rows = "".join(sentence + end for end in ends for sentence in sentences)
    return model_of(tmp_path_factory.mktemp("names"), "ner", "train.conll", rows)


@pytest.fixture(scope="module")
def pairs_model(tmp_path_factory) -> str:
    """A model of pairs of texts, which was trained on the columns `premise` and `hypothesis`."""
    rows = "".join(f"a warm film {n},it is warm,yes\na flat film {n},it is warm,no\n" for n in range(30))
    content = f"premise,hypothesis,label\n{rows}"
    return model_of(tmp_path_factory.mktemp("pairs"), "sentiment", "train.csv", content)


def predictions(model: str, file: Path, **data) -> list[dict]:
    return list(inference.predict_rows(model, Data(str(file), **data)))


def rows_of(texts=TEXTS, ids=IDS) -> list[dict]:
    return [{"id": own, "text": text} for own, text in zip(ids, texts, strict=True)]


def as_csv(rows: list[dict], delimiter: str = ",") -> str:
    out = io.StringIO()
    writer = csv.DictWriter(out, list(rows[0]), delimiter=delimiter)
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def write(file: Path, rows: list[dict]) -> Path:
    if file.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), file)
        return file
    content = {
        ".csv": lambda: as_csv(rows),
        ".tsv": lambda: as_csv(rows, "\t"),
        ".json": lambda: json.dumps(rows),
        ".jsonl": lambda: "\n".join(map(json.dumps, rows)),
    }[file.suffix]()
    file.write_text(content, encoding="utf-8", newline="")
    return file


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".json", ".jsonl", ".parquet"])
def test_each_row_of_a_file_is_answered_in_its_order_with_its_id(reviews_model, tmp_path, suffix):
    """The labels of the file are not needed, and those that are there are not read."""
    file = write(tmp_path / f"new{suffix}", [{**row, "label": "?"} for row in rows_of()])
    answers = predictions(reviews_model, file)
    assert [answer["text"] for answer in answers] == TEXTS
    assert [int(answer["id"]) for answer in answers] == IDS
    one_by_one = [next(iter(inference.predict(reviews_model, [text]))) for text in TEXTS]
    assert [answer["label"] for answer in answers] == [answer["label"] for answer in one_by_one]
    for answer, alone in zip(answers, one_by_one, strict=True):
        assert answer["score"] == pytest.approx(alone["score"], abs=1e-6)


def test_the_column_that_the_model_was_trained_on_comes_first(reviews_model, tmp_path):
    rows = [{"text": "dull and flat", "review_body": "a warm film"}]
    (answer,) = predictions(reviews_model, write(tmp_path / "a.jsonl", rows))
    assert answer["text"] == "a warm film"
    (answer,) = predictions(reviews_model, tmp_path / "a.jsonl", text_column="text")
    assert answer["text"] == "dull and flat"


def test_a_column_of_texts_is_found_by_its_values_as_in_training(reviews_model, tmp_path):
    rows = [{"author": f"user{n}", "headline": f"a warm film number {n}"} for n in range(5)]
    told: list[str] = []
    found = inference.predict_rows(reviews_model, Data(str(write(tmp_path / "a.csv", rows))), report=told.append)
    assert [answer["text"] for answer in found] == [row["headline"] for row in rows]
    assert told == ["text = headline (of: author, headline)"]


def test_a_table_of_one_column_whose_first_line_may_be_a_text_is_refused(reviews_model, tmp_path):
    (tmp_path / "a.csv").write_text("a warm film\ndull and flat\n")
    with pytest.raises(UserError, match=r"is the first line, 'a warm film', a text or the name of .* Set data\.header"):
        predictions(reviews_model, tmp_path / "a.csv")
    found = predictions(reviews_model, tmp_path / "a.csv", header=False)
    assert [answer["text"] for answer in found] == ["a warm film", "dull and flat"]
    assert len(predictions(reviews_model, tmp_path / "a.csv", header=True)) == 1


def test_a_missing_text_is_answered_as_an_empty_one(reviews_model, tmp_path):
    answers = predictions(reviews_model, write(tmp_path / "a.parquet", rows_of(["warm", None], [1, 2])))
    assert [(answer["id"], answer["text"]) for answer in answers] == [(1, "warm"), (2, "")]


def test_a_file_without_a_column_of_texts_is_refused(reviews_model, tmp_path):
    file = write(tmp_path / "a.csv", [{"a": 1, "b": 2}, {"a": 3, "b": 4}])
    with pytest.raises(UserError, match=r"a\.csv: no column looks like the text; set data\.text_column to one of"):
        predictions(reviews_model, file)


@pytest.mark.parametrize("name", ["id", "ID", "idx", "index", "Tweet_ID", "PhraseId", "text id"])
def test_the_usual_names_of_an_id_are_known(reviews_model, tmp_path, name):
    rows = [{"author": "ann", "text": "warm", name: "a-7"}, {"author": "bob", "text": "flat", name: None}]
    answers = predictions(reviews_model, write(tmp_path / "a.jsonl", rows))
    assert [answer["id"] for answer in answers] == ["a-7", None]
    assert list(answers[0]) == ["id", "text", "label", "score", "scores"]


def test_rows_without_an_id_get_none(reviews_model, tmp_path):
    (answer,) = predictions(reviews_model, write(tmp_path / "a.jsonl", [{"author_id": 3, "text": "warm"}]))
    assert "id" not in answer


def test_more_rows_than_are_sorted_at_once_come_out_in_their_order(reviews_model, tmp_path, monkeypatch):
    monkeypatch.setattr(inference, "SORTED_ROWS", 100)
    monkeypatch.setattr(TextAnswers, "rows_at_once", 16)
    monkeypatch.setattr(text_answers, "ROWS_PER_BATCH", 5)
    texts = [" ".join(["warm" if n % 3 else "flat"] * (n * 7 % 23 + 1)) for n in range(250)]
    answers = predictions(reviews_model, write(tmp_path / "a.csv", rows_of(texts, range(250))))
    assert [answer["text"] for answer in answers] == texts
    assert [answer["id"] for answer in answers] == [str(n) for n in range(250)]
    assert [answer["label"] for answer in answers] == ["good" if n % 3 else "bad" for n in range(250)]


def test_a_line_of_a_slow_pipe_does_not_wait_for_the_next_one(monkeypatch):
    reading, writing = os.pipe()
    monkeypatch.setattr(sys, "stdin", os.fdopen(reading, encoding="utf-8"))
    chunks = predict._lines()
    os.write(writing, "\ufeffa warm\r\nfilm\nof ".encode())
    assert next(chunks) == ["a warm", "film"]
    os.write(writing, b"joy\n\n")
    assert next(chunks) == ["of joy", ""]
    os.write(writing, b"dull\xff")
    os.close(writing)
    with pytest.raises(UserError, match=r"^-:5: not UTF-8 at byte 4 of the line$"):
        list(chunks)


def test_of_several_splits_one_must_be_named(reviews_model, tmp_path):
    for name, text in {"train": "warm", "test": "flat"}.items():
        write(tmp_path / f"{name}.jsonl", [{"text": text}])
    with pytest.raises(UserError, match=r"split: .* has several splits; set it to train or test"):
        predictions(reviews_model, tmp_path)
    with pytest.raises(UserError, match=r"split: .* has no validation split; set it to train or test"):
        list(inference.predict_rows(reviews_model, Data(str(tmp_path)), "validation"))
    (answer,) = inference.predict_rows(reviews_model, Data(str(tmp_path)), "test")
    assert answer["text"] == "flat"


def test_a_column_of_splits_chooses_rows_only_if_a_split_is_named(reviews_model, tmp_path):
    splits = ["train", "test", "train", "test", "train", "train"]
    rows = [{"id": n, "text": f"warm {n}", "split": split} for n, split in enumerate(splits)]
    file = write(tmp_path / "a.csv", rows)
    assert [answer["id"] for answer in predictions(reviews_model, file)] == list("012345")
    found = inference.predict_rows(reviews_model, Data(str(file)), "test")
    assert [answer["id"] for answer in found] == ["1", "3"]
    other = write(tmp_path / "b.csv", rows_of())
    with pytest.raises(UserError, match=r"split: .* has no test split, only train; leave it out"):
        list(inference.predict_rows(reviews_model, Data(str(other)), "test"))


def test_sentences_of_words_are_tagged_word_by_word(names_model, tmp_path):
    """The words of the file are not cut again, and tags in it are not read."""
    (tmp_path / "a.conll").write_text("Ann O\nLee O\nsaw O\nRome O\n\nRome O\nsaw-it O\n")
    first, second = predictions(names_model, tmp_path / "a.conll")
    assert first["tokens"] == ["Ann", "Lee", "saw", "Rome"]
    assert first["tags"] == ["B-PER", "I-PER", "O", "B-LOC"]
    places = [(entity["type"], entity["start"], entity["end"], entity["text"]) for entity in first["entities"]]
    assert (first["text"], places) == ("Ann Lee saw Rome", [("PER", 0, 7, "Ann Lee"), ("LOC", 12, 16, "Rome")])
    assert second["tokens"] == ["Rome", "saw-it"]


def test_lists_of_words_without_tags_are_tagged_and_empty_ones_answered(names_model, tmp_path):
    rows = [{"idx": 1, "tokens": ["Ann", "saw", "Rome"]}, {"idx": 2, "tokens": []}]
    answers = predictions(names_model, write(tmp_path / "a.jsonl", rows))
    assert [answer["tags"] for answer in answers] == [["B-PER", "O", "B-LOC"], []]
    assert [answer["id"] for answer in answers] == [1, 2]
    assert answers[1] == {"id": 2, "text": "", "tokens": [], "tags": [], "entities": []}


def test_texts_are_cut_into_words_for_a_model_of_tagged_words(names_model, tmp_path):
    (answer,) = predictions(names_model, write(tmp_path / "a.csv", [{"id": 5, "text": "Ann Lee saw Rome"}]))
    assert [entity["text"] for entity in answer["entities"]] == ["Ann Lee", "Rome"]
    assert "tokens" not in answer


WORD_ROWS = [("1", "Ann", "O"), ("", "saw", "O"), ("", "Rome", "O"), ("2", "Rome", "O"), ("", "saw", "O")]


def test_a_table_with_a_word_in_each_row_is_tagged_by_sentence(names_model, tmp_path):
    rows = [dict(zip(("Sentence #", "Word", "Tag"), row, strict=True)) for row in WORD_ROWS]
    answers = predictions(names_model, write(tmp_path / "a.csv", rows))
    assert [answer["tokens"] for answer in answers] == [["Ann", "saw", "Rome"], ["Rome", "saw"]]
    assert answers[0]["tags"] == ["B-PER", "O", "B-LOC"]


def test_lists_of_words_may_be_strings(names_model, tmp_path):
    rows = [{"id": 1, "tokens": "['Ann', 'saw']"}, {"id": 2, "tokens": "['Rome']"}, {"id": 3, "tokens": "[]"}]
    answers = predictions(names_model, write(tmp_path / "a.csv", rows))
    assert [answer["tokens"] for answer in answers] == [["Ann", "saw"], ["Rome"], []]
    rows = [{"id": 1, "tokens": "Ann saw-it"}, {"id": 2, "tokens": "Rome"}, {"id": 3, "tokens": ""}]
    answers = predictions(names_model, write(tmp_path / "b.csv", rows))
    assert [answer["tokens"] for answer in answers] == [["Ann", "saw-it"], ["Rome"], []]


ANNOTATED = {
    "doccano": {"id": 7, "text": "Ann Lee saw Rome", "label": [[0, 3, "LOC"]]},
    "prodigy": {"text": "Ann Lee saw Rome", "spans": [{"start": 0, "end": 3, "label": "LOC"}], "answer": "reject"},
    "spacy": {"text": "Ann Lee saw Rome", "entities": [[4, 99, "LOC"], [0, 8, "LOC"]]},
    "label-studio": {"id": 3, "data": {"text": "Ann Lee saw Rome"}, "annotations": []},
}


@pytest.mark.parametrize("tool", ANNOTATED)
def test_the_texts_of_annotation_tools_are_read_and_their_spans_are_not(names_model, tmp_path, tool):
    file = write(tmp_path / "a.json", [ANNOTATED[tool], ANNOTATED[tool]])
    answers = predictions(names_model, file)
    found = [[(entity["text"], entity["type"]) for entity in answer["entities"]] for answer in answers]
    assert found == [[("Ann Lee", "PER"), ("Rome", "LOC")]] * 2


def test_pairs_of_texts_are_read_as_pairs_by_a_model_of_pairs_only(pairs_model, reviews_model, tmp_path):
    pairs = [("a flat film", "it is warm"), ("", "")]
    rows = [{"idx": n, "premise": one, "hypothesis": two} for n, (one, two) in enumerate(pairs, start=4)]
    first, second = predictions(pairs_model, write(tmp_path / "a.jsonl", rows))
    assert [*first][:4] == ["id", "text", "text_pair", "label"]
    assert (first["id"], first["text"], first["text_pair"]) == (4, "a flat film", "it is warm")
    assert (second["id"], second["text"], second["text_pair"]) == (5, "", "")
    with pytest.raises(UserError, match=r"reads pairs of texts, and there is one text .*; name the two columns"):
        predictions(pairs_model, write(tmp_path / "b.jsonl", rows_of()))
    with pytest.raises(UserError, match=r"data\.token_column: the model reads texts, not words; name their column"):
        predictions(reviews_model, tmp_path / "a.jsonl", token_column="premise")
    with pytest.raises(UserError, match=r"data\.text_pair_column: the model reads single texts; leave it out"):
        predictions(reviews_model, tmp_path / "a.jsonl", text_column="premise", text_pair_column="hypothesis")
    questions = [{"question": "a warm film about the sea", "answer": "yes"}, {"question": "is it flat", "answer": "no"}]
    found = predictions(reviews_model, write(tmp_path / "c.jsonl", questions))
    assert [answer["text"] for answer in found] == [row["question"] for row in questions]


# The command, in this process.


def command(capfd, *arguments: object, stdin: bytes = b"") -> tuple[int, str, str]:
    """Exit code, stdout and stderr."""
    capfd.readouterr()
    sys.stdin = io.TextIOWrapper(io.BytesIO(stdin))
    try:
        code = main.exit_code(lambda: main._dispatch(["predict", *map(str, arguments)]))
    finally:
        sys.stdin = sys.__stdin__
    return (code, *capfd.readouterr())


def test_the_command_answers_the_rows_of_a_table_and_not_its_header(reviews_model, tmp_path, capfd):
    code, out, err = command(capfd, reviews_model, "--input", write(tmp_path / "new.csv", rows_of()))
    answers = [json.loads(line) for line in out.splitlines()]
    assert (code, [answer["text"] for answer in answers]) == (0, TEXTS)
    assert err == "data: text = text (of: id, text), id = id\n"


def test_settings_of_a_table_are_flags(reviews_model, tmp_path, capfd):
    (tmp_path / "a.dat").write_bytes("7|caf\xe9\n8|warm\n".encode("latin-1"))
    flags = ["--input-format", "csv", "--separator", "|", "--header", "False", "--encoding", "latin-1"]
    code, out, _ = command(capfd, reviews_model, "--input", tmp_path / "a.dat", *flags, "--text-column", "2")
    assert (code, [json.loads(line)["text"] for line in out.splitlines()]) == (0, ["caf\xe9", "warm"])


def test_a_text_file_is_one_text_per_line_whatever_it_looks_like(names_model, tmp_path, capfd):
    (tmp_path / "a.txt").write_text("Ann B-PER\nsaw O\n\nRome B-LOC\n")
    _, out, err = command(capfd, names_model, "--input", tmp_path / "a.txt")
    assert [json.loads(line)["text"] for line in out.splitlines()] == ["Ann B-PER", "saw O", "", "Rome B-LOC"]
    hint = "a.txt is read as one text per line, but looks like conll; if it is, add --input-format conll"
    assert hint in err
    code, out, _ = command(capfd, names_model, "--input", tmp_path / "a.txt", "--input-format", "conll")
    assert (code, [json.loads(line)["tokens"] for line in out.splitlines()]) == (0, [["Ann", "saw"], ["Rome"]])


@pytest.mark.parametrize("name", ["a.text", "a.log", "a", "notes.txt.v2"])
def test_a_file_of_no_known_format_is_one_text_per_line(reviews_model, tmp_path, capfd, name):
    (tmp_path / name).write_text("warm, and long\n\nflat\n")
    code, out, _ = command(capfd, reviews_model, "--input", tmp_path / name)
    assert (code, [json.loads(line)["text"] for line in out.splitlines()]) == (0, ["warm, and long", "", "flat"])


def test_a_compressed_file_is_read_like_the_one_in_it(reviews_model, tmp_path, capfd):
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(b'{"text": "warm"}\n'))
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(b"warm\nflat\n"))
    for name, texts in {"a.jsonl.gz": ["warm"], "a.txt.gz": ["warm", "flat"]}.items():
        code, out, _ = command(capfd, reviews_model, "--input", tmp_path / name)
        assert (code, [json.loads(line)["text"] for line in out.splitlines()]) == (0, texts)


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet"])
def test_answers_are_written_to_a_file_by_its_suffix(reviews_model, tmp_path, capfd, suffix):
    file, output = write(tmp_path / "new.jsonl", rows_of()), tmp_path / f"answers{suffix}"
    output.write_text("older")
    code, out, _ = command(capfd, reviews_model, "--input", file, "--output", output)
    assert (code, out) == (0, "")
    expected = predictions(reviews_model, file)
    if suffix == ".jsonl":
        assert [json.loads(line) for line in output.read_text().splitlines()] == expected
        return
    flat = [
        {**{name: answer[name] for name in ("id", "text", "label", "score")},
         **{f"scores.{label}": score for label, score in answer["scores"].items()}}
        for answer in expected
    ]  # fmt: skip
    if suffix == ".parquet":
        assert pq.read_table(output).to_pylist() == flat
    else:
        with output.open(newline="") as stream:
            assert list(csv.DictReader(stream)) == [{name: str(value) for name, value in row.items()} for row in flat]
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_lists_become_json_in_a_table(names_model, tmp_path, capfd):
    file = write(tmp_path / "a.jsonl", [{"tokens": ["Ann", "saw"]}])
    command(capfd, names_model, "--input", file, "--output", tmp_path / "o.csv")
    with (tmp_path / "o.csv").open(newline="") as stream:
        (row,) = csv.DictReader(stream)
    assert json.loads(row["tags"]) == ["B-PER", "O"]
    assert [entity["text"] for entity in json.loads(row["entities"])] == ["Ann"]


@pytest.mark.parametrize("tool", ["doccano", "label-studio", "spacy", "conll"])
def test_what_is_written_for_a_tool_is_read_again_with_the_same_entities(names_model, tmp_path, capfd, tool):
    """As by somebody who corrects it there and trains on it."""
    (tmp_path / "a.txt").write_text("Ann Lee saw Rome\n\nsaw Rome\n")
    output = tmp_path / f"train{'.conll' if tool == 'conll' else '.json' if tool == 'label-studio' else '.jsonl'}"
    code, out, err = command(capfd, names_model, "--input", tmp_path / "a.txt", "--format", tool, "--output", output)
    assert (code, out) == (0, ""), err
    scores = inference.evaluate(names_model, Data(str(output)))
    assert (scores["f1"], scores["per_type"]["LOC"]["support"], scores["per_type"]["PER"]["support"]) == (1.0, 2, 1)


def test_words_of_a_conll_file_stay_as_they_are_in_a_conll_file(names_model, tmp_path, capfd):
    (tmp_path / "a.conll").write_text("Ann O\nsaw-it O\n(Rome) O\n")
    code, out, _ = command(capfd, names_model, "--input", tmp_path / "a.conll", "--format", "conll")
    assert (code, [line.split()[0] for line in out.splitlines() if line]) == (0, ["Ann", "saw-it", "(Rome)"])


def test_a_format_of_entities_is_refused_for_a_model_of_labels(reviews_model, capfd):
    code, out, err = command(capfd, reviews_model, "--format", "spacy", stdin=b"warm\n")
    assert (code, out) == (2, "")
    assert "error: format: a sentiment model has no such option; leave it out" in err


def test_a_bad_row_leaves_no_half_file_and_the_older_one_as_it_was(reviews_model, tmp_path, capfd):
    (tmp_path / "a.jsonl").write_text('{"text": "warm"}\n' * 3000 + '{"text": ["flat"]}\n')
    (tmp_path / "o.csv").write_text("older")
    code, out, err = command(capfd, reviews_model, "--input", tmp_path / "a.jsonl", "--output", tmp_path / "o.csv")
    assert (code, out, (tmp_path / "o.csv").read_text()) == (2, "", "older")
    assert f"error: {tmp_path}/a.jsonl:3001: the text is a list; expected a string" in err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.jsonl", "o.csv"]


def test_ctrl_c_leaves_no_half_file(reviews_model, tmp_path):
    own = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from pipeline.cli.main import entry"
    (tmp_path / "a.csv").write_text("id,text\n" + "7,a warm film that is long enough\n" * 300_000)
    process = subprocess.Popen(
        [sys.executable, "-c", f"{own}; entry()", "predict", reviews_model, "--input", "a.csv", "--output", "o.csv"],
        cwd=tmp_path, env={**__import__("os").environ, "PYTHONPATH": str(ROOT)}, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stderr
    assert process.stderr.readline().startswith("data: text = text")  # the first rows are on their way
    process.send_signal(signal.SIGINT)
    _, printed = process.communicate(timeout=60)
    assert (process.returncode, len(printed.splitlines())) == (130, 1), printed
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]
