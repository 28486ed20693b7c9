"""Evaluation: each row once, the same score at every batch size and on any number of processes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from torch import nn

from pipeline.training import evaluation
from pipeline.training.evaluation import evaluate


class Sums:
    """A task whose score is what it was given."""

    def outcome(self, outputs, batch):
        return {"value": outputs, "row": batch["row"]}

    def score(self, outcome, labels):
        return outcome


def scored(batch_size: int, task=None, stored=None):
    data = torch.arange(11, dtype=torch.float64)[:, None] * 0.1
    batches = [np.arange(start, min(start + batch_size, 11))[::-1].copy() for start in range(0, 11, batch_size)]

    class Model(nn.Module):
        def forward(self, inputs, row):
            assert not self.training
            return inputs.square().sum(-1)

    def collate(rows):
        return {"inputs": data[torch.from_numpy(rows)], "row": torch.from_numpy(rows)}, len(rows)

    model = Model().train()
    result = evaluate(model, task or Sums(), batches, collate, [], Accelerator(cpu=True), stored)
    assert model.training
    return result


@pytest.mark.parametrize("batch_size", [1, 2, 3, 4, 11, 50])
def test_rows_are_scored_once_in_their_order_at_every_batch_size(batch_size):
    result = scored(batch_size)
    assert result["row"].tolist() == list(range(11))
    assert result["value"].tolist() == ((np.arange(11) * 0.1) ** 2).tolist()
    assert "id" not in result


class Ragged(Sums):
    """A task whose rows have as many values as their number says, and a column that is stored."""

    scored_with = ("name",)

    def outcome(self, outputs, batch):
        row = batch["row"]
        return {"values": (torch.repeat_interleave(outputs, row), row)}


class Stored:
    carries = False

    def facts(self, names):
        return {name: np.array([f"{name} {row}" for row in range(11)]) for name in names}


@pytest.mark.parametrize("batch_size", [1, 3, 11])
def test_rows_with_different_numbers_of_values_are_kept_apart(batch_size):
    result = scored(batch_size, Ragged(), Stored())
    values, counts = result["values"]
    assert counts.tolist() == list(range(11))
    assert values.tolist() == [(row * 0.1) ** 2 for row in range(11) for _ in range(row)]
    assert result["name"].tolist() == [f"name {row}" for row in range(11)]


def test_rows_that_two_processes_report_count_once(monkeypatch):
    """Gathering stands for a second process that has scored the same rows and one more."""
    real = evaluation.gather_object

    def with_second(shares):
        (own,) = real(shares)
        more = {"id": np.array([3, 11]), "row": np.array([3, 11]), "value": np.array([-1.0, 7.0])}
        return [own, more]

    monkeypatch.setattr(evaluation, "gather_object", with_second)
    result = scored(4)
    assert result["row"].tolist() == list(range(12))
    assert result["value"][3] == pytest.approx(0.09)
    assert result["value"][11] == 7.0
