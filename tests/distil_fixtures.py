"""A small teacher, and texts for it to answer."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shop(tmp_path_factory) -> Path:
    """A folder with reviews.csv, other.txt, of sentences without labels, and the finished run `teacher`."""
    from conftest import NEGATIVE, POSITIVE  # here: conftest names this module as a plugin

    from pipeline.config.data import Data
    from pipeline.config.models import Recurrent
    from pipeline.config.recipe import Recipe
    from pipeline.config.training import Optim, Train
    from pipeline.run import train

    folder, words = tmp_path_factory.mktemp("shop"), " ".join(POSITIVE + NEGATIVE).split()
    rows = [
        f'"{text} {number}",{label}\n'
        for number in range(20)
        for label, texts in (("positive", POSITIVE), ("negative", NEGATIVE))
        for text in texts
    ]
    (folder / "reviews.csv").write_text("text,label\n" + "".join(rows))
    lines = (" ".join(words[number % 7 : number % 7 + 4 + number % 9]) + f" {number} .\n" for number in range(120))
    (folder / "other.txt").write_text("".join(lines))
    model, data = Recurrent(hidden_size=12, embedding_size=8, pooling="max"), Data(str(folder / "reviews.csv"))
    settings = Train(output_dir=str(folder / "teacher"), epochs=2, batch_size=8)
    train(Recipe("teacher", "sentiment", data, model, Optim(learning_rate=0.02), settings))
    return folder


@pytest.fixture
def asked(monkeypatch) -> list[str]:
    """The texts that a teacher was asked about."""
    from pipeline.distil.answers import Questions

    found: list[str] = []
    original = Questions.answer
    monkeypatch.setattr(Questions, "answer", lambda self, own: (found.extend(own), original(self, own))[1])
    return found
