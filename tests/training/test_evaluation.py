"""Evaluation: each row once, the same score at every batch size and on any number of processes."""

from __future__ import annotations

import json
import weakref

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from torch import nn

from pipeline.data.bucketing import Split
from pipeline.errors import UserError
from pipeline.models.recurrent import RecurrentForSeq2SeqLM, RecurrentSeq2SeqConfig
from pipeline.tasks.base import Task
from pipeline.training import evaluation
from pipeline.training.evaluation import Evaluation, check_generation, evaluate


class Sums(Task):
    """A task whose score is what it was given."""

    name, head, monitor, columns = "sums", "None", "loss", {}

    def encode(self, rows, tokenizer, max_length, labels):
        return rows

    def collate(self, rows, tokenizer):
        inputs = torch.from_numpy(rows).double()[:, None] * 0.1
        return {"inputs": inputs, "row": torch.from_numpy(rows)}, len(rows)

    def outcome(self, outputs, batch):
        return {"value": outputs, "row": batch["row"]}

    def score(self, outcome, labels):
        return outcome

    def predict(self, texts, model, tokenizer, labels):
        return []


class Eleven(Split):
    """A split of eleven rows, whose batches run backwards; `name` is a column that is stored with them."""

    lengths = np.ones(11)

    def take(self, rows):
        return rows

    def batches(self, batch_size):
        return [np.arange(start, min(start + batch_size, 11))[::-1].copy() for start in range(0, 11, batch_size)]

    def columns(self, names):
        return {name: np.array([f"{name} {row}" for row in range(11)], dtype=object) for name in names}


class Model(nn.Module):
    def forward(self, inputs, row):
        assert not self.training
        return inputs.square().sum(-1)


def evaluated(batch_size: int, task: Task | None = None) -> Evaluation:
    model = Model().train()
    result = evaluate(model, task or Sums(), Eleven(), None, [], batch_size, Accelerator(cpu=True))
    assert model.training
    return result


@pytest.mark.parametrize("batch_size", [1, 2, 3, 4, 11, 50])
def test_rows_are_scored_once_and_in_order_at_every_batch_size(batch_size):
    result = evaluated(batch_size).scores
    assert result["row"].tolist() == list(range(11))
    assert result["value"].tolist() == ((np.arange(11) * 0.1) ** 2).tolist()
    assert "id" not in result


class Ragged(Sums):
    """A task whose rows have as many values as their number says, and a column that is stored."""

    scored_with = ("name",)

    def outcome(self, outputs, batch):
        row = batch["row"]
        return {"values": (torch.repeat_interleave(outputs, row), row)}


@pytest.mark.parametrize("batch_size", [1, 3, 11])
def test_rows_with_different_numbers_of_values_are_kept_apart(batch_size):
    result = evaluated(batch_size, Ragged()).scores
    values, counts = result["values"]
    assert counts.tolist() == list(range(11))
    assert values.tolist() == [(row * 0.1) ** 2 for row in range(11) for _ in range(row)]
    assert result["name"].tolist() == [f"name {row}" for row in range(11)]


def test_the_outcome_of_each_row_is_kept_in_the_order_of_the_split():
    rows = list(evaluated(4).rows())
    assert rows == [{"id": row, "value": (row * 0.1) ** 2, "row": row} for row in range(11)]
    assert list(evaluated(4, Ragged()).rows())[2] == {"id": 2, "values": [(2 * 0.1) ** 2] * 2}
    assert json.loads(json.dumps(rows)) == rows


def test_no_more_than_a_few_outcomes_of_batches_are_kept_apart_and_none_is_lost(monkeypatch):
    """Outcomes of batches that stay until the end scatter over the memory, which then grows with the rows."""
    monkeypatch.setattr(evaluation, "JOINED_TOGETHER", 3)
    kept: list[weakref.ref] = []
    most = 0

    class Counting(Ragged):
        def outcome(self, outputs, batch):
            nonlocal most
            found = super().outcome(outputs, batch)
            kept.append(weakref.ref(found["values"][0]))
            most = max(most, sum(each() is not None for each in kept))
            return {**found, "row": batch["row"]}

        def generate(self, model, batch, tokenizer):
            return {"text": [f"row {row}" for row in batch["row"].tolist()]}

    result = evaluated(1, Counting()).scores
    assert len(kept) == 11
    assert most == 3
    assert result["row"].tolist() == list(range(11))
    assert result["text"].tolist() == [f"row {row}" for row in range(11)]
    assert result["values"][0].tolist() == [(row * 0.1) ** 2 for row in range(11) for _ in range(row)]


class Writing(Sums):
    """A task that writes a text and a list of token ids for each row, of the length that its number says."""

    def generate(self, model, batch, tokenizer):
        assert torch.is_inference_mode_enabled()
        assert not model.training
        assert batch["inputs"].dtype == torch.float64
        return {
            "text": ["a" * row for row in batch["row"].tolist()],
            "ids": [[row] * 2 for row in batch["row"].tolist()],
        }


@pytest.mark.parametrize("batch_size", [1, 3, 11])
def test_generated_text_joins_the_outcome_of_its_row(batch_size):
    result = evaluated(batch_size, Writing())
    assert result.scores["text"].tolist() == ["a" * row for row in range(11)]
    assert result.scores["ids"].tolist() == [[row] * 2 for row in range(11)]
    assert list(result.rows())[3] == {"id": 3, "value": (3 * 0.1) ** 2, "row": 3, "text": "aaa", "ids": [3, 3]}


def test_a_sharded_model_generates_only_in_step():
    """Its processes would wait for one another, each with another number of texts."""
    writing, able, unable = Writing(), RecurrentForSeq2SeqLM(RecurrentSeq2SeqConfig(vocab_size=9)), nn.Linear(1, 1)
    check_generation(Sums(), unable, sharded=True)
    check_generation(writing, unable, sharded=False)
    with pytest.raises(UserError, match="task: sums scores generated text, and its processes do not generate in step"):
        check_generation(writing, able, sharded=True)
    writing.generates_in_step = True
    check_generation(writing, able, sharded=True)
    with pytest.raises(UserError, match="do not generate in step"):
        check_generation(writing, unable, sharded=True)


def test_rows_that_two_processes_report_count_once(monkeypatch):
    """Gathering simulates a second process that has scored the same rows and one more."""
    real = evaluation.gather_object

    def with_second(shares):
        (own,) = real(shares)
        text, ids = np.array(["twice", "b"], dtype=object), np.array([None, None])
        more = {"id": np.array([3, 11]), "row": np.array([3, 11]), "value": np.array([-1.0, 7.0])}
        return [own, {**more, "text": text, "ids": ids}]

    monkeypatch.setattr(evaluation, "gather_object", with_second)
    result = evaluated(4, Writing()).scores
    assert result["row"].tolist() == list(range(12))
    assert result["value"][3] == pytest.approx(0.09)
    assert result["value"][11] == 7.0
    assert result["text"].tolist() == ["a" * row for row in range(11)] + ["b"]
