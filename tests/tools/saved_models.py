"""A short run of each kind of model whose saved folder the tools load."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pipeline import run as runs
from pipeline.config.data import Data
from pipeline.config.models import Recurrent, Scratch
from pipeline.config.recipe import Recipe
from pipeline.config.training import Optim, Train

REVIEWS = [
    ("a lovely book", "good"),
    ("a tedious book", "bad"),
    ("what a lovely end", "good"),
    ("dreary to read", "bad"),
    ("neither here nor there , it just ends", "mixed"),
]
SENTENCES = [
    [("Grace", "B-PER"), ("Hopper", "I-PER"), ("sailed", "O"), ("to", "O"), ("Lisbon", "B-LOC")],
    [("Lisbon", "B-LOC"), ("is", "O"), ("far", "O"), ("from", "O"), ("New", "B-LOC"), ("York", "I-LOC")],
]
POEM = ["the fog comes", "on little cat feet", "it sits looking", "over harbor and city", "and then moves on"]

SMALL: dict[str, Any] = {"hidden_size": 16, "embedding_size": 12, "dropout": 0.0, "embedding_dropout": 0.0}
# name -> task, data and model. The tools are asked for what is special in each.
MODELS: dict[str, tuple[str, str, Any]] = {
    "classifier": ("sentiment", "reviews", Recurrent(**SMALL)),
    "bidirectional": ("sentiment", "reviews", Recurrent(**SMALL, cell="gru", bidirectional=True, pooling="mean")),
    "attention": ("sentiment", "reviews", Recurrent(**SMALL, bidirectional=True, layers=2, pooling="attention")),
    "pairs": ("sentiment", "pairs", Recurrent(**SMALL)),
    "several-labels": ("sentiment", "topics", Recurrent(**SMALL, cell="rnn", pooling="max")),
    "number": ("sentiment", "ratings", Recurrent(**SMALL)),
    "bert": ("sentiment", "reviews", Scratch(hidden_size=16, layers=1)),
    "tagger": ("ner", "names", Recurrent(**SMALL, bidirectional=True)),
    "tagger-bioes": ("ner", "names", Recurrent(**SMALL, bidirectional=True)),
    "tagger-crf": ("ner", "names", Recurrent(**SMALL, cell="gru", bidirectional=True, crf=True)),
    "tagger-characters": ("ner", "names", Recurrent(**SMALL, char_encoder="cnn")),
    "tagger-bert-crf": ("ner", "names", Scratch(hidden_size=16, layers=1, crf=True)),
    "language-model": ("next_word", "poem", Recurrent(**SMALL)),
    "language-model-tied": ("next_word", "poem", Recurrent(**SMALL, cell="gru", layers=2, tie_embeddings=True)),
    "language-model-gpt2": ("next_word", "poem", Scratch("gpt2", hidden_size=16, layers=1)),
}


def write_data(root: Path) -> dict[str, Path]:
    """Write the files to train on; returns the path of each by its name."""
    rows = [(f"{text} {number}", label, number) for number in range(24) for text, label in REVIEWS]
    tables: dict[str, list[dict[str, Any]]] = {
        "reviews": [{"text": text, "label": label} for text, label, _ in rows],
        "pairs": [{"sentence1": text, "sentence2": text[::2], "label": label} for text, label, _ in rows],
        "topics": [{"text": text, "label": [label] + ["odd"] * (number % 2)} for text, label, number in rows],
        "ratings": [{"text": text, "label": 0.5 + (label == "good") + number / 7} for text, label, number in rows],
    }
    files = {name: root / f"{name}.jsonl" for name in tables}
    for name, table in tables.items():
        files[name].write_text("".join(json.dumps(row) + "\n" for row in table), encoding="utf-8")
    files |= {"names": root / "names.conll", "poem": root / "poem.txt"}
    sentences = ["".join(f"{word}\t{tag}\n" for word, tag in SENTENCES[n % 2] + [(f"n{n}", "O")]) for n in range(60)]
    files["names"].write_text("\n".join(sentences), encoding="utf-8")
    files["poem"].write_text("\n".join(POEM * 20) + "\n", encoding="utf-8")
    return files


def train_all(root: Path, names: list[str] | None = None) -> dict[str, Path]:
    """Train the models called `names` (None: all) in `root`; returns the folder of each saved model."""
    files = write_data(root)
    for name in names or MODELS:
        task, data, model = MODELS[name]
        scheme = "bioes" if name.endswith("bioes") else None
        settings = Data(str(files[data]), max_length=32, **({"scheme": scheme} if scheme else {}))
        training = Train(epochs=12 if task == "ner" else 6, batch_size=16, output_dir=str(root / name))
        runs.train(Recipe(name, task, settings, model, Optim(3e-2), training))
    return {name: root / name / "model" for name in names or MODELS}
