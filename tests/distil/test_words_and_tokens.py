"""Students of taggers and of language models, from the recipe to the finished run."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import finetune

from pipeline.config.data import Data
from pipeline.config.distil import Distil
from pipeline.config.models import Recurrent, Scratch
from pipeline.config.recipe import Recipe
from pipeline.config.training import Optim, Train
from pipeline.errors import UserError
from pipeline.run import train

SENTENCES = [
    "Ann/B-PER Lee/I-PER went/O to/O Rome/B-LOC ./O",
    "so/O Bob/B-PER saw/O it/O ./O",
    "then/O New/B-LOC York/I-LOC and/O Eve/B-PER Adams/I-PER Stone/I-PER",
]
# Each word determines the next one.
LINES = [" ".join(f"w{(first + place) % 40}" for place in range(5 + first % 3)) for first in range(120)]


@pytest.fixture(scope="module")
def tagger(tmp_path_factory) -> Path:
    """The run of a teacher: a CRF in IOB2 that reads word pieces."""
    folder = tmp_path_factory.mktemp("ner")
    rows = [
        "\n".join(word.replace("/", " ") for word in f"{row} {number}/O".split())
        for number in range(20)
        for row in SENTENCES
    ]
    (folder / "train.conll").write_text("\n\n".join(rows) + "\n")
    train(
        Recipe(
            name="teacher",
            task="ner",
            data=Data(str(folder / "train.conll"), max_length=16, tokenizer="wordpiece", vocab_size=80),
            model=Recurrent(hidden_size=16, bidirectional=True, dropout=0.0, embedding_dropout=0.0, crf=True),
            optim=Optim(learning_rate=2e-2),
            train=Train(output_dir=str(folder / "teacher"), epochs=6, batch_size=8, patience=None),
        )
    )
    return folder


def student_of(tagger: Path, **model: object) -> Recipe:
    return Recipe(
        name="student",
        task="ner",
        data=Data(str(tagger / "train.conll"), max_length=16, scheme="bioes", min_frequency=1),
        model=Recurrent(hidden_size=16, bidirectional=True, dropout=0.0, embedding_dropout=0.0, **model),
        optim=Optim(learning_rate=2e-2),
        train=Train(output_dir=str(tagger / f"student-{'-'.join(model)}"), epochs=6, batch_size=8, patience=None),
        distil=Distil(teacher=str(tagger / "teacher"), augment="mask", limit=100),
    )


@pytest.mark.parametrize("model", [{}, {"crf": True, "char_encoder": "cnn"}], ids=["softmax", "crf"])
def test_a_student_of_words_in_bioes_learns_from_a_teacher_of_word_pieces_in_iob2(tagger, model):
    metrics = train(student_of(tagger, **model))
    assert metrics["test"]["f1"] > 0.9
    assert metrics["distil"]["rows"]["unlabelled"] == 100
    assert not any("other splits" in note for note in metrics["data"]["notes"])


def test_labels_take_their_share(tagger):
    recipe = student_of(tagger, crf=True)
    hard = replace(recipe.distil, hard_share=0.5)
    short = replace(recipe.train, output_dir=str(tagger / "hard"), max_steps=4)
    assert train(replace(recipe, distil=hard, train=short))["validation"]["loss"] < 10.0


@pytest.fixture(scope="module")
def language_model(tmp_path_factory) -> Path:
    """The run of a teacher: a small GPT-2."""
    folder = tmp_path_factory.mktemp("next_word")
    (folder / "rows.csv").write_text("text\n" + "\n".join(LINES) + "\n")
    (folder / "text.txt").write_text("\n".join(LINES) + "\n")
    train(
        Recipe(
            name="teacher",
            task="next_word",
            data=Data(str(folder / "rows.csv"), tokenizer="whitespace", max_length=16),
            model=Scratch("gpt2", hidden_size=16, layers=1, heads=2, dropout=0.0),
            optim=Optim(learning_rate=2e-2),
            train=Train(output_dir=str(folder / "teacher"), epochs=6, batch_size=8, patience=None),
        )
    )
    return folder


def reader_of(folder: Path, name: str, data: Data, distil: Distil | None) -> Recipe:
    return Recipe(
        name=name,
        task="next_word",
        data=data,
        model=Recurrent(hidden_size=16, dropout=0.0, embedding_dropout=0.0),
        optim=Optim(learning_rate=2e-2),
        train=Train(output_dir=str(folder / name), epochs=6, batch_size=4, patience=None),
        distil=distil,
    )


def test_a_recurrent_student_learns_the_next_word_from_a_transformer(language_model):
    data = Data(str(language_model / "rows.csv"), tokenizer="whitespace", max_length=8)
    metrics = train(reader_of(language_model, "student", data, Distil(teacher=str(language_model / "teacher"))))
    teacher = json.loads((language_model / "teacher/metrics.json").read_text())
    assert metrics["test"]["loss"] < teacher["test"]["loss"] + 0.5


def test_lines_of_one_text_are_refused_with_the_setting(language_model):
    data = Data(str(language_model / "text.txt"), tokenizer=str(language_model / "teacher/model"), max_length=8)
    with pytest.raises(UserError, match=r"set data\.separate to True"):
        train(reader_of(language_model, "refused", data, Distil(teacher=str(language_model / "teacher"))))


def test_a_student_with_other_words_trains_on_what_the_teacher_has_written(language_model):
    """The commands of the message that refuses the teacher."""
    data = Data(str(language_model / "rows.csv"), tokenizer="bpe", max_length=8)
    with pytest.raises(UserError, match=r"finetune predict TEACHER --input PROMPTS\.txt --generate 60"):
        train(reader_of(language_model, "other", data, Distil(teacher=str(language_model / "teacher"))))
    (language_model / "prompts.txt").write_text("\n".join(f"w{number}" for number in range(40)))
    written = language_model / "written.jsonl"
    command = ["predict", language_model / "teacher", "--input", language_model / "prompts.txt"]
    done = finetune(*command, "--generate", "6", "--output", written)
    assert done.returncode == 0, done.stderr
    data = Data(str(written), tokenizer="bpe", max_length=8, text_column="continuation")
    metrics = train(reader_of(language_model, "other", data, None))
    assert metrics["test"]["loss"] < 4.0
