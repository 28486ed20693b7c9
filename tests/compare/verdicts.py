"""A verdict with made-up intervals and tests, for tests of what shows it; `judge` makes the real ones."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

from pipeline.compare.contenders import group
from pipeline.compare.runs import read_runs
from pipeline.compare.verdict import Estimate, PairResult, Verdict
from pipeline.metrics import statistics
from pipeline.metrics.scores import is_lower_better


def a_verdict(folders: Sequence[Path], split: str = "test") -> Verdict:
    """The scores of metrics.json with intervals of 0.02 to each side; every pair differs, with p = 0.01."""
    contenders = group(read_runs(folders))
    monitor = contenders[0].runs[0].monitor
    sign = 1 if is_lower_better(monitor) else -1
    found = contenders[0].runs[0].scores(split)
    scores = [monitor, *(name for name in found if "." not in name and name != monitor)]
    values = {
        contender.name: {s: statistics.mean(run.scores(split)[s] for run in contender.runs) for s in scores}
        for contender in contenders
    }
    contenders.sort(key=lambda contender: (sign * values[contender.name][monitor], contender.name))
    estimates = {name: {s: Estimate(v, v - 0.02, v + 0.02) for s, v in own.items()} for name, own in values.items()}
    pairs = []
    for score, (one, other) in itertools.product(scores, itertools.combinations(contenders, 2)):
        gap = values[one.name][score] - values[other.name][score]
        better = one if (gap < 0) == is_lower_better(score) else other
        difference = Estimate(gap, gap - 0.01, gap + 0.01)
        pairs.append(PairResult(one.name, other.name, score, difference, better.name, "made up", 0.01, 0.02, 0.03))
    sentences = [f"{pair.first} is better than {pair.second}." for pair in pairs if pair.score == monitor]
    predictions = {run.name: run.predictions(split) for contender in contenders for run in contender.runs}
    info = next(iter(predictions.values())).info
    rows = next(iter(predictions.values())).table.num_rows
    return Verdict(
        info.task, info.problem_type, split, rows, scores, contenders, estimates, pairs, sentences, [], predictions
    )
