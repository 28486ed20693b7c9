"""AdamW and its schedule: what decays, and how the learning rate rises and falls."""

from __future__ import annotations

from types import SimpleNamespace

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


class Scorer(nn.Module):
    """A body, and an output layer with one output, as the configuration says."""

    def __init__(self):
        super().__init__()
        self.config = SimpleNamespace(num_labels=1)
        self.gate, self.body, self.score = nn.Linear(3, 1), nn.Linear(3, 3), nn.Linear(3, 1)


def test_the_output_layer_learns_on_the_scale_of_its_outputs_and_decays_like_others():
    model, settings = Scorer(), Optim(learning_rate=0.1, weight_decay=0.2)
    groups = {name: group for group in parameter_groups(model, settings, 50.0) for name in names(model, group)}
    assert {name for name, group in groups.items() if group["lr"] == 5.0} == {"score.weight", "score.bias"}
    assert all(group["lr"] == 0.1 for name, group in groups.items() if not name.startswith("score"))
    for name, group in groups.items():  # AdamW decays weights by the product of both
        assert group["lr"] * group["weight_decay"] == pytest.approx(0.1 * 0.2 if name.endswith("weight") else 0.0)
    plain, unscaled = parameter_groups(model, settings), parameter_groups(model, settings, 1.0)
    assert [(g["lr"], g["weight_decay"]) for g in plain] == [(g["lr"], g["weight_decay"]) for g in unscaled]
    assert [names(model, g) for g in plain] == [names(model, g) for g in unscaled]


def names(model: nn.Module, group: dict) -> list[str]:
    return [name for parameter in group["params"] for name, own in model.named_parameters() if own is parameter]
