"""What the claims need besides finished runs: each function returns figures for a JSON file."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.studies.claims import recall

if TYPE_CHECKING:
    from pipeline.models.recurrent import RecurrentForSequenceClassification

Figures = dict[str, Any]
# Runs by the seed's place: the same seeds for each name.
Runs = Mapping[str, Sequence[Path]]
WIDTH = 128


def rounded(values: Sequence[float] | np.ndarray) -> list[float]:
    """Four significant digits, so that a file stays readable."""
    return [float(f"{value:.4g}") for value in values]


def gradient_norms(runs: Runs, noise: int, texts: int = 64) -> Figures:
    """Medians over texts of the relative norm of the gradient, by distance: of fresh weights, and of those in `runs`.

    Args:
        runs: name of a cell -> its runs on the memory task.
        noise: words of noise in each text.
        texts: how many of them.
    """
    import torch

    rows = [recall.text_of(noise, number, random.Random(number)) for number in range(texts)]
    start: dict[str, list[list[float]]] = {}
    trained: dict[str, list[list[float]]] = {}
    for name, folders in runs.items():
        for seed, folder in enumerate(folders):
            model, ids, labels = _loaded(folder, rows)
            torch.manual_seed(seed)
            fresh = type(model)(model.config).eval()
            for found, each in ((start, fresh), (trained, model)):
                for label, medians in _medians(each, ids, labels, name).items():
                    found.setdefault(label, []).append(medians)
            if model.config.cell_type == "rnn":
                start.setdefault(f"{name}, uniform", []).append(_of_torch(fresh, ids, labels))
    return {"noise": noise, "texts": texts, "start": start, "trained": trained}


def _loaded(folder: Path, rows: Sequence[tuple[str, str]]) -> tuple[RecurrentForSequenceClassification, Any, Any]:
    """The model of a run, and the ids of the texts in `rows` and of their labels."""
    import torch
    from transformers import AutoTokenizer

    from pipeline.models.recurrent import RecurrentForSequenceClassification

    model = RecurrentForSequenceClassification.from_pretrained(folder / "model").eval()
    tokenizer = AutoTokenizer.from_pretrained(folder / "model")
    ids = tokenizer([text for text, _ in rows], return_tensors="pt", add_special_tokens=False)["input_ids"]
    return model, ids, torch.tensor([model.config.label2id[label] for _, label in rows])


def _medians(model: RecurrentForSequenceClassification, ids: Any, labels: Any, name: str) -> dict[str, list[float]]:
    from pipeline.studies.claims import gradients

    found = gradients.state_gradients(model, ids, labels)
    parts = {name: None, f"{name}, h alone": 0} if found.shape[1] > 1 else {name: None}
    return {
        label: rounded(np.median(gradients.norms_by_distance(found, part), axis=1)) for label, part in parts.items()
    }


def _of_torch(model: RecurrentForSequenceClassification, ids: Any, labels: Any) -> list[float]:
    from pipeline.studies.claims import gradients

    gradients.start_like_torch(model)
    return _medians(model, ids, labels, "rnn")["rnn"]


def accuracy_by_length(runs: Runs) -> Figures:
    """Accuracy on test texts by their length, and the longest one that is recalled.

    Args:
        runs: name -> its runs on the memory task.

    Returns:
        name -> `by_length`: length -> value, low, high (over seeds and rows) and the value of each seed; `longest`.
    """
    return {name: _by_length([_correct(folder) for folder in folders]) for name, folders in runs.items()}


def _correct(folder: Path) -> dict[int, np.ndarray]:
    from pipeline import predictions, run_folder

    table = predictions.read(run_folder.predictions_of(folder, "test")).table
    texts, gold, answers = (table.column(name).to_pylist() for name in ("text", "gold", "prediction"))
    return recall.correct_by_length(texts, [one == other for one, other in zip(gold, answers, strict=True)])


def _by_length(seeds: Sequence[dict[int, np.ndarray]]) -> Figures:
    from pipeline.metrics.comparison import estimate
    from pipeline.metrics.decomposed import ACCURACY, weighted

    found: Figures = {}
    for length in seeds[0]:
        interval = estimate(ACCURACY, [weighted(correct[length]) for correct in seeds])
        found[str(length)] = {
            "value": interval.value,
            "low": interval.low,
            "high": interval.high,
            "seeds": rounded([float(correct[length].mean()) for correct in seeds]),
        }
    return _with_longest(found)


def _with_longest(by_length: Figures) -> Figures:
    lows = {int(length): each["low"] for length, each in by_length.items()}
    return {"by_length": by_length, "longest": recall.longest_recalled(lows)}


def joined(parts: Sequence[Figures]) -> Figures:
    """What `accuracy_by_length` has found about models of different lengths, as if about one."""
    return {
        name: _with_longest({length: each for part in parts for length, each in part[name]["by_length"].items()})
        for name in parts[0]
    }


def layer_sizes(cells: Sequence[str]) -> Figures:
    """Parameters of a layer of each cell that reads and returns `WIDTH` features: all, and the recurrent matrix's."""
    from pipeline.models.recurrent import RecurrentConfig, RecurrentModel

    found: Figures = {}
    for cell in cells:
        config = RecurrentConfig(vocab_size=8, embedding_size=WIDTH, units=WIDTH, cell_type=cell)
        parameters = dict(RecurrentModel(config).layers[0].named_parameters())
        sizes = {name.removesuffix("_l0"): parameter.numel() for name, parameter in parameters.items()}
        found[cell] = {"parameters": sum(sizes.values()), **sizes}
    return {"cells": found}


def compared(runs: Runs, page: Path) -> Figures:
    """The verdict on the contenders in `runs`, which `page` shows as well."""
    from pipeline.compare.judging import judge
    from pipeline.compare.page import write

    verdict = judge([folder for folders in runs.values() for folder in folders])
    write(page, verdict)
    return _without_places(verdict.to_json())


def _without_places(found: Figures) -> Figures:
    """The same without folders, so that two machines leave the same file, and with contenders named after recipes even
    if they have a single run."""

    def named(name: str | None) -> str | None:
        return name and name.partition("-seed-")[0]

    contenders = [
        {
            "name": named(each["name"]),
            "scores": each["scores"],
            "runs": [run["name"] for run in each["runs"]],
            "train": [run["train"] for run in each["runs"]],
        }
        for each in found["contenders"]
    ]
    pairs = [{**pair, **{side: named(pair[side]) for side in ("first", "second", "better")}} for pair in found["pairs"]]
    return {**found, "contenders": contenders, "pairs": pairs}
