"""What doctor tells: each rule speaks where a setting stands out, and is silent about what the field does."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from pipeline.config.data import Data
from pipeline.config.models import Lora, Pretrained, Recurrent, Scratch
from pipeline.config.recipe import Recipe
from pipeline.config.training import Optim, Train
from pipeline.doctor import estimate
from pipeline.doctor.rules import RULES, Facts, unusual

BERT = Pretrained("org/bert")
LONG_RUN = {"updates_per_epoch": 2000, "total_updates": 4000, "seconds_per_update": 2.0}


def facts(model=None, optim=None, train=None, data=None, **changes) -> Facts:
    recipe = Recipe("x", "sentiment", Data("a.csv", **(data or {})), model or Recurrent(), Optim(**(optim or {})),
                    Train(**(train or {})))  # fmt: skip
    usual = Facts(
        recipe=recipe,
        lengths=np.array([10, 200, 30]),
        rows={"train": 3000, "validation": 300},
        labels={"good": 1500, "bad": 1500},
        truncated=3,
        padding=0.03,
        total_updates=300,
        updates_per_epoch=100,
        seconds_per_update=0.1,
        on_fast_gpu=False,
        autocast=False,
    )
    return dataclasses.replace(usual, **changes)


CASES = [
    (facts(BERT), "optim.learning_rate 0.001: usual is 2e-5 to 5e-5 for a pretrained model, a few times that for a"),
    (facts(dataclasses.replace(BERT, lora=Lora()), {"learning_rate": 1e-2}), "optim.learning_rate 0.01: usual is 1e-4"),
    (facts(Scratch(), {"learning_rate": 0.1}), "optim.learning_rate 0.1: usual is 1e-4 to 1e-3 for a transformer from"),
    (facts(optim={"learning_rate": 1e-6}), "optim.learning_rate 1e-06: usual is 1e-3 to 1e-2 for a recurrent network"),
    (facts(Scratch(), {"warmup_ratio": 0.0}), "optim.warmup_ratio 0: a transformer without warm-up often diverges"),
    (facts(optim={"max_grad_norm": None}), "optim.max_grad_norm None: the gradients of recurrent networks explode"),
    (facts(BERT, {"learning_rate": 2e-5}, total_updates=2000), "train.epochs 20: a pretrained model is usually tuned"),
    (facts(total_updates=12), "12 updates are few to learn from; raise train.epochs or train.max_steps, or lower"),
    (facts(updates_per_epoch=3), "train.batch_size: an update sees 1,000 of 3,000 rows"),
    (facts(Scratch(), data={"max_length": 512}), "data.max_length 512: the longest row has 200 tokens; the positions"),
    (facts(truncated=600), "data.max_length 256: 20% of the training rows lose their end"),
    (facts(padding=0.5), "train.batch_size: 50% of what is computed is padding; smaller batches have less"),
    (facts(rows={"train": 3000, "validation": 12}), "data.validation_share: on 12 rows of validation, which weights"),
    (facts(labels={"good": 2900, "bad": 100}), "train.class_weights None: 97% of the labels are good; set balanced if"),
    (facts(train={"eval_every": 1000}), "train.eval_every 1000: the run has 300 updates, and is scored at its end"),
    (facts(**LONG_RUN), "train.save_every None: a run that is killed loses up to 67 minutes"),
    (facts(on_fast_gpu=True), "train.precision fp32: this GPU is several times as fast in bf16; set bf16 or auto"),
]


@pytest.mark.parametrize(("found", "line"), CASES, ids=[line[:40] for _, line in CASES])
def test_what_stands_out_is_one_line(found, line):
    (told,) = unusual(found)
    assert told.startswith(line)


def test_every_rule_has_a_case():
    assert {rule for rule in RULES for found, _ in CASES if rule(found)} == set(RULES)


@pytest.mark.parametrize(
    "found",
    [
        facts(),
        facts(Scratch(), data={"max_length": 256}),
        facts(BERT, {"learning_rate": 3e-5}),
        facts(dataclasses.replace(BERT, lora=Lora()), {"learning_rate": 1e-3}),
        facts(labels={}),
        facts(labels={"good": 2900, "bad": 100}, train={"class_weights": "balanced"}),
        facts(train={"save_every": 100}, **LONG_RUN),
        facts(on_fast_gpu=True, autocast=True, train={"precision": "bf16"}),
    ],
)
def test_what_the_field_does_is_not_remarked_on(found):
    assert unusual(found) == []


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(0.04, "0.0 seconds"), (9.5, "9.5 seconds"), (119, "119 seconds"), (120, "2.0 minutes"), (90_000, "25.0 hours")],
)
def test_times_are_told_in_a_unit_that_suits_them(seconds, told):
    assert estimate._duration(seconds) == told
