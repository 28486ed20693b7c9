"""The rows of an evaluation: what a run and `finetune evaluate` write, and that all scores follow from them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import NEGATIVE, POSITIVE
from test_predict import names_model, reviews_model

from pipeline import inference, predictions, run_folder
from pipeline.cli import main
from pipeline.config.data import Data
from pipeline.config.models import ModelSettings, Recurrent, Scratch
from pipeline.config.recipe import Recipe
from pipeline.config.training import Optim, Train
from pipeline.errors import UserError
from pipeline.predictions import PredictionInfo
from pipeline.run import train
from pipeline.tasks.base import Task, padded_inputs, scores_of
from pipeline.tasks.ner import Ner

__all__ = ["names_model", "reviews_model"]

INFO = PredictionInfo("sentiment", None, "test", ["a", "b"], {"thresholds": [0.5, 0.25]})
TEXTS = [f"{text} {'so ' * (number % 9)}{number}" for number in range(8) for text in POSITIVE + NEGATIVE]
SMALL = Recurrent(hidden_size=8, embedding_size=8, dropout=0.0, embedding_dropout=0.0)


def rows_of(kind: str) -> list[dict[str, Any]]:
    labels = {
        "labels": lambda n: "good" if n % 8 < 4 else "bad",
        "several": lambda n: [["warm"], ["warm", "flat"], []][n % 3],
        "numbers": lambda n: n % 7 / 3,
    }[kind]
    return [{"text": text, "label": labels(number)} for number, text in enumerate(TEXTS)]


def write(folder: Path, name: str, rows: list[dict[str, Any]]) -> str:
    (folder / name).write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return str(folder / name)


def a_run(folder: Path, task: str, source: str, model: ModelSettings = SMALL, max_length: int = 24, **data: Any):
    recipe = Recipe(
        "x", task, Data(source, max_length=max_length, **data), model, Optim(learning_rate=0.03),
        Train(str(folder / "run"), max_steps=12, batch_size=8),
    )  # fmt: skip
    return recipe, train(recipe)


def agree(recipe: Recipe, metrics: dict[str, Any], split: str) -> pa.Table:
    """The rows of `split`, from which its scores follow."""
    rows = predictions.read(run_folder.predictions_of(recipe.folder, split))
    assert json.dumps(scores_of(rows)) == json.dumps(metrics[split])
    assert rows.info.split == split
    assert rows.table["id"].to_pylist() == list(range(len(rows.table)))
    return rows.table


@pytest.mark.parametrize("choice", ["cut", "windows"])
@pytest.mark.parametrize("kind", ["labels", "several", "numbers"])
def test_the_scores_of_texts_follow_from_their_rows(tmp_path, kind, choice):
    recipe, metrics = a_run(
        tmp_path, "sentiment", write(tmp_path, "rows.jsonl", rows_of(kind)), max_length=9, long_texts=choice
    )
    assert bool(metrics["data"]["encoded"]["test"]["more_windows"]) == (choice == "windows")
    for split in ("validation", "test"):
        table = agree(recipe, metrics, split)
        first = table.slice(0, 1).to_pylist()[0]
        line = int(first["place"].rpartition(":")[2])
        assert first["place"] == f"{tmp_path}/rows.jsonl:{line}"
        assert (first["text"], first["gold"]) == (TEXTS[line - 1], pytest.approx(rows_of(kind)[line - 1]["label"]))
    assert ("nll" in table.column_names) == (kind != "numbers")
    assert max(table["tokens"].to_pylist()) > 9 or choice == "cut"


def test_the_scores_of_pairs_follow_from_their_rows(tmp_path):
    rows = [{"sentence1": row["text"], "sentence2": TEXTS[0], "label": row["label"]} for row in rows_of("labels")]
    recipe, metrics = a_run(tmp_path, "sentiment", write(tmp_path, "rows.jsonl", rows))
    table = agree(recipe, metrics, "test")
    assert set(table["text_pair"].to_pylist()) == {TEXTS[0]}
    assert set(table["text"].to_pylist()) <= set(TEXTS)


TAGGED = [
    ([*["Ada", "Bell"] * (number % 5), "saw", f"n{number}", "Rome"], number % 5) for number in range(40)
]  # up to eleven words, in windows of six tokens


@pytest.mark.parametrize("scheme", ["iob2", "bioes"])
@pytest.mark.parametrize(
    "model",
    [SMALL, Recurrent(hidden_size=8, embedding_size=8, crf=True), Scratch("bert", hidden_size=8, layers=1, heads=2)],
    ids=["plain", "crf", "bert"],
)
def test_the_scores_of_sentences_follow_from_their_rows(tmp_path, scheme, model):
    lines = [{"tokens": words, "tags": [*["B-PER", "I-PER"] * people, "O", "O", "B-LOC"]} for words, people in TAGGED]
    recipe, metrics = a_run(tmp_path, "ner", write(tmp_path, "rows.jsonl", lines), model, max_length=6, scheme=scheme)
    assert metrics["data"]["encoded"]["test"]["more_windows"]
    for split in ("validation", "test"):
        for row in agree(recipe, metrics, split).to_pylist():
            own = lines[int(row["place"].rpartition(":")[2]) - 1]
            assert (row["words"], row["gold"]) == (own["tokens"], own["tags"])
            assert row["tokens"] >= len(row["words"]) == len(row["prediction"])
            people = [("PER", start, start + 2) for start in range(0, len(row["words"]) - 3, 2)]
            found = [(span["type"], span["start"], span["end"]) for span in row["gold_spans"]]
            assert found == [*people, ("LOC", len(row["words"]) - 1, len(row["words"]))]


class Losing(Ner):
    """Words called `lost` have no token, as with an encoder that drops what it cannot spell."""

    def encode(self, rows, tokenizer, max_length, labels):
        columns = super().encode(rows, tokenizer, max_length, labels)
        names = [word for words in rows["tokens"].to_pylist() for word in words]  # one window for each sentence
        first = columns["first"]
        kept = [-1 if name == "lost" else at for name, at in zip(names, first.flatten().to_pylist(), strict=True)]
        columns["first"] = pa.ListArray.from_arrays(first.offsets, pa.array(kept, pa.int32()))
        return columns


def test_an_entity_with_a_word_that_has_no_token_is_a_miss_in_the_rows_and_in_the_scores(tmp_path):
    whole = {"tokens": ["Bell", "saw", "Rome"], "tags": ["B-PER", "O", "B-LOC"]}
    lines = [{"tokens": ["Ada", "lost", "saw", f"n{n}"], "tags": ["B-PER", "I-PER", "O", "O"]} for n in range(20)]
    lines += [{"tokens": [*whole["tokens"], f"n{n}"], "tags": [*whole["tags"], "O"]} for n in range(20)]
    recipe, metrics = a_run(tmp_path, f"{__name__}:Losing", write(tmp_path, "rows.jsonl", lines))
    for split in ("validation", "test"):
        rows = agree(recipe, metrics, split).to_pylist()
        losing = [row for row in rows if "lost" in row["words"]]
        assert 0 < len(losing) < len(rows)
        assert all(row["lost_entities"] == ("lost" in row["words"]) for row in rows)
        assert all(row["prediction"][1] == "O" for row in losing)
        assert metrics[split]["lost_entities"] == len(losing)
        entities = sum(len(row["gold_spans"]) for row in rows)
        assert metrics[split]["recall"] <= 1 - len(losing) / entities


@pytest.mark.parametrize("running", [False, True])
@pytest.mark.parametrize(
    "model",
    [SMALL, Recurrent(hidden_size=16, embedding_size=16, adaptive_cutoffs=(6, 20)),
     Scratch("gpt2", hidden_size=8, layers=1, heads=2)],
    ids=["lstm", "adaptive", "gpt2"],
)  # fmt: skip
def test_the_scores_of_a_language_model_follow_from_its_rows(tmp_path, running, model):
    if running:
        (tmp_path / "text.txt").write_text("\n".join(line if n % 10 else "" for n, line in enumerate(TEXTS)) + "\n")
    source = str(tmp_path / "text.txt") if running else write(tmp_path, "rows.jsonl", [{"text": x} for x in TEXTS])
    recipe, metrics = a_run(tmp_path, "next_word", source, model, max_length=8, tokenizer="whitespace")
    for split in ("validation", "test"):
        info = predictions.read(run_folder.predictions_of(recipe.folder, split)).info
        assert info.settings["running"] is running
        for row in agree(recipe, metrics, split).to_pylist():
            line = int(row["place"].rpartition(":")[2]) - 1
            assert row["text"] == (TEXTS[line] if line % 10 or not running else "")
            assert row["words"] == row["tokens"] == len(row["token_nll"]) == len(row["text"].split()) + 1
            assert row["bytes"] == len(row["text"].encode()) + 1
            assert 0 <= row["first"] <= row["in_five"] <= row["tokens"]
            assert row["nll"] == pytest.approx(sum(row["token_nll"]))


class Plain(Task):
    """A task that has only what it must, and rows of its own."""

    name, head, monitor, lower_is_better = "plain", "CausalLM", "loss", True
    columns: ClassVar[dict[str, tuple[str, ...]]] = {"text": ("text",)}

    def encode(self, rows, tokenizer, max_length, labels):
        ids = tokenizer(rows["text"], add_special_tokens=False)["input_ids"]
        return {"input_ids": ids, "truncated": [False] * len(ids)}

    def collate(self, rows, tokenizer):
        batch = padded_inputs(rows, tokenizer)
        batch["labels"] = batch["shift_labels"] = batch["input_ids"]
        return batch, batch["labels"].numel()

    def outcome(self, outputs, batch):
        return {"best": outputs.logits[:, 0].argmax(dim=-1)}

    def score(self, outcome, labels):
        return {"loss": 0.0}

    def rows(self, outcome, labels):
        for row in super().rows(outcome, labels):
            yield {**row, "mixed": str(row["id"]) if row["id"] % 2 else row["id"]}

    def predict(self, texts, model, tokenizer, labels):
        return []


def test_a_third_party_task_has_the_columns_that_it_gives(tmp_path):
    """Its rows are those of the data, so they have a place and a text as well."""
    source = write(tmp_path, "rows.jsonl", rows_of("labels"))
    recipe, metrics = a_run(tmp_path, f"{__name__}:Plain", source, tokenizer="whitespace")
    rows = predictions.read(run_folder.predictions_of(recipe.folder, "test"))
    assert rows.info == PredictionInfo(f"{__name__}:Plain", None, "test", [], {})
    assert rows.table.column_names == ["id", "place", "text", "best", "mixed"]
    assert set(rows.table["text"].to_pylist()) <= set(TEXTS)
    assert rows.table["mixed"].to_pylist()[:2] == ["0", '"1"']
    with pytest.raises(UserError, match=r"Plain does not compute scores from rows; see Task\.score_rows"):
        scores_of(rows)
    assert metrics["test"] == {"loss": 0.0}


def test_evaluate_writes_the_rows_of_a_run_again(tmp_path, capsys):
    data = tmp_path / "data"
    data.mkdir()
    rows = rows_of("labels")
    for split, own in (("train", rows[:40]), ("validation", rows[40:52]), ("test", rows[52:])):
        write(data, f"{split}.jsonl", own)
    recipe, metrics = a_run(tmp_path, "sentiment", str(data))
    capsys.readouterr()
    main._dispatch(
        ["evaluate", str(recipe.folder), "--data", str(data), "--rows", str(tmp_path / "rows.parquet"),
         "--batch-size", "8"]
    )  # fmt: skip
    assert json.loads(capsys.readouterr().out) == metrics["test"]
    assert (tmp_path / "rows.parquet").read_bytes() == (recipe.folder / "predictions/test.parquet").read_bytes()


def test_the_names_of_files_are_those_that_the_user_gave(tmp_path, monkeypatch):
    """The same rows from another place, or from a sample in an installed package, are the same file."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    write(tmp_path, "rows.jsonl", rows_of("labels"))
    for given in ("rows.jsonl", "~/rows.jsonl"):
        recipe, _ = a_run(tmp_path / given[0], "sentiment", given)
        table = predictions.read(run_folder.predictions_of(recipe.folder, "test")).table
        assert all(place.startswith(f"{given}:") for place in table["place"].to_pylist())
    loaded = str(recipe.folder)
    file = tmp_path / "sample.parquet"
    inference.evaluate(
        loaded, Data("sample:rotten_tomatoes", limit=20, label_names=("negative=bad", "positive=good")), rows=file
    )
    places = predictions.read(file).table["place"].to_pylist()
    assert all(place.startswith("sample:rotten_tomatoes:") for place in places)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("rows.csv", r"^rows: .*rows\.csv does not end in \.parquet; rows are written as Parquet"),
        ("", r"^rows: .* is a folder; name a file in it, such as .*rows\.parquet"),
        ("no/rows.parquet", r"^rows: there is no folder .*/no; make it, or name a file in another"),
    ],
)
def test_a_target_that_cannot_be_written_is_refused_before_anything_is_read(tmp_path, name, message):
    with pytest.raises(UserError, match=message):
        main._dispatch(["evaluate", "no-such-model", "--data", "no-such-file.csv", "--rows", str(tmp_path / name)])


def test_the_rows_of_a_run_of_an_older_version_can_be_written_into_its_folder(tmp_path):
    file = tmp_path / "predictions/test.parquet"
    with pytest.raises(UserError, match="there is no folder"):
        predictions.check_target(str(file), "rows")
    (tmp_path / "recipe.json").write_text("{}")
    assert predictions.check_target(str(file), "rows") == file
    predictions.write(file, INFO, [pa.RecordBatch.from_pydict({"id": [0]})])
    assert predictions.read(file).table.num_rows == 1


def test_rows_are_read_as_they_were_written(tmp_path):
    batches = [pa.RecordBatch.from_pydict({"id": [0, 1], "gold": ["a", None]}),
               pa.RecordBatch.from_pydict({"id": [2], "gold": ["b"]})]  # fmt: skip
    predictions.write(tmp_path / "a.parquet", INFO, batches)
    found = predictions.read(tmp_path / "a.parquet")
    assert found.info == INFO
    assert found.table.to_pydict() == {"id": [0, 1, 2], "gold": ["a", None, "b"]}
    predictions.write(tmp_path / "b.parquet", INFO, batches)
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()


def test_a_file_is_complete_or_absent(tmp_path):
    def failing():
        yield pa.RecordBatch.from_pydict({"id": [0]})
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="full"):
        predictions.write(tmp_path / "a.parquet", INFO, failing())
    assert list(tmp_path.iterdir()) == []


def test_another_file_is_refused(tmp_path):
    (tmp_path / "text.parquet").write_text("hello")
    pq.write_table(pa.table({"id": [1]}), tmp_path / "other.parquet")
    for name in ("text.parquet", "other.parquet"):
        with pytest.raises(UserError, match=rf"{name}: not the rows of an evaluation"):
            predictions.read(tmp_path / name)
    with pytest.raises(UserError, match="there is no such file"):
        predictions.read(tmp_path / "missing.parquet")


def test_columns_of_any_values_are_written(monkeypatch):
    """Their type is found over all rows; what Arrow has no type for is JSON."""
    monkeypatch.setattr(predictions, "ROWS_PER_GROUP", 2)
    rows = [{"id": 0, "x": 1, "y": None, "z": "a"}, {"id": 1, "x": 2.5, "z": 1}, {"id": 2, "y": [1], "z": {"b": None}}]
    batches = list(predictions.batches_of(lambda: iter(rows)))
    assert [len(batch) for batch in batches] == [2, 1]
    assert pa.Table.from_batches(batches).to_pydict() == {
        "id": [0, 1, 2],
        "x": [1.0, 2.5, None],
        "y": [None, None, [1]],
        "z": ['"a"', "1", '{"b": null}'],
    }


def test_overwriting_a_run_removes_its_rows(tmp_path, monkeypatch):
    recipe, _ = a_run(tmp_path, "sentiment", write(tmp_path, "rows.jsonl", rows_of("labels")))
    (recipe.folder / "predictions/old.parquet").write_text("old")
    again = Recipe(recipe.name, recipe.task, recipe.data, recipe.model, recipe.optim,
                   Train(str(recipe.folder), max_steps=1, overwrite=True))  # fmt: skip
    train(again)
    assert {file.name for file in (recipe.folder / "predictions").iterdir()} == {"test.parquet", "validation.parquet"}


def test_rows_that_cannot_be_written_stop_a_run_before_training(tmp_path, monkeypatch):
    def full(*given):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(predictions, "write", full)
    with pytest.raises(UserError, match=r"^train\.output_dir: cannot write to .*run: No space left on device"):
        a_run(tmp_path, "sentiment", write(tmp_path, "rows.jsonl", rows_of("labels")))
    assert not (tmp_path / "run").exists()
