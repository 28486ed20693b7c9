"""A floor for classifiers that start from word vectors: logistic regression on the vectors of a text in any order.

It reads the data of a recipe as the recipe does, fits on the training split, chooses the strength of the L2 penalty on
validation, and prints accuracies as Markdown: for the mean of the vectors, and for mean, minimum and maximum.

    python scripts/mean_of_vectors.py recipes/sentiment_glove.py
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import tyro
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from pipeline.assembly import prepare_for
from pipeline.config.loading import load_recipe
from pipeline.data.sources import locate
from pipeline.errors import UserError, report
from pipeline.models.embeddings import load_vectors
from pipeline.tasks.base import load_task

# Inverse strengths of the penalty.
STRENGTHS = (0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)

# (T, E) vectors of a text -> its features.
FEATURES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "mean": lambda vectors: vectors.mean(axis=0),
    "mean, minimum, maximum": lambda vectors: np.concatenate(
        [vectors.mean(axis=0), vectors.min(axis=0), vectors.max(axis=0)]
    ),
}


@dataclass(frozen=True)
class Options:
    """Score logistic regression on the word vectors of a recipe."""

    recipe: tyro.conf.Positional[Path]
    """Recipe of the task sentiment, with model.vectors."""


def measure(options: Options) -> None:
    """Print the accuracies on validation and test, a row for each kind of features."""
    recipe = load_recipe(str(options.recipe))
    vectors = getattr(recipe.model, "vectors", None)
    if vectors is None:
        raise UserError(f"{options.recipe}: it has no model.vectors")
    prepared = prepare_for(recipe, load_task(recipe.task), locate(recipe.data, recipe.task))
    matrix = load_vectors(vectors, prepared.tokenizer.get_vocab(), seed=0).matrix.numpy()
    labels = {name: rows.data.column("label").to_numpy() for name, rows in prepared.splits.items()}
    print("| features | validation | test |", "| --- | --- | --- |", sep="\n")
    for title, of_text in FEATURES.items():
        read = {name: features(rows.data["input_ids"], matrix, of_text) for name, rows in prepared.splits.items()}
        scores = best_scores(read, labels)
        print(f"| {title} | {scores['validation']:.4f} | {scores['test']:.4f} |", flush=True)


def features(rows: pa.ChunkedArray, matrix: np.ndarray, of_text: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """What `of_text` makes of each of N lists of ids, by their vectors in `matrix` (V, E); zeros for an empty one."""
    empty = np.zeros((1, matrix.shape[1]), matrix.dtype)
    return np.stack([of_text(matrix[ids] if ids else empty) for ids in rows.to_pylist()])


def best_scores(read: dict[str, np.ndarray], labels: dict[str, np.ndarray]) -> dict[str, float]:
    """Accuracy by split, of the strength that is best on validation."""

    def fit(strength: float) -> Pipeline:
        classifier = LogisticRegression(C=strength, max_iter=1000)
        return make_pipeline(StandardScaler(), classifier).fit(read["train"], labels["train"])

    fitted = [{name: model.score(read[name], labels[name]) for name in read} for model in map(fit, STRENGTHS)]
    return max(fitted, key=lambda scores: scores["validation"])


if __name__ == "__main__":
    try:
        measure(tyro.cli(Options))
    except UserError as error:
        sys.exit(report(error))
