"""Recipes: values that are checked when they are created, and survive a round trip through JSON."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import pytest

from pipeline.config.data import Data
from pipeline.config.hub import Hub
from pipeline.config.models import Pretrained, Recurrent, Scratch
from pipeline.config.recipe import Recipe
from pipeline.config.serialization import from_json
from pipeline.config.training import Optim, Train
from pipeline.errors import UserError


def a_recipe(**changes: object) -> Recipe:
    return Recipe(**{"name": "x", "task": "sentiment", "data": Data("a.csv"), "model": Recurrent(), **changes})


@pytest.mark.parametrize("model", [Recurrent(cell="gru", layers=2), Pretrained("org/name"), Scratch("gpt2")])
def test_a_recipe_survives_a_round_trip_through_json(model):
    hub = Hub(push=True, repo_id="alice/x", languages=("en", "he"))
    recipe = a_recipe(model=model, optim=Optim(learning_rate=1e-4), train=Train(max_steps=3), hub=hub)
    assert from_json(recipe.to_json(), "recipe.json") == recipe


def test_a_sibling_is_derived_with_replace_and_checked_again():
    recipe = a_recipe()
    assert dataclasses.replace(recipe, model=Pretrained("org/name")).model.checkpoint == "org/name"
    with pytest.raises(UserError, match="learning_rate: -1 is out of range; it must be > 0"):
        dataclasses.replace(recipe.optim, learning_rate=-1)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Recurrent(hiden_size=3), "model.hiden_size: no such setting; did you mean hidden_size?"),
        (lambda: Recurrent(cell="lst"), "model.cell: 'lst' is not a valid choice; did you mean lstm?"),
        (lambda: Train(sed=1), "train.sed: no such setting; did you mean seed?"),
        (lambda: Train(epochs="3"), "train.epochs: '3' is not an integer"),
        (lambda: Train(epochs=True), "train.epochs: True is not an integer"),
        (lambda: Train(epochs=0), "train.epochs: 0 is out of range; it must be >= 1"),
        (lambda: Train(seed=-1), "train.seed: -1 is out of range; it must be >= 0"),
        (lambda: Optim(learning_rate=float("nan")), "optim.learning_rate: nan is not a number"),
        (lambda: Optim(warmup_ratio=2.0), "optim.warmup_ratio: 2.0 is out of range; it must be <= 1.0"),
        (lambda: Data(), "data.source: this setting is required"),
        (lambda: Data(source=" "), "data.source: it is empty"),
        (lambda: Data("x", label_column=""), "data.label_column: it is empty; give a value, or leave the setting out"),
        (lambda: Data("x\0"), "data.source: 'x\\x00' has a character that UTF-8 or a file name cannot hold"),
        (lambda: a_recipe(name="x" * 300), "name: 'xxx"),
        (lambda: a_recipe(name="a\nb"), "name: 'a\\nb' cannot name a folder"),
        (lambda: a_recipe(task=".x:Y"), "task: unknown task '.x:Y'"),
        (lambda: a_recipe(task="os:"), "task: unknown task 'os:'"),
        (lambda: a_recipe(name="\ud800"), "name: '\\ud800' has a character that"),
        (lambda: Train(self=1), "train.self: no such setting"),
        (lambda: Train(*range(30)), f"train: 30 values for {len(dataclasses.fields(Train))} settings; name them"),
        (lambda: Train(epochs=10**30), f"train.epochs: {10**30} is out of range; it must be <= 2147483647"),
        (lambda: Recurrent(layers=10**6), "model.layers: 1000000 is out of range; it must be <= 1000"),
        (lambda: Data("x", vocab_size=10**9), "data.vocab_size: 1000000000 is out of range; it must be <= 10000000"),
        (lambda: Optim(learning_rate=10**400), "optim.learning_rate: 1000000000"),
        (lambda: Data("x", streaming=True), "data.streaming: requires data.limit"),
        (lambda: Data("x", test_share=0.5, validation_share=0.5), "data.validation_share: with data.test_share"),
        (lambda: Recurrent(freeze_vectors=True), "model.freeze_vectors: there are no vectors to freeze"),
        (lambda: Recurrent(vectors="v.txt", embedding_size=3), "model.embedding_size: model.vectors determines it"),
        (lambda: Scratch(hidden_size=10, heads=3), "model.heads: 3 does not divide model.hidden_size 10"),
        (lambda: a_recipe(task="sentimant"), "task: unknown task 'sentimant'; did you mean sentiment?"),
        (lambda: a_recipe(model=Recurrent(crf=True)), "model.crf: the task sentiment does not tag words; remove this"),
        (
            lambda: a_recipe(task="ner", model=Recurrent(pooling="max")),
            "model.pooling: the task ner makes a prediction for each word and pools",
        ),
        (lambda: a_recipe(model=Scratch(crf=True)), "model.crf: the task sentiment does not tag words; remove this"),
        (lambda: a_recipe(model=Pretrained("x", crf=True)), "model.crf: the task sentiment does not tag words; remove"),
        (lambda: a_recipe(model=Recurrent(char_encoder="cnn")), "model.char_encoder: the task sentiment does not tag"),
        (
            lambda: a_recipe(
                task="my.own:Task", model=Recurrent(char_encoder="lstm"), data=Data("a.csv", tokenizer="bpe")
            ),
            "data.tokenizer: bpe splits words, but model.char_encoder reads whole ones; use word",
        ),
        (lambda: a_recipe(data=Data("x", scheme="bioes")), "data.scheme: the task sentiment does not use it; remove"),
        (lambda: a_recipe(data=Data("x", tag_column="t")), "data.tag_column: the task sentiment does not use it"),
        (lambda: a_recipe(task="ner", data=Data("x", text_column="t")), "data.text_column: the task ner does not use"),
        (lambda: a_recipe(task="ner", data=Data("x", label_column="t")), "data.label_column: the task ner does not"),
        (lambda: Data("x", scheme="iob"), "data.scheme: 'iob' is not a valid choice; did you mean iob2?"),
        (lambda: a_recipe(name="a/b"), "name: 'a/b' cannot name a folder"),
        (lambda: a_recipe(name="a b", hub=Hub(push=True)), "hub.repo_id: the recipe's name, a b, cannot name a repo"),
        (lambda: a_recipe(model=None), "model: None is not a ModelSettings"),
    ],
)
def test_a_mistake_is_refused_with_setting_value_and_remedy(make, message):
    with pytest.raises(UserError) as refusal:
        make()
    assert str(refusal.value).startswith(message)


@pytest.mark.parametrize("name", ["tokenizer", "vocab_size", "min_frequency", "lowercase", "zero_digits"])
def test_a_setting_that_a_pretrained_model_would_ignore_is_refused(name):
    value = {"tokenizer": "word", "lowercase": True, "zero_digits": True}.get(name, 10)
    with pytest.raises(UserError, match=f"data.{name}: the pretrained model's own tokenizer determines it"):
        a_recipe(model=Pretrained("org/name"), data=Data("a.csv", **{name: value}))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "r.json: not JSON"),
        ("[]", "r.json: not a recipe; it must be a JSON object"),
        ("[" * 100_000, "r.json: JSON nested too deeply"),
        ('{"self": 1}', "r.json: self: no such setting"),
        ('{"model": {"kind": []}}', "r.json: model.kind: unknown kind of model []"),
        ('{"model": {"kind": ".x:Y"}}', "r.json: model.kind: unknown kind of model '.x:Y'"),
        ('{"model": {"kind": "os:getcwd"}}', "r.json: model.kind: os:getcwd is not a kind of model; it must be"),
        ('{"name": "x", "tusk": 1}', "r.json: tusk: no such setting; did you mean task?"),
        ('{"name": "x", "data": 3}', "r.json: data: 3 is not a JSON object of settings"),
        (
            '{"name": "x", "model": {"kind": "recurent"}}',
            "r.json: model.kind: unknown kind of model 'recurent'; did",
        ),
        ('{"name": "x", "data": {"source": "a", "lmit": 1}}', "r.json: data.lmit: no such setting; did you mean limit"),
    ],
)
def test_a_mistake_in_recipe_json_is_refused_at_every_depth(text, message):
    with pytest.raises(UserError) as refusal:
        from_json(text, "r.json")
    assert str(refusal.value).startswith(message)


def test_importing_the_recipe_imports_neither_torch_nor_transformers():
    code = (
        "import sys, pipeline; from pipeline import Recipe, main; "
        "sys.exit(len({'torch', 'transformers', 'datasets'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
