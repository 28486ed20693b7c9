"""A number for each text or pair of texts, such as a rating or the similarity of two sentences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pyarrow as pa
import torch
from transformers import PreTrainedModel

from pipeline.config.distil import Distil
from pipeline.data.rows import numpy_column
from pipeline.errors import UserError
from pipeline.models.layers import output_layer
from pipeline.predictions import Predictions
from pipeline.tasks.base import Batch
from pipeline.tasks.text_answers import TextAnswers
from pipeline.training import divergences

if TYPE_CHECKING:
    from datasets import Dataset

# A mean of more standard deviations than this is far from 0.
FAR = 3
# The name of the model's only output, where a classifier has the names of its classes.
OUTPUT = "score"


class Regression(TextAnswers):
    """A number for each text. Shapes: B rows of a batch, N rows of a split. The model's output is the number itself, in
    the units of the data."""

    problem_type: ClassVar[str | None] = "regression"
    monitor: ClassVar[str] = "mse"
    names_classes: ClassVar[bool] = False
    lower_is_better: ClassVar[bool] = True
    unused: ClassVar[Mapping[str, str]] = {
        "class_weights": "the labels are numbers, so there are no classes to weight",
        "label_smoothing": "the labels are numbers, so there are no classes to smooth over",
        "threshold": "the labels are numbers, so nothing is decided by a threshold",
    }

    unused_of_distil: ClassVar[Mapping[str, str]] = {
        "temperature": "the labels are numbers, so there are no probabilities to soften",
    }

    def recall(self, config: Any) -> None:
        super().recall(config)
        if config.num_labels != 1:
            raise UserError(f"model: it has {config.num_labels} numbers for each text; expected one")

    def monitors(self, labels: Sequence[str]) -> Sequence[str]:
        return ("loss", "mse", "pearson", "spearman")

    def labels(self, source_label_names: Sequence[str] | None, splits: Mapping[str, Dataset]) -> list[str]:
        """The name of the only output.

        Raises:
            UserError: every row of train has the same number.
        """
        numbers = numpy_column(splits["train"], "label")
        if np.ptp(numbers) == 0:
            raise UserError(
                f"data.label_column: every row of train has the number {numbers[0]:g}, which leaves nothing to learn"
            )
        return [OUTPUT]

    def targets(self, answers: list[Any], labels: list[str]) -> pa.Array:
        """The numbers as they are."""
        return pa.array(answers, pa.float64())

    def no_targets(self, count: int, labels: list[str]) -> pa.Array:
        return pa.nulls(count, pa.float64())

    def divergence(self, student: torch.Tensor, teacher: torch.Tensor, settings: Distil) -> torch.Tensor:
        return divergences.of_numbers(student, teacher, self.output_scale)

    def stacked(self, targets: pa.ChunkedArray) -> torch.Tensor:
        """(B,) float32, NaN where there is no number."""
        return torch.from_numpy(targets.to_numpy().astype(np.float32))

    def start(self, model: PreTrainedModel, train: Dataset) -> dict[str, Any]:
        """Let the model begin at the mean of the training numbers, and learn on the scale of their standard deviation:
        as with standardised numbers, but the outputs are in the units of the data from the beginning."""
        numbers = numpy_column(train, "label")
        mean, self.output_scale = float(numbers.mean()), float(numbers.std())
        layer = output_layer(model)
        if layer is None:
            return {}
        with torch.no_grad():
            layer.weight.mul_(self.output_scale)
            if layer.bias is not None:
                layer.bias.fill_(mean)
        if layer.bias is None and abs(mean) > FAR * self.output_scale:
            slow = f"have the mean {mean:g}, which an output layer without a bias learns slowly; subtract it"
            return {"numbers": slow}
        return {}

    def outcome(self, outputs: Any, batch: Batch) -> dict[str, Any]:
        logits = outputs.logits.float()  # (B, 1)
        return {"prediction": logits[:, 0], "label": batch["labels"], "logits": logits}

    def score(self, outcome: dict[str, Any], labels: list[str]) -> dict[str, Any]:
        """`loss` is the mean squared error."""
        return _scores(outcome["label"], outcome["prediction"])

    def recorded(self, outcome: dict[str, Any], labels: list[str]) -> dict[str, pa.Array]:
        """Both numbers, as the model reads and gives them, in float32, and the `squared_error`."""
        gold, prediction = (outcome[name].astype(np.float64) for name in ("label", "prediction"))
        columns = {"gold": gold, "prediction": prediction, "squared_error": np.square(prediction - gold)}
        return {name: pa.array(values) for name, values in columns.items()}

    def score_rows(self, rows: Predictions) -> dict[str, Any]:
        return _scores(rows.table["gold"].to_numpy(), rows.table["prediction"].to_numpy())

    def concern(self, scores: dict[str, Any]) -> str | None:
        """Warns if the predictions tell nothing about the order of the texts."""
        return "every text gets the same number" if scores["pearson"] == scores["spearman"] == 0.0 else None

    def answers(self, logits: torch.Tensor, labels: list[str]) -> Iterator[dict[str, Any]]:
        """The number as `score`, as transformers' own pipeline calls it."""
        for number in logits[:, 0].tolist():
            yield {OUTPUT: number}


def _scores(label: np.ndarray, prediction: np.ndarray) -> dict[str, Any]:
    """Scores of numbers, both (N,)."""
    from pipeline.metrics import regression  # takes a second, and prediction needs no metric

    metric = regression.Regression(keep_in_memory=True)
    scores = metric.compute(predictions=prediction, references=label) or {}
    return {"loss": scores["mse"], **scores}
