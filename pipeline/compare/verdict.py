"""What a comparison has found: scores with their intervals, pairs with their tests, and sentences about them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pipeline.compare.contenders import Contender
from pipeline.metrics.scores import is_lower_better
from pipeline.predictions import Predictions

LEVEL = 0.05


@dataclass(frozen=True)
class Estimate:
    """A figure with its confidence interval.

    Attributes:
        value: the figure itself, over all rows; over several seeds the mean.
        low, high: bounds of the interval; None if there are no rows to compute it from.
    """

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class PairResult:
    """A score of two contenders, and whether they differ.

    Attributes:
        first, second: names of the contenders; `first` is the one with the better main score.
        score: name of the score.
        difference: score of the first minus score of the second, and its interval.
        better: name of the better one if the test finds a difference at the level of the verdict, after correction;
            None if it finds none.
        test: name of the test.
        p_value: its p-value, not corrected.
        adjusted_p_value: p-value after Holm's correction over all pairs of this score.
        detectable: the smallest difference, at least 0, that such a test finds on this many rows in 80 of 100 cases, at
            the first step of Holm's correction (level / number of pairs), in units of the score; None if that cannot be
            computed.
        over_seeds_p_value: p-value of the permutation test over whole runs; None if a side has a single run.
        aso: epsilon of almost stochastic order of the first over the second, in [0, 1], below 0.5 if the first is
            better; None if a side has a single run.
        mid_p_value: McNemar's mid-p-value, not corrected; None for other tests.
    """

    first: str
    second: str
    score: str
    difference: Estimate
    better: str | None
    test: str
    p_value: float
    adjusted_p_value: float
    detectable: float | None = None
    over_seeds_p_value: float | None = None
    aso: float | None = None
    mid_p_value: float | None = None


@dataclass(frozen=True)
class Verdict:
    """The result of a comparison.

    Attributes:
        task: name of the task.
        problem_type: transformers' name for the type of answers; None for tasks without.
        split: the split that is compared.
        rows: number of rows that are compared; 0 if a run has not kept its rows, and then there are no intervals,
            pairs and predictions.
        scores: names of the scores, the main one first.
        contenders: the best first, by the main score; equal ones by name.
        estimates: name of contender -> name of score -> estimate. A contender may lack a score.
        pairs: every pair of contenders, for each score; those of the main score first.
        sentences: what the pairs say about the main score, in words, one for each pair.
        notes: what a reader must know beside the figures, such as how many rows have been left out.
        predictions: name of run -> its predictions, of the rows that are compared and in the same order for all runs.
        scores_of_runs: name of run -> name of score -> its value on the rows that are compared.
        level: the level of significance; 1 - level is the confidence of the intervals.
    """

    task: str
    problem_type: str | None
    split: str
    rows: int
    scores: list[str]
    contenders: list[Contender]
    estimates: Mapping[str, Mapping[str, Estimate]]
    pairs: list[PairResult] = field(default_factory=list)
    sentences: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    predictions: Mapping[str, Predictions] = field(default_factory=dict)
    scores_of_runs: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    level: float = LEVEL

    @property
    def main_score(self) -> str:
        """The score that ranks the contenders."""
        return self.scores[0]

    @property
    def best(self) -> Contender:
        """The contender with the best main score."""
        return self.contenders[0]

    def is_lower_better(self, score: str) -> bool:
        """Whether a lower value of `score` is the better one."""
        return is_lower_better(score)

    def pairs_of(self, score: str) -> list[PairResult]:
        """The pairs of one score."""
        return [pair for pair in self.pairs if pair.score == score]

    def to_json(self) -> dict[str, Any]:
        """Every figure, for `json.dumps`; one that is infinite or not a number is None."""
        return _finite(
            {
                "task": self.task,
                "problem_type": self.problem_type,
                "split": self.split,
                "rows": self.rows,
                "confidence": 1 - self.level,
                "scores": self.scores,
                "lower_is_better": [score for score in self.scores if self.is_lower_better(score)],
                "contenders": [self._contender(contender) for contender in self.contenders],
                "pairs": [dataclasses.asdict(pair) for pair in self.pairs],
                "sentences": self.sentences,
                "notes": self.notes,
            }
        )

    def _contender(self, contender: Contender) -> dict[str, Any]:
        estimates = self.estimates[contender.name]
        runs = [
            {
                "name": run.name,
                "folder": str(run.folder),
                "scores": dict(self.scores_of_runs.get(run.name, {})),
                "train": run.metrics["train"],
            }
            for run in contender.runs
        ]
        scores = {score: dataclasses.asdict(estimate) for score, estimate in estimates.items()}
        return {"name": contender.name, "scores": scores, "runs": runs}


def _finite(value: Any) -> Any:
    """`value` with None for each number that JSON does not have."""
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
