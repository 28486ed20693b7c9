"""Which models a recipe for translation may have, and which settings of theirs are for translation only."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pipeline.config.data import Data
from pipeline.config.distil import Distil
from pipeline.config.models import ModelSettings, Pretrained, Recurrent, Scratch
from pipeline.config.recipe import Recipe
from pipeline.errors import UserError


def a_recipe(task: str, model: ModelSettings, **data: Any) -> Recipe:
    return Recipe("x", task, Data("x", **data), model)


@pytest.mark.parametrize(
    "model",
    [
        Recurrent(bidirectional=True, attention="additive", input_feeding=True, decoder_layers=2, tie_embeddings=True),
        Recurrent(attention="none", output_dropout=0.1),
        Scratch("t5"),
        Scratch("bart", positions="none"),
    ],
)
def test_a_model_with_a_decoder_can_translate(model):
    assert a_recipe("translation", model).model == model


@pytest.mark.parametrize(
    ("task", "model", "message"),
    [
        ("translation", Scratch("bert"), "model.architecture: bert does not suit the task translation; use t5 or bart"),
        ("next_word", Scratch("t5"), "model.architecture: t5 does not suit the task next_word; use bert or gpt2"),
        ("sentiment", Scratch("bart"), "model.architecture: bart does not suit the task sentiment; use bert or gpt2"),
        ("sentiment", Recurrent(attention="none"), "model.attention: the task sentiment writes no text from another"),
        ("ner", Recurrent(decoder_layers=1), "model.decoder_layers: the task ner writes no text from another one"),
        ("next_word", Recurrent(input_feeding=True), "model.input_feeding: the task next_word writes no text from"),
        ("translation", Recurrent(crf=True), "model.crf: the task translation does not tag words"),
        ("translation", Recurrent(pooling="max"), "model.pooling: the task translation"),
    ],
)
def test_a_model_or_setting_that_a_task_cannot_use_is_refused(task, model, message):
    with pytest.raises(UserError) as error:
        a_recipe(task, model)
    assert str(error.value).startswith(message)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"attention": "none"}, "model.input_feeding: without attention there is nothing to feed"),
        ({"weight_dropout": 0.1}, "model.weight_dropout: with model.input_feeding each word is read on its own"),
    ],
)
def test_settings_that_exclude_each_other_are_refused(settings, message):
    with pytest.raises(UserError) as error:
        Recurrent(input_feeding=True, **settings)
    assert str(error.value).startswith(message)


@pytest.mark.parametrize(
    ("task", "model", "message"),
    [
        (
            "translation",
            Scratch("t5"),
            "data.separate_vocabs: t5 has one vocabulary for both sides; remove this setting",
        ),
        (
            "translation",
            Pretrained("t5-small"),
            "data.separate_vocabs: the pretrained model's own tokenizer determines",
        ),
        ("translation", Recurrent(vectors="v.txt"), "model.vectors: they would be those of one side; remove them, or"),
        ("sentiment", Recurrent(), "data.separate_vocabs: the task sentiment does not use it; remove this setting"),
    ],
)
def test_two_vocabularies_are_refused_where_there_can_only_be_one(task, model, message):
    with pytest.raises(UserError) as error:
        a_recipe(task, model, separate_vocabs=True)
    assert str(error.value).startswith(message)


def test_a_tied_output_layer_and_a_teacher_go_with_two_vocabularies_and_another_tokenizer_does_not():
    recipe = a_recipe("translation", Recurrent(tie_embeddings=True), separate_vocabs=True)
    assert replace(recipe, distil=Distil("teacher")).data.separate_vocabs
    with pytest.raises(UserError, match=r"data\.separate_vocabs: the pretrained tokenizer mine determines it"):
        replace(recipe, data=replace(recipe.data, tokenizer="mine"))
