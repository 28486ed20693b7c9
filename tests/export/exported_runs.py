"""A small run for tests of exports, which takes two seconds to train and one to export."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from conftest import NEGATIVE, POSITIVE

from pipeline import run as runs
from pipeline.config.data import Data
from pipeline.config.models import Recurrent
from pipeline.config.recipe import Recipe
from pipeline.config.training import Optim, Train

ROWS = [("text", "label"), *((f"{text} {n}", "good") for n in range(12) for text in POSITIVE)]
ROWS += [(f"{text} {n}", "bad") for n in range(12) for text in NEGATIVE]


def train(folder: Path, **model: Any) -> Path:
    """Train a BiLSTM that tells the reviews of these tests apart; returns the folder of the run."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "reviews.csv").write_text("".join(f'"{text}",{label}\n' for text, label in ROWS))
    settings = {"hidden_size": 32, "embedding_size": 32, "bidirectional": True, "pooling": "max", **model}
    training = Train(epochs=8, batch_size=8, output_dir=str(folder / "run"))
    data = Data(str(folder / "reviews.csv"))
    runs.train(Recipe("tiny", "sentiment", data, Recurrent(**settings), Optim(learning_rate=0.05), training))
    return folder / "run"
