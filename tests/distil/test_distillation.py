"""A student from its recipe to its finished run, with a teacher of each kind of answer."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import NEGATIVE, POSITIVE, ROOT, save_checkpoint
from safetensors.torch import load_file
from stopping import stopped_after

from pipeline import inference, rehearsal, run_folder
from pipeline.config.data import Data
from pipeline.config.distil import Distil
from pipeline.config.models import Pretrained, Recurrent
from pipeline.config.recipe import Recipe
from pipeline.config.serialization import from_json
from pipeline.config.training import Optim, Train
from pipeline.distil.answers import Questions
from pipeline.doctor import estimate
from pipeline.errors import UserError
from pipeline.publish.card import card
from pipeline.publish.card_data import CardData
from pipeline.run import train
from pipeline.training import trainer

SMALL = Recurrent(hidden_size=8, embedding_size=8, dropout=0.2)
TEXTS = [f"{text} {number}" for number in range(12) for text in POSITIVE + NEGATIVE]


@pytest.fixture
def student(shop, tmp_path, monkeypatch) -> Recipe:
    monkeypatch.chdir(shop)
    return Recipe(
        name="student",
        task="sentiment",
        data=Data("reviews.csv"),
        model=SMALL,
        optim=Optim(learning_rate=0.01),
        train=Train(output_dir=str(tmp_path / "student"), epochs=1, batch_size=8, log_every=2),
        distil=Distil(teacher="teacher", unlabelled=Data("other.txt"), limit=40, hard_share=0.25),
    )


def test_a_run_says_who_taught_it_how_well_and_what_share_of_that_it_reaches(student, shop):
    metrics = train(student)
    taught, teachers = metrics["distil"], json.loads((shop / "teacher/metrics.json").read_text())
    assert taught["teacher"] == "teacher"
    assert taught["rows"] == {"labelled": 128, "unlabelled": 40}
    assert taught["texts"]["drawn"] == 40
    assert "distil" not in metrics["data"]
    for split in ("validation", "test"):
        assert taught["scores"][split]["accuracy"] == teachers[split]["accuracy"]
        share = metrics[split]["accuracy"] / teachers[split]["accuracy"]
        assert taught["share_of_teacher"][split] == pytest.approx(share)
    assert metrics["train"]["epochs"] == 1
    assert metrics["train"]["updates"] == (128 + 40) / 8
    assert from_json((student.folder / "recipe.json").read_text(), "here") == student
    text = (student.folder / "model/README.md").read_text()
    assert "It has learned from the answers of another model, `teacher`." in text
    assert f"on test {teachers['test']['accuracy']:.4f}, of which this model reaches {share:.1%}" in text
    assert '| distil.unlabelled | `{"source": "other.txt"' in text
    assert "| rows without labels | 40, answered by the teacher |" in text


def test_seeds_and_students_share_the_answers(student, asked, tmp_path):
    train(student)
    asked.clear()
    train(replace(student, train=replace(student.train, seed=1, output_dir=str(tmp_path / "seed"))))
    bpe = replace(student.data, tokenizer="bpe", vocab_size=300)
    other = replace(
        student, data=bpe, model=replace(SMALL, cell="gru"), distil=replace(student.distil, temperature=2.0)
    )
    train(replace(other, train=replace(student.train, output_dir=str(tmp_path / "other"))))
    assert asked == []


def test_the_loss_of_the_first_update_is_that_of_a_teacher_beside_each_row(student, tmp_path, monkeypatch):
    """Against the teacher itself, one text at a time."""
    recipe = replace(
        student,
        train=replace(student.train, max_steps=1, log_every=1),
        model=replace(SMALL, dropout=0.0, embedding_dropout=0.0),
    )
    seen, original = [], trainer.update
    monkeypatch.setattr(
        trainer, "update", lambda *given: (seen.append((given[1].model, given[2])), original(*given))[1]
    )
    monkeypatch.setattr(trainer, "_load_best", lambda run: None)
    initial: dict[str, torch.Tensor] = {}
    real = trainer._train_state
    monkeypatch.setattr(trainer, "_train_state", lambda run: (initial.update(_copied(run.model)), real(run))[1])
    train(recipe)
    (model, batch), teacher = seen[0], inference.load("teacher")
    model.load_state_dict(initial)
    model.eval()
    ((inputs, weight),) = batch.micro_batches
    tokenizer = inference.load(str(recipe.folder)).tokenizer
    total = 0.0
    for ids, label, logits in zip(inputs["input_ids"], inputs["labels"], inputs["teacher"], strict=True):
        text = tokenizer.decode([token for token in ids if token != tokenizer.pad_token_id])
        with torch.no_grad():
            own = model(input_ids=ids[ids != tokenizer.pad_token_id][None]).logits[0].double()
            theirs = teacher.model(**teacher.tokenizer(text, return_tensors="pt")).logits[0].double()
        torch.testing.assert_close(logits.double(), theirs, atol=0.05, rtol=0)  # bf16
        p, q = (values.softmax(dim=0) for values in (logits.double(), own))
        soft, hard = float((p * (p / q).log()).sum()), float(-q[label].log()) if label >= 0 else None
        total += soft if hard is None else 0.75 * soft + 0.25 * hard
    logged = json.loads((recipe.folder / "history.jsonl").read_text().splitlines()[0])
    assert weight == 8
    assert logged["loss"] == pytest.approx(total / 8, rel=1e-4)


def _copied(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: values.clone() for name, values in model.state_dict().items()}


def test_a_resumed_run_ends_with_the_weights_of_an_undisturbed_one(student, tmp_path, asked):
    recipe = replace(student, train=replace(student.train, save_every=3))
    train(recipe)
    again = replace(recipe, train=replace(recipe.train, output_dir=str(tmp_path / "again")))
    with stopped_after(8):
        train(again)
    asked.clear()
    train(again)
    assert asked == []
    one, other = (load_file(Path(own.train.output_dir) / "model/model.safetensors") for own in (recipe, again))
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.slow
def test_a_run_is_not_resumed_with_other_answers(student, tmp_path, monkeypatch, shop):
    recipe = replace(student, train=replace(student.train, save_every=2, max_steps=6))
    with stopped_after(3):
        train(recipe)
    monkeypatch.setattr(Questions, "key", "0" * 32)
    monkeypatch.setattr(Questions, "answer", lambda self, own: [np.array([1.0, -1.0], np.float32)] * len(own))
    with pytest.raises(UserError, match=r"the data is not that of this run any more: train has other rows"):
        train(recipe)


@pytest.mark.slow
def test_the_run_of_a_teachers_recipe_is_trained_first_and_once(student, shop, tmp_path, monkeypatch, capsys):
    (tmp_path / "maker.py").write_text(
        "from pipeline import Data, Recipe, Recurrent, Train\n"
        f"recipe = Recipe('maker', 'sentiment', Data({str(shop / 'reviews.csv')!r}), Recurrent(hidden_size=8,"
        f" embedding_size=8), train=Train(output_dir={str(tmp_path / 'made')!r}, max_steps=3))\n"
    )
    recipe = replace(student, distil=Distil(teacher=str(tmp_path / "maker.py")))
    with pytest.raises(UserError, match="has not finished"):
        preparation_of(recipe)
    metrics = train(recipe)
    assert "there is no finished run in" in capsys.readouterr().out
    assert run_folder.is_finished(tmp_path / "made")
    assert metrics["distil"]["teacher"] == str(tmp_path / "made")
    made = (tmp_path / "made/metrics.json").stat().st_mtime_ns
    train(replace(recipe, train=replace(recipe.train, seed=1, output_dir=str(tmp_path / "seed"))))
    assert (tmp_path / "made/metrics.json").stat().st_mtime_ns == made
    assert "there is no finished run in" not in capsys.readouterr().out


def preparation_of(recipe: Recipe) -> None:
    from accelerate import Accelerator

    from pipeline.distil import teacher

    teacher.find(recipe, Accelerator(cpu=True))


@pytest.mark.slow
def test_the_teachers_scores_are_measured_if_its_run_has_other_rows(student, monkeypatch):
    recipe = replace(student, data=replace(student.data, split_seed=1), distil=Distil(teacher="teacher"))
    metrics = train(recipe)
    assert "was trained on other splits of the same data" in " ".join(metrics["data"]["notes"])
    loaded = inference.load("teacher")
    rows = [json.loads(line) for line in _rows_of(recipe.folder, "test")]
    answers = loaded.task.predict([row["text"] for row in rows], loaded.model, loaded.tokenizer, loaded.labels)
    right = [answer["label"] == row["gold"] for answer, row in zip(answers, rows, strict=True)]
    assert metrics["distil"]["scores"]["test"]["accuracy"] == pytest.approx(np.mean(right))


def _rows_of(folder: Path, split: str) -> list[str]:
    import pyarrow.parquet as pq

    return [json.dumps(row) for row in pq.read_table(run_folder.predictions_of(folder, split)).to_pylist()]


@pytest.mark.slow
def test_masked_texts_are_made_of_the_training_rows_where_there_are_no_others(student, asked):
    metrics = train(replace(student, distil=Distil(teacher="teacher", augment="mask", limit=30)))
    assert metrics["distil"]["rows"]["unlabelled"] == 30
    assert len(asked) == 30


KINDS = {
    "several labels": [{"text": text, "label": ["good", "odd"][number % 2 :]} for number, text in enumerate(TEXTS)],
    "numbers": [{"text": text, "label": 0.5 + number % 5} for number, text in enumerate(TEXTS)],
    "pairs": [
        {"premise": text, "hypothesis": f"{text} ?", "label": "ab"[number % 2]} for number, text in enumerate(TEXTS)
    ],
}


@pytest.mark.parametrize(
    "kind", ["several labels", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("numbers", "pairs"))]
)
def test_a_student_learns_from_a_teacher_of(kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in KINDS[kind]))
    others = [{name: f"new {value}" for name, value in row.items() if name != "label"} for row in KINDS[kind][:20]]
    (tmp_path / "others.jsonl").write_text("".join(json.dumps(row) + "\n" for row in others))
    teacher = Recipe(
        "t", "sentiment", Data("data.jsonl"), SMALL, train=Train(output_dir="t", max_steps=3, batch_size=8)
    )
    train(teacher)
    settings = Distil(teacher="t", unlabelled=Data("others.jsonl"), hard_share=0.5)
    metrics = train(replace(teacher, name="s", train=replace(teacher.train, output_dir="s"), distil=settings))
    assert metrics["distil"]["rows"]["unlabelled"] == 20
    assert np.isfinite(json.loads(Path("s/history.jsonl").read_text().splitlines()[-1])["loss"])


def test_each_window_of_a_long_text_has_the_answer_to_the_whole_text(student, monkeypatch):
    recipe = replace(student, data=replace(student.data, max_length=4, long_texts="windows"), distil=Distil("teacher"))
    seen, original = [], trainer.update
    monkeypatch.setattr(trainer, "update", lambda *given: (seen.append(given[2]), original(*given))[1])
    run_rows = []
    monkeypatch.setattr(rehearsal, "rehearse", lambda run, *given: run_rows.append(run.splits["train"]))
    train(recipe)
    columns = run_rows[0].columns(["begins", "teacher"])
    begins, (flat, _) = columns["begins"], columns["teacher"]
    answers, text = flat.reshape(len(begins), 2), np.cumsum(begins) - 1
    assert len(begins) > 128  # there are windows
    assert all(np.unique(answers[text == own], axis=0).shape == (1, 2) for own in range(text[-1] + 1))


@pytest.mark.slow
def test_any_model_can_be_a_student_of_any_other(student, tmp_path, asked):
    save_checkpoint(tmp_path / "bert", "wordpiece", TEXTS)
    data = replace(student.data, max_length=32)
    recipe = replace(student, data=data, model=Pretrained(str(tmp_path / "bert")), optim=Optim(learning_rate=1e-3))
    assert train(recipe)["distil"]["teacher"] == "teacher"


@pytest.mark.slow
def test_the_doctor_says_how_long_the_teacher_will_take(student, capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("FINETUNE_CACHE", str(tmp_path / "cache"))
    estimate.examine(student)
    printed = capsys.readouterr().out
    assert "for its answers to 168 texts" in printed
    assert "40 texts from 120 rows of other.txt" in printed
    assert "21 per epoch" in printed  # updates of 8 of the 168 rows
    train(student)
    capsys.readouterr()
    estimate.examine(student)
    assert "its answers are in the cache" in capsys.readouterr().out
    estimate.examine(replace(student, distil=Distil(teacher="teacher")))
    assert "distil.unlabelled None: the teacher answers the training rows alone" in capsys.readouterr().out


@pytest.mark.slow
def test_a_setting_without_effect_on_numbers_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in KINDS["numbers"]))
    teacher = Recipe(
        "t", "sentiment", Data("data.jsonl"), SMALL, train=Train(output_dir="t", max_steps=3, batch_size=8)
    )
    train(teacher)
    recipe = replace(teacher, train=replace(teacher.train, output_dir="s"), distil=Distil("t", temperature=2.0))
    with pytest.raises(UserError, match=r"^distil.temperature: the labels are numbers"):
        train(recipe)
    assert not Path("s").exists()


def test_the_card_of_a_pushed_student_has_no_folders(student):
    metrics = {"distil": {"teacher": "/home/me/runs/teacher", "scores": {}, "share_of_teacher": {}}}
    recipe = replace(student, distil=Distil(teacher="/home/me/runs/teacher", unlabelled=Data("/home/me/other.txt")))
    text = card(CardData(recipe, metrics, has_code=True))
    assert "/home/me" not in text
    assert "`teacher`" in text


@pytest.mark.slow
def test_two_processes_ask_the_teacher_for_the_same_bytes_as_one(student, tmp_path):
    """Two real processes from the recipe to the finished run."""

    def answers(processes: int) -> dict[str, bytes]:
        cache, run = tmp_path / f"cache{processes}", tmp_path / f"run{processes}"
        (tmp_path / "recipe.json").write_text(
            replace(student, train=replace(student.train, output_dir=str(run), max_steps=2)).to_json()
        )
        launcher = ["-m", "torch.distributed.run", "--nproc-per-node", str(processes), "--standalone"]
        command = [sys.executable, *launcher, "-m", "pipeline", "run", str(tmp_path / "recipe.json")]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "FINETUNE_CACHE": str(cache)}
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        assert done.returncode == 0, done.stderr
        assert (run / "metrics.json").is_file()
        return {str(file.relative_to(cache)): file.read_bytes() for file in cache.glob("answers/*/answers.arrow")}

    alone = answers(1)
    assert len(alone) == 2  # the training rows, and the texts without labels
    assert answers(2) == alone
