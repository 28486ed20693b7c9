"""AdamW and its schedule: what decays, and how the learning rate rises and falls."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import LRScheduler

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


def rates_of(schedule: LRScheduler, updates: int, stale: dict[int, int] | None = None) -> list[float]:
    """The learning rate of each update; `stale`: what is observed after an update."""
    rates = []
    for update in range(updates):
        rates.append(schedule.optimizer.param_groups[0]["lr"])
        assert schedule.get_last_lr()[0] == rates[-1]
        schedule.optimizer.step()
        schedule.step()
        if stale and update in stale:
            schedule.observe(stale[update])
    return rates


def a_schedule(settings: Optim, updates: int) -> LRScheduler:
    return build_scheduler(build_optimizer(nn.Linear(2, 2), settings), settings, updates)


def test_one_cycle_is_that_of_torch():
    updates, settings = 2000, Optim(schedule="one-cycle", warmup_ratio=0.3, learning_rate=0.5)
    optimizer = torch.optim.SGD(nn.Linear(2, 2).parameters(), lr=0.5)
    reference = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.5, total_steps=updates, cycle_momentum=False)
    found = rates_of(a_schedule(settings, updates), updates)
    # torch counts updates from the first to the last one, which is one less.
    assert found == pytest.approx([*rates_of(reference, updates - 1), reference.get_last_lr()[0]], rel=1e-2, abs=1e-3)
    assert found[0] == pytest.approx(0.5 / 25)
    assert max(found) == 0.5


def test_each_plateau_lowers_the_rate_from_the_next_update_on():
    settings = Optim(schedule="reduce-on-plateau", plateau_factor=0.5, plateau_patience=2, warmup_ratio=0.0)
    stale = {1: 0, 3: 1, 5: 2, 7: 3, 9: 4, 11: 0, 13: 1}
    found = rates_of(a_schedule(replace(settings, learning_rate=1.0), 16), 16, stale)
    assert found == [1.0] * 6 + [0.5] * 4 + [0.25] * 6


def test_plateaus_are_those_of_torch():
    """torch's patience is the number of bad scores that change nothing."""
    generator = torch.Generator().manual_seed(0)
    scores = torch.rand(200, generator=generator).cumsum(0) * 0.05 + torch.rand(200, generator=generator)
    settings = Optim(schedule="reduce-on-plateau", plateau_factor=0.9, plateau_patience=3, warmup_ratio=0.0)
    own, optimizer = a_schedule(settings, 300), torch.optim.SGD(nn.Linear(2, 2).parameters(), lr=1e-3)
    reference = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, "max", 0.9, 2, threshold=0.0, eps=0.0)
    best, stale = -1.0, 0
    for score in scores.tolist():
        best, stale = (score, 0) if score > best else (best, stale + 1)
        own.observe(stale)
        reference.step(score)
        assert own.get_last_lr() == pytest.approx(reference.get_last_lr() * 2)
    assert own.reductions > 10


def test_a_schedule_goes_on_with_its_plateaus():
    settings = Optim(schedule="reduce-on-plateau", warmup_ratio=0.5)
    whole, stopped = a_schedule(settings, 8), a_schedule(settings, 8)
    expected = rates_of(whole, 8, {1: 1, 5: 2})
    found, resumed = rates_of(stopped, 4, {1: 1}), a_schedule(settings, 8)
    resumed.load_state_dict(stopped.state_dict())
    resumed.optimizer.load_state_dict(stopped.optimizer.state_dict())
    assert found + rates_of(resumed, 4, {1: 2}) == expected


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
