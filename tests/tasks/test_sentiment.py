"""One label per text: batches, scores, rows and predictions."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest
import torch
from transformers.modeling_outputs import SequenceClassifierOutput

from pipeline.data.gathering import EncodedRows, Table
from pipeline.tasks.sentiment import Sentiment

LABELS = ["bad", "good", "fair"]


class Padded:
    pad_token_id = 0


def encoded(*rows: list[int]) -> EncodedRows:
    table = pa.table(
        {
            "length": pa.array([len(row) for row in rows], pa.int32()),
            "input_ids": pa.array(rows, pa.list_(pa.int32())),
            "label": pa.array(range(len(rows))),
        }
    )
    return Table(table).take([np.arange(len(rows))])[0]


def test_a_batch_has_a_mask_only_if_it_has_padding():
    batch, labels = Sentiment().collate(encoded([5], [6, 7]), Padded())
    assert labels == 2
    assert batch["input_ids"].tolist() == [[5, 0], [6, 7]]
    assert batch["attention_mask"].tolist() == [[1, 0], [1, 1]]
    assert batch["labels"].tolist() == [0, 1]
    batch, _ = Sentiment().collate(encoded([5, 8], [6, 7]), Padded())
    assert "attention_mask" not in batch


def test_the_outcome_is_the_nll_of_the_label_and_the_best_class():
    logits = torch.tensor([[0.0, 2.0, 1.0], [3.0, 0.0, 0.0]], dtype=torch.bfloat16)
    found = Sentiment().outcome(SequenceClassifierOutput(logits=logits), {"labels": torch.tensor([2, 0])})
    expected = -torch.log_softmax(logits.double(), dim=-1)[[0, 1], [2, 0]]
    torch.testing.assert_close(found["nll"].double(), expected, atol=1e-6, rtol=0)
    assert found["prediction"].tolist() == [1, 0]


def an_outcome() -> dict[str, np.ndarray]:
    return {
        "nll": np.array([0.5, 1.5, 1.0, 1.0], dtype=np.float32),
        "prediction": np.array([0, 1, 1, 0]),
        "label": np.array([0, 1, 0, 2]),
    }


def test_scores_are_of_all_rows():
    scores = Sentiment().score(an_outcome(), LABELS)
    assert (scores["loss"], scores["accuracy"]) == (1.0, 0.5)
    assert scores["confusion"] == [[1, 1, 0], [0, 1, 0], [1, 0, 0]]


def test_rows_name_the_label_and_the_prediction_of_each_text():
    logits = np.log(np.array([[8, 1, 1], [1, 8, 1], [1, 2, 1], [2, 1, 1]], dtype=np.float32))
    rows = list(Sentiment().rows({**an_outcome(), "logits": logits, "tokens": np.array([3, 4, 5, 6])}, LABELS))
    assert rows[1] == {
        "id": 1,
        "gold": "good",
        "prediction": "good",
        "scores": pytest.approx([0.1, 0.8, 0.1]),
        "nll": 1.5,
        "tokens": 4,
    }
    assert (rows[3]["gold"], rows[3]["prediction"], rows[3]["nll"]) == ("fair", "bad", 1.0)
    assert json.loads(json.dumps(rows)) == rows
    scores = Sentiment().score(an_outcome(), LABELS)
    assert np.mean([row["gold"] == row["prediction"] for row in rows]) == scores["accuracy"]
    assert np.mean([row["nll"] for row in rows]) == pytest.approx(scores["loss"])
