"""Random state and determinism: generators resume where they were, and settings of the process are restored."""

from __future__ import annotations

import os
import random

import numpy as np
import pytest
import torch
from test_trainer import a_recipe

from pipeline.errors import UserError
from pipeline.run import train
from pipeline.training import seeding, trainer
from pipeline.training.checkpointing import serialization


def test_all_generators_resume_where_they_were(tmp_path):
    seeding.seed_all(3)
    serialization.write(seeding.state(), tmp_path / "file")
    drawn = [random.random(), np.random.rand(), torch.rand(1).item(), random.gauss(0, 1), np.random.randn()]
    seeding.restore(serialization.read(tmp_path / "file"))
    assert drawn == [random.random(), np.random.rand(), torch.rand(1).item(), random.gauss(0, 1), np.random.randn()]


def flags() -> tuple[bool, bool, bool]:
    cudnn = torch.backends.cudnn
    return torch.are_deterministic_algorithms_enabled(), cudnn.deterministic, cudnn.benchmark


@pytest.mark.parametrize("is_on", [True, False])
def test_deterministic_algorithms_are_used_if_asked_for_and_the_settings_are_restored(
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
    assert "CUBLAS_WORKSPACE_CONFIG" not in os.environ


def test_an_operation_without_a_deterministic_algorithm_is_refused_in_one_line():
    before = flags()
    message = r"^train\.deterministic: put_.* does not have a deterministic impl.*; set it to False$"
    with pytest.raises(UserError, match=message), seeding.deterministic(True):
        torch.zeros(3).put_(torch.tensor([0]), torch.ones(1))
    assert flags() == before


def test_other_errors_pass():
    with pytest.raises(RuntimeError, match="shapes"), seeding.deterministic(True):
        raise RuntimeError("shapes do not fit")
