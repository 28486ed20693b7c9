"""Determinism: a run that asks for it gets nothing else, and leaves the process as it was."""

from __future__ import annotations

import pytest
import torch
from test_trainer import a_recipe

from pipeline.errors import UserError
from pipeline.run import train
from pipeline.training import seeding, trainer


def flags() -> tuple[bool, bool, bool]:
    cudnn = torch.backends.cudnn
    return torch.are_deterministic_algorithms_enabled(), cudnn.deterministic, cudnn.benchmark


@pytest.mark.parametrize("is_on", [True, False])
def test_a_run_trains_with_deterministic_algorithms_where_asked_and_then_puts_them_back(
    reviews, tmp_path, monkeypatch, is_on
):
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    before, seen, update = flags(), set(), trainer.update

    def watched(*arguments):
        seen.add(flags())
        return update(*arguments)

    monkeypatch.setattr(trainer, "update", watched)
    train(a_recipe(reviews, tmp_path, max_steps=2, deterministic=is_on))
    assert seen == {(True, True, False) if is_on else before}
    assert flags() == before


def test_an_algorithm_that_is_not_deterministic_is_refused_in_one_line():
    before = flags()
    told = r"^train\.deterministic: put_.* does not have a deterministic impl.*; set it to False$"
    with pytest.raises(UserError, match=told), seeding.deterministic(True):
        torch.zeros(3).put_(torch.tensor([0]), torch.ones(1))
    assert flags() == before


def test_other_errors_pass():
    with pytest.raises(RuntimeError, match="shapes"), seeding.deterministic(True):
        raise RuntimeError("shapes do not fit")
