"""AdamW and its schedule: what decays, and how the learning rate rises and falls."""

from __future__ import annotations

import pytest
from torch import nn

from pipeline.config.recipe import Optim
from pipeline.training.optim import build_optimizer, build_scheduler, parameter_groups


def test_biases_norms_and_embeddings_do_not_decay():
    model = nn.ModuleDict({"e": nn.Embedding(3, 2), "n": nn.LayerNorm(2), "l": nn.Linear(2, 2), "f": nn.Linear(2, 2)})
    model["f"].requires_grad_(False)
    decayed, spared = parameter_groups(model, Optim(weight_decay=0.1))
    assert decayed["params"] == [model["l"].weight]
    assert decayed["weight_decay"] == 0.1
    assert {id(p) for p in spared["params"]} == {
        id(p) for p in (model["e"].weight, *model["n"].parameters(), model["l"].bias)
    }


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("linear", [0.0, 0.5, 1.0, 0.75, 0.5, 0.25, 0.0]),
        ("constant", [0.0, 0.5, 1.0, 1.0, 1.0, 1.0, 1.0]),
        ("cosine", [0.0, 0.5, 1.0, 0.853553, 0.5, 0.146447, 0.0]),
    ],
)
def test_the_schedule_rises_over_the_warm_up_and_falls_to_the_end(schedule, expected):
    optimizer = build_optimizer(nn.Linear(2, 2), Optim(learning_rate=1.0))
    scheduler = build_scheduler(optimizer, Optim(schedule=schedule, warmup_ratio=1 / 3, learning_rate=1.0), 6)
    rates = []
    for _ in range(7):
        rates.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    assert rates == pytest.approx(expected, abs=1e-6)
