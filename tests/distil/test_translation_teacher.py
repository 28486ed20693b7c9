"""Sequence-level distillation: a student of translation learns what its teacher writes (Kim & Rush 2016)."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from conftest import ROOT, save_checkpoint
from sacrebleu.metrics import CHRF
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer, GenerationConfig

from pipeline import inference, predictions, rehearsal, run_folder
from pipeline.config.data import Data
from pipeline.config.distil import Distil
from pipeline.config.models import Recurrent
from pipeline.config.recipe import Recipe
from pipeline.config.training import Optim, Train
from pipeline.data.tokenization.translated import KEPT
from pipeline.distil import answers
from pipeline.distil.answers import Questions, ask
from pipeline.distil.teacher import Teacher
from pipeline.doctor import estimate
from pipeline.errors import UserError
from pipeline.run import train
from pipeline.tasks import translating
from pipeline.tasks.next_word import NextWord
from pipeline.tasks.teacher_hooks import Student
from pipeline.tasks.translation import Translation

ADJECTIVES, NOUNS = ("red", "green", "old", "small"), ("house", "dog", "tree", "door")
TEXTS = [f"{one} {other} {noun}" for one in ADJECTIVES for other in ADJECTIVES for noun in NOUNS]
PAIRS = [(text, " ".join(reversed(text.upper().split()))) for text in TEXTS]
NEW = [f"the {noun} of the {other}" for noun in NOUNS for other in NOUNS]
PREFIX = "turn: "


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder with data.tsv, new.txt, of texts without translations, and a T5 that searches with 3 beams."""
    folder = tmp_path_factory.mktemp("translations")
    (folder / "data.tsv").write_text("source\ttarget\n" + "".join(f"{text}\t{target}\n" for text, target in PAIRS))
    (folder / "new.txt").write_text("".join(f"{text}\n" for text in NEW))
    torch.manual_seed(0)
    save_checkpoint(folder / "t5", "bpe", [text for pair in PAIRS for text in pair], initializer_factor=3.0)
    model = AutoModelForSeq2SeqLM.from_pretrained(folder / "t5")
    model.generation_config.num_beams, model.generation_config.max_new_tokens = 3, 8
    model.save_pretrained(folder / "t5")
    AutoTokenizer.from_pretrained(folder / "t5", **{KEPT: PREFIX}).save_pretrained(folder / "t5")
    return folder


@pytest.fixture
def student(place, tmp_path, monkeypatch) -> Recipe:
    monkeypatch.chdir(place)
    return Recipe(
        name="student",
        task="translation",
        data=Data("data.tsv", max_length=64, vocab_size=300),
        model=Recurrent(hidden_size=8, embedding_size=8),
        optim=Optim(learning_rate=0.01),
        train=Train(
            output_dir=str(tmp_path / "student"), max_steps=2, batch_size=16, label_smoothing=0.1, beams=1, log_every=1
        ),
        distil=Distil(teacher="t5", unlabelled=Data("new.txt", separate=True)),
    )


@pytest.fixture
def trained_on(monkeypatch) -> list[dict[str, Any]]:
    """The splits of each run."""
    found, original = list[dict[str, Any]](), rehearsal.rehearse
    monkeypatch.setattr(rehearsal, "rehearse", lambda run, *given: (found.append(run.splits), original(run, *given)))
    return found


def written_by(folder: Path, texts: list[str]) -> list[str]:
    """What plain transformers writes for each text alone."""
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForSeq2SeqLM.from_pretrained(folder).eval()
    rows = (model.generate(**tokenizer(PREFIX + text, return_tensors="pt"))[0] for text in texts)
    return [tokenizer.decode(row, skip_special_tokens=True).strip() for row in rows]


def test_a_student_is_trained_on_what_generate_of_its_teacher_writes(student, place, trained_on, asked, tmp_path):
    metrics = train(student)
    found = trained_on[0]["train"].take(range(len(trained_on[0]["train"])))
    tokenizer = AutoTokenizer.from_pretrained(student.folder / "model")
    texts = [tokenizer.decode(ids, skip_special_tokens=True) for ids in found["input_ids"].to_pylist()]
    assert len(texts) == metrics["distil"]["rows"]["labelled"] + len(NEW)
    assert texts[-len(NEW) :] == NEW
    written = written_by(place / "t5", texts)
    assert found["target"].to_pylist() == written
    assert len({*written} - {"", *(target for _, target in PAIRS)}) > 10  # not those of the data
    assert found["labels"].to_pylist() == [tokenizer(text)["input_ids"] for text in written]
    assert found["target_length"].to_pylist() == [len(ids) for ids in found["labels"].to_pylist()]
    assert {*trained_on[0]["validation"].columns(["target"])["target"]} <= {target for _, target in PAIRS}

    assert sorted(asked) == sorted(texts)
    asked.clear()
    again = replace(student.train, seed=1, output_dir=str(tmp_path / "again"))
    train(replace(student, train=again, data=replace(student.data, tokenizer="character", vocab_size=None)))
    assert asked == []


def test_a_student_with_two_vocabularies_writes_with_one_of_them(student, place, trained_on):
    train(replace(student, data=replace(student.data, separate_vocabs=True), distil=Distil(teacher="t5")))
    found = trained_on[0]["train"].take(range(len(trained_on[0]["train"])))
    tokenizer = AutoTokenizer.from_pretrained(student.folder / "model")
    options = {"skip_special_tokens": True}
    texts = tokenizer.batch_decode(found["input_ids"].to_pylist(), use_source_tokenizer=True, **options)
    assert {*texts} <= {*TEXTS}
    assert tokenizer.batch_decode(found["labels"].to_pylist(), **options) == found["target"].to_pylist()
    assert found["target"].to_pylist() == written_by(place / "t5", texts)


@pytest.mark.slow  # two runs
def test_a_teacher_may_have_two_vocabularies(student, trained_on, tmp_path):
    teacher = str(tmp_path / "teacher")
    settings = replace(student.train, output_dir=teacher, max_steps=40, epochs=40)
    train(replace(student, data=replace(student.data, separate_vocabs=True), train=settings, distil=None))
    train(replace(student, distil=replace(student.distil, teacher=teacher)))
    found = trained_on[-1]["train"].take(range(len(trained_on[-1]["train"])))
    tokenizer = AutoTokenizer.from_pretrained(student.folder / "model")
    texts = tokenizer.batch_decode(found["input_ids"].to_pylist(), skip_special_tokens=True)
    assert {*NEW} < {*texts}
    assert any(found["target"].to_pylist())
    assert found["target"].to_pylist() == [row["translation"] for row in inference.predict(teacher, texts)]
    assert tokenizer.batch_decode(found["labels"].to_pylist(), skip_special_tokens=True) == found["target"].to_pylist()


def test_a_run_says_who_taught_it_and_how_well_its_teacher_translates(student, place):
    taught = train(replace(student, distil=Distil(teacher="t5")))["distil"]
    assert (taught["teacher"], taught["precision"]) == ("t5", "fp32")
    rows = predictions.read(run_folder.predictions_of(student.folder, "test")).table
    written = written_by(place / "t5", rows["text"].to_pylist())
    expected = CHRF().corpus_score(written, [rows["target"].to_pylist()]).score
    assert taught["scores"]["test"]["chrf"] == pytest.approx(expected)
    text = (student.folder / "model/README.md").read_text()
    assert "It has learned from the answers of another model, `t5`." in text


def questions(place: Path) -> Questions:
    teacher = Teacher(Distil("t5"), place / "t5", "t5", "cpu")
    return Questions("texts", TEXTS[:30], teacher, Translation(), Student([], None, None))


def test_two_processes_write_the_bytes_of_one(place, tmp_path, monkeypatch, asked):
    """Their shares, one after the other, as if the second process had waited."""
    monkeypatch.setattr(answers, "BATCH", 4)
    monkeypatch.setattr(answers, "CHUNK", 8)
    monkeypatch.setenv("FINETUNE_CACHE", str(tmp_path / "one"))
    given = questions(place)
    found = ask(given, Accelerator(cpu=True))
    assert found.to_pylist() == written_by(place / "t5", TEXTS[:30])
    alone = (given.folder / answers.FILE).read_bytes()
    monkeypatch.setenv("FINETUNE_CACHE", str(tmp_path / "two"))
    asked.clear()
    for process in (1, 0):
        answers._answer_share(given, SimpleNamespace(num_processes=2, process_index=process, is_main_process=False))
    answers._join(given)
    assert (given.folder / answers.FILE).read_bytes() == alone
    assert sorted(asked) == sorted(given.contents)


def test_a_teacher_that_writes_no_text_for_a_text_is_refused():
    teacher = SimpleNamespace(task=NextWord())
    with pytest.raises(UserError, match=r"^distil.teacher: its task is next_word, and that of the recipe translation"):
        Translation().check_teacher(teacher, Student([], None, None))


def test_a_model_that_was_saved_without_a_limit_writes_as_much_as_it_can_read():
    """transformers would stop it after 20 tokens."""
    given: dict[str, Any] = {}
    model = SimpleNamespace(
        generation_config=GenerationConfig(),
        config=SimpleNamespace(max_position_embeddings=40),
        generate=lambda **options: given.update(options),
    )
    translating.search(model, {}, num_beams=2)
    assert given["max_new_tokens"] == 40
    model.generation_config = GenerationConfig(max_new_tokens=7)
    given.clear()
    translating.search(model, {}, num_beams=2)
    assert "max_new_tokens" not in given


@pytest.mark.slow
def test_the_doctor_times_the_teacher_and_trains_on_rows_of_the_right_length(student, capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("FINETUNE_CACHE", str(tmp_path / "cache"))
    estimate.examine(student)
    found = re.search(r"t5, in fp32; about [\d.]+ seconds for its answers to (\d+) texts", capsys.readouterr().out)
    assert int(found[1]) == train(student)["distil"]["rows"]["labelled"] + len(NEW)
    capsys.readouterr()
    estimate.examine(replace(student, distil=Distil(teacher="t5")))
    printed = capsys.readouterr().out
    assert "t5; its answers are in the cache" in printed
    assert "distil.unlabelled None" not in printed


@pytest.mark.slow
def test_two_processes_train_on_the_rows_of_one(student, tmp_path):
    """Two real processes from the recipe to the finished run."""

    def files(processes: int) -> dict[str, bytes]:
        cache, run = tmp_path / f"cache{processes}", tmp_path / f"run{processes}"
        recipe = replace(student, train=replace(student.train, output_dir=str(run)))
        (tmp_path / "recipe.json").write_text(recipe.to_json())
        launcher = ["-m", "torch.distributed.run", "--nproc-per-node", str(processes), "--standalone"]
        command = [sys.executable, *launcher, "-m", "pipeline", "run", str(tmp_path / "recipe.json")]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "FINETUNE_CACHE": str(cache)}
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        assert done.returncode == 0, done.stderr
        assert json.loads((run / "metrics.json").read_text())["distil"]["rows"]["unlabelled"] == len(NEW)
        patterns = ("answers/*/answers.arrow", "distilled/*/train.arrow")
        return {str(file.relative_to(cache)): file.read_bytes() for one in patterns for file in cache.glob(one)}

    alone = files(1)
    assert len(alone) == 3  # answers to the training rows and to the other texts, and all rows
    assert files(2) == alone
