"""Going on from a saved language model: a classifier, a tagger or another language model, on rows of any length."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import NEGATIVE, POSITIVE
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from pipeline import inference
from pipeline.config import paths
from pipeline.config.data import Data
from pipeline.config.models import Pretrained, Recurrent
from pipeline.config.recipe import Recipe
from pipeline.config.training import Optim, Train
from pipeline.errors import UserError
from pipeline.run import train

WINDOW, LONGER = 8, 60
LONG = " ".join([*POSITIVE[0].split(), "the"] * 12)
TRAIN = Train(epochs=1, batch_size=4, log_every=1)


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder with data for each task, and the runs of two language models."""
    folder = tmp_path_factory.mktemp("language-model")
    rows = [(f"{text} {number}", name) for number in range(8) for name, texts in
            (("good", POSITIVE), ("bad", NEGATIVE)) for text in texts]  # fmt: skip
    rows += [(LONG, "good"), (f"{LONG} dull", "bad")] * 3
    (folder / "text.txt").write_text("".join(f"{text}\n" for text, _ in rows))
    (folder / "labels.jsonl").write_text("".join(json.dumps({"text": t, "label": n}) + "\n" for t, n in rows))
    tagged = [{"tokens": t.split(), "tags": ["B-X" if w == "film" else "O" for w in t.split()]} for t, _ in rows]
    (folder / "tags.jsonl").write_text("".join(json.dumps(row) + "\n" for row in tagged))
    for kind in ("bpe", "whitespace"):
        data = Data(str(folder / "text.txt"), tokenizer=kind, max_length=WINDOW, vocab_size=300)
        model = Recurrent(hidden_size=8, embedding_size=6, layers=2, tie_embeddings=True)
        train(Recipe("lm", "next_word", data, model, train=replace(TRAIN, output_dir=str(folder / kind))))
    return folder


def a_recipe(place: Path, folder: Path, task: str, kind: str = "bpe", length: int = LONGER, **model) -> Recipe:
    source = {"sentiment": "labels.jsonl", "ner": "tags.jsonl", "next_word": "text.txt"}[task]
    return Recipe(
        name="x",
        task=task,
        data=Data(str(place / source), max_length=length),
        model=Pretrained(str(place / kind), **model),
        optim=Optim(learning_rate=0.01, layer_decay=0.5, gradual_unfreezing=0.5),
        train=replace(TRAIN, output_dir=str(folder)),
    )


@pytest.mark.parametrize("kind", ["bpe", "whitespace"])
@pytest.mark.parametrize("task", ["sentiment", "ner", "next_word"])
def test_a_language_model_is_trained_further_for_each_task_on_rows_longer_than_its_window(place, tmp_path, kind, task):
    metrics = train(a_recipe(place, tmp_path / "run", task, kind))
    assert 0.0 <= metrics["test"]["loss"] < 10.0
    notes = " ".join(metrics["data"]["notes"])
    assert str(WINDOW) not in re.findall(r"more than (\d+)", notes)
    answers = list(inference.predict(str(tmp_path / "run"), [LONG, "a film", ""]))
    assert len(answers) == 3


def test_a_classifier_starts_with_the_embeddings_and_layers_of_the_language_model(place, tmp_path):
    frozen = a_recipe(place, tmp_path / "run", "sentiment", freeze_layers=2)
    train(replace(frozen, optim=Optim(learning_rate=0.01)))
    before, after = (load_file(folder / "model/model.safetensors") for folder in (place / "bpe", tmp_path / "run"))
    body = {name for name in after if name.startswith("model.")}
    assert body == {name for name in before if name.startswith("model.")}
    assert all(torch.equal(before[name], after[name]) for name in body)
    assert {name.split(".")[0] for name in after} == {"model", "classifier"}


def test_a_classifier_reads_a_text_as_the_language_model_did_after_the_end_of_the_text_before(place, tmp_path):
    train(a_recipe(place, tmp_path / "run", "sentiment"))
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "run/model")
    ids = tokenizer("a film")["input_ids"]
    assert ids[0] == tokenizer.eos_token_id
    assert tokenizer.eos_token_id not in ids[1:]
    assert tokenizer.model_max_length == LONGER


def test_pooling_and_embedding_dropout_of_a_recurrent_checkpoint_can_be_chosen(place, tmp_path):
    train(a_recipe(place, tmp_path / "run", "sentiment", pooling="concat", embedding_dropout=0.25, dropout=0.125))
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "run/model")
    assert (model.config.pooling, model.config.embedding_dropout) == ("concat", 0.25)
    assert model.config.classifier_dropout == 0.125
    assert model.classifier.in_features == 3 * 8
    assert model.config.hidden_dropout == 0.3  # of the language model


@pytest.mark.parametrize("setting", [{"pooling": "max"}, {"embedding_dropout": 0.5}])
def test_settings_of_recurrent_checkpoints_are_refused_for_others(setting, tmp_path):
    recipe = Recipe("x", "sentiment", Data("sample:rotten_tomatoes", limit=50), Pretrained("sample:minilm", **setting),
                    train=replace(TRAIN, output_dir=str(tmp_path / "run")))  # fmt: skip
    message = f"model.{next(iter(setting))}: only for recurrent checkpoints, not bert; remove it"
    with pytest.raises(UserError, match=message):
        train(recipe)


def test_a_run_that_is_missing_is_named_with_the_recipe_that_leaves_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("runs/next-word-imdb", "recipes"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "runs/next-word-imdb").rmdir()
    (tmp_path / "recipes/next_word_imdb.py").touch()
    for name in ("runs/next-word-imdb", "runs/next-word-imdb/model"):
        hint = (
            f"model.checkpoint: there is no folder {name}; it is left by another recipe, to be run first: finetune run"
        )
        with pytest.raises(UserError, match=f"{hint} recipes/next_word_imdb.py"):
            paths.saved_model(name, "model.checkpoint")
    with pytest.raises(UserError, match=r"there is no folder runs/other$"):
        paths.saved_model("runs/other", "model.checkpoint")
