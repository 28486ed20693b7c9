"""Sentiment of texts that are longer than data.max_length: trained, scored and predicted in the same way."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from conftest import NEGATIVE, POSITIVE

from pipeline import inference
from pipeline.config.data import Data
from pipeline.config.models import Recurrent, Scratch
from pipeline.config.recipe import Recipe
from pipeline.config.training import Optim, Train
from pipeline.run import train

FILLER = "the film is about a man and a woman who meet in a town by the sea "


@pytest.fixture(scope="module")
def essays(tmp_path_factory):
    """Reviews whose verdict is in the middle or at the end, beyond the first 16 tokens; some are short."""
    rows = []
    for number in range(60):
        for label, verdicts in (("good", POSITIVE), ("bad", NEGATIVE)):
            verdict = f"{verdicts[number % 4]} {number}"
            text = verdict if number % 5 == 0 else FILLER * (1 + number % 3) + verdict + FILLER * (number % 2)
            rows.append({"text": text, "label": label})
    file = tmp_path_factory.mktemp("essays") / "essays.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return file


def a_run(essays, folder, choice, model=None, **changes):
    recipe = Recipe(
        name="x",
        task="sentiment",
        data=Data(str(essays), max_length=16, long_texts=choice),
        model=model or Recurrent(hidden_size=12, embedding_size=12, dropout=0.0, embedding_dropout=0.0),
        optim=Optim(learning_rate=0.02),
        train=Train(**{"output_dir": str(folder), "epochs": 6, "batch_size": 16, **changes}),
    )
    return train(recipe)


@pytest.fixture(scope="module")
def windowed(essays, tmp_path_factory):
    """A run with windows, and its metrics."""
    folder = tmp_path_factory.mktemp("windowed") / "run"
    return folder, a_run(essays, folder, "windows")


def test_what_follows_the_beginning_is_read_with_windows(essays, tmp_path, windowed):
    cut = a_run(essays, tmp_path / "cut", "cut")
    assert windowed[1]["test"]["accuracy"] > cut["test"]["accuracy"]
    assert any("extra windows" in note for note in windowed[1]["data"]["notes"])
    assert any("truncated to data.max_length 16" in note for note in cut["data"]["notes"])


def test_each_text_is_scored_once(windowed):
    metrics = windowed[1]
    scored = sum(figures["support"] for figures in metrics["test"]["per_class"].values())
    assert scored == metrics["data"]["rows"]["test"] == 12


def rows_of(file) -> list[dict]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def by_windows(loaded, text: str) -> np.ndarray:
    """(windows, C) logits of each window on its own."""
    ids = loaded.tokenizer(text, verbose=False)["input_ids"]
    starts = [start for start in range(0, len(ids), 11) if start == 0 or start + 5 < len(ids)]
    parts = [ids[start : start + 16] for start in starts]
    with torch.inference_mode():
        return np.concatenate([loaded.model(input_ids=torch.tensor([part])).logits.numpy() for part in parts])


def by_hand(folder, texts: list[str]) -> np.ndarray:
    """(T, C) probabilities: the mean of the log-probabilities of each text's windows."""
    loaded = inference.load(str(folder))
    logs = [torch.tensor(by_windows(loaded, text)).double().log_softmax(-1) for text in texts]
    return np.array([own.mean(dim=0).softmax(dim=-1).numpy() for own in logs])


def test_scores_and_predictions_are_those_of_each_texts_windows_pooled(essays, windowed):
    folder, _ = windowed
    rows = rows_of(essays)
    labels = inference.load(str(folder)).labels
    expected = by_hand(folder, [row["text"] for row in rows])
    gold = np.array([labels.index(row["label"]) for row in rows])
    nll = -np.log(expected[np.arange(len(rows)), gold])

    for batch_size in (1, 7, 64):
        scored = inference.evaluate_rows(str(folder), Data(str(essays)), batch_size=batch_size)
        found = [*scored.rows()]
        assert [row["gold"] for row in found] == [row["label"] for row in rows]
        assert [row["prediction"] for row in found] == [labels[best] for best in expected.argmax(axis=1)]
        np.testing.assert_allclose([row["nll"] for row in found], nll, atol=1e-5)
        assert scored.scores["loss"] == pytest.approx(nll.mean(), abs=1e-5)

    answers = [*inference.predict(str(folder), [row["text"] for row in rows])]
    np.testing.assert_allclose([[*answer["scores"].values()] for answer in answers], expected, atol=1e-5)


def test_a_saved_model_gets_the_scores_of_its_run_again(essays, tmp_path):
    for choice in ("windows", "head+tail", "tail"):
        data = tmp_path / choice
        data.mkdir()
        rows = essays.read_text().splitlines(keepends=True)
        (data / "train.jsonl").write_text("".join(rows[:80]))
        (data / "validation.jsonl").write_text("".join(rows[80:100]))
        (data / "test.jsonl").write_text("".join(rows[100:]))
        metrics = a_run(data, tmp_path / f"run-{choice}", choice, max_steps=3)
        again = inference.evaluate(str(tmp_path / f"run-{choice}"), Data(str(data)))
        assert again["loss"] == pytest.approx(metrics["test"]["loss"], abs=1e-6)


def test_accumulation_gives_the_same_run_as_larger_batches_with_windows(essays, tmp_path):
    losses = []
    for batch_size, accumulation in ((12, 1), (4, 3)):
        folder = tmp_path / str(batch_size)
        changes = {"batch_size": batch_size, "accumulation": accumulation, "max_steps": 6}
        model = Scratch(hidden_size=16, layers=1, heads=2, dropout=0.0)
        losses.append(a_run(essays, folder, "windows", model, **changes))
    assert losses[0]["test"]["loss"] == pytest.approx(losses[1]["test"]["loss"], abs=1e-4)


@pytest.mark.parametrize(
    ("label", "answer"),
    [
        (lambda number: ["warm", "long"] if number % 2 else ["long"], "labels"),
        (lambda number: number % 7 / 2 + 0.25, "score"),
    ],
    ids=["several labels", "a number"],
)
def test_answers_of_every_kind_are_pooled_over_windows(tmp_path, label, answer):
    rows = [{"text": FILLER * (number % 3) + f"warm {number}", "label": label(number)} for number in range(60)]
    (tmp_path / "train.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    metrics = a_run(tmp_path / "train.jsonl", tmp_path / "run", "windows", max_steps=4)
    assert metrics["data"]["encoded"]["train"]["more_windows"] > 0
    loaded, texts = inference.load(str(tmp_path / "run")), [row["text"] for row in rows]
    again = inference.evaluate_rows(str(tmp_path / "run"), Data(str(tmp_path / "train.jsonl")))
    assert len([*again.rows()]) == len(rows)
    answers = [*inference.predict(str(tmp_path / "run"), texts)]
    for text, found, scored in zip(texts, answers, again.rows(), strict=True):
        logits = torch.tensor(by_windows(loaded, text)).mean(dim=0)
        if answer == "score":
            assert found["score"] == pytest.approx(float(logits[0]), abs=1e-5)
            assert scored["prediction"] == pytest.approx(found["score"], abs=1e-5)
        else:
            np.testing.assert_allclose([*found["scores"].values()], logits.sigmoid(), atol=1e-5)
            assert scored["prediction"] == found["labels"]
