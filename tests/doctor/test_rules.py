"""The warnings of `finetune doctor`: each rule warns about an unusual setting, and not about common ones."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from pipeline.config.data import Data
from pipeline.config.distil import Distil
from pipeline.config.models import Lora, Pretrained, Recurrent, Scratch
from pipeline.config.recipe import Recipe
from pipeline.config.training import Optim, Train
from pipeline.doctor import durations
from pipeline.doctor.rules import RULES, RunProfile, find_unusual

BERT = Pretrained("org/bert")
LONG_RUN = {"updates_per_epoch": 2000, "total_updates": 4000, "seconds_per_update": 2.0}


def profile(model=None, optim=None, train=None, data=None, distil=None, **changes) -> RunProfile:
    recipe = Recipe("x", "sentiment", Data("a.csv", **(data or {})), model or Recurrent(), Optim(**(optim or {})),
                    Train(**(train or {})), distil=distil and Distil("runs/teacher", **distil))  # fmt: skip
    usual = RunProfile(
        recipe=recipe,
        lengths=np.array([10, 200, 30]),
        rows={"train": 3000, "validation": 300},
        labels={"good": 1500, "bad": 1500},
        truncated=3,
        unknown={"train": 0.05, "validation": 0.2},
        tokenizer="word",
        padding=0.03,
        total_updates=300,
        updates_per_epoch=100,
        seconds_per_update=0.1,
        on_fast_gpu=False,
        autocast=False,
    )
    return dataclasses.replace(usual, **changes)


CASES = [
    (
        profile(unknown={"train": 0.1, "validation": 0.34, "test": 0.25}),
        "data.tokenizer word: 34% of the tokens of validation, 25% of those of test are unknown; set"
        " data.tokenizer bpe or character, or data.min_frequency 1",
    ),
    (
        profile(unknown={"train": 0.9}, tokenizer="org/english"),
        "data.tokenizer org/english: 90% of the tokens of train are unknown; it was made for other texts",
    ),
    (profile(BERT), "optim.learning_rate 0.001: unusual; common values are 2e-5 to 5e-5 for a pretrained model"),
    (
        profile(dataclasses.replace(BERT, lora=Lora()), {"learning_rate": 1e-2}),
        "optim.learning_rate 0.01: unusual; common values are 1e-4",
    ),
    (
        profile(Scratch(), {"learning_rate": 0.1}),
        "optim.learning_rate 0.1: unusual; common values are 1e-4 to 1e-3 for a transformer",
    ),
    (
        profile(optim={"learning_rate": 1e-6}),
        "optim.learning_rate 1e-06: unusual; common values are 1e-3 to 1e-2 for a recurrent",
    ),
    (profile(Scratch(), {"warmup_ratio": 0.0}), "optim.warmup_ratio 0: transformers often diverge without warmup"),
    (profile(optim={"max_grad_norm": None}), "optim.max_grad_norm None: gradients of recurrent networks can explode"),
    (
        profile(BERT, {"learning_rate": 2e-5}, total_updates=2000),
        "train.epochs 20: pretrained models are usually fine-tuned",
    ),
    (profile(total_updates=12), "a run of 12 updates is short; raise train.epochs or train.max_steps, or lower"),
    (profile(updates_per_epoch=3), "train.batch_size: each update uses 1,000 of 3,000 rows"),
    (
        profile(Scratch(), data={"max_length": 512}),
        "data.max_length 512: the longest row has 200 tokens, so later positions",
    ),
    (profile(truncated=240), "data.max_length 256: 8% of the training rows are truncated"),
    (profile(truncated=600, data={"long_texts": "head+tail"}), "data.max_length 256: 20% of the training rows"),
    (
        profile(truncated=600),
        "data.long_texts cut: 20% of the training rows are longer than data.max_length 256, and only their beginning is"
        " read; set it to tail, head+tail or windows",
    ),
    (profile(padding=0.5), "train.batch_size: 50% of the batches is padding; smaller batches have less"),
    (profile(rows={"train": 3000, "validation": 12}), "data.validation_share: 12 validation rows are too few"),
    (
        profile(labels={"good": 2900, "bad": 100}),
        "train.class_weights None: 97% of the labels are good; set it to balanced if others matter, and train.monitor",
    ),
    (
        profile(train={"max_tokens": 721}),
        "train.max_tokens 721: train.epochs ends the run after 720 tokens; raise it",
    ),
    (
        profile(train={"max_steps": 301}),
        "train.max_steps 301: train.epochs ends the run after 300 updates; raise it",
    ),
    (
        profile(train={"max_seconds": 40.0}),
        "train.max_seconds 40: train.epochs ends the run after 30 seconds; raise it",
    ),
    (profile(train={"eval_every": 1000}), "train.eval_every 1000: the run is evaluated only at its end, after 300"),
    (profile(**LONG_RUN), "train.save_every None: a killed run loses up to 67 minutes"),
    (profile(distil={"loss": "mse"}), "distil.unlabelled None: the teacher answers the training rows alone"),
    (
        profile(distil={"augment": "mask", "temperature": 50.0}),
        "distil.temperature 50: unusual; common values are 1 to 20",
    ),
    (profile(on_fast_gpu=True), "train.precision fp32: this GPU is several times faster in bf16; set it to"),
]


@pytest.mark.parametrize(("found", "line"), CASES, ids=[line[:40] for _, line in CASES])
def test_an_unusual_setting_gets_one_line(found, line):
    (warning,) = find_unusual(found)
    assert warning.startswith(line)


def test_every_rule_has_a_case():
    assert {rule for rule in RULES for found, _ in CASES if rule(found)} == set(RULES)


@pytest.mark.parametrize(
    "found",
    [
        profile(),
        profile(Scratch(), data={"max_length": 256}),
        profile(BERT, {"learning_rate": 3e-5}),
        profile(dataclasses.replace(BERT, lora=Lora()), {"learning_rate": 1e-3}),
        profile(labels={}),
        profile(labels={"good": 2900, "bad": 100}, train={"class_weights": "balanced"}),
        profile(train={"save_every": 100}, **LONG_RUN),
        profile(train={"max_tokens": 720}),
        profile(train={"max_seconds": 32.0}),
        profile(distil={"unlabelled": Data("b.csv"), "temperature": 4.0}),
        profile(on_fast_gpu=True, autocast=True, train={"precision": "bf16"}),
    ],
)
def test_common_settings_get_no_warning(found):
    assert find_unusual(found) == []


def test_a_student_of_translation_needs_no_texts_but_those_of_the_data():
    found = profile(distil={"loss": "kl"})
    assert find_unusual(found)
    assert find_unusual(dataclasses.replace(found, recipe=dataclasses.replace(found.recipe, task="translation"))) == []


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0.04, "0.0 seconds"), (9.5, "9.5 seconds"), (119, "119 seconds"), (120, "2.0 minutes"), (90_000, "25.0 hours")],
)
def test_a_duration_is_given_in_the_largest_unit_that_gives_at_least_two(seconds, shown):
    assert durations.duration(seconds) == shown
