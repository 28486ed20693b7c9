"""From the folders of runs to a verdict: the same rows, intervals, and a test for each pair.

Shapes: N rows, K columns of what a row adds to the sums of a score, R resamples.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.compare import comparability, rows, scoring, sentences
from pipeline.compare.contenders import Contender, group
from pipeline.compare.runs import ComparedRun, read_runs, split_of
from pipeline.compare.scoring import RowScores
from pipeline.compare.verdict import LEVEL, Estimate, PairResult, Verdict
from pipeline.errors import UserError
from pipeline.metrics import comparison, power, statistics
from pipeline.metrics.bootstrap import FEWEST_RESAMPLES, bootstrap_sums, number_of_resamples
from pipeline.metrics.decomposed import DecomposedScore
from pipeline.metrics.paired_tests import exchange_sums, holm, permutation_of_runs
from pipeline.metrics.scores import is_lower_better
from pipeline.metrics.stochastic_order import almost_stochastic_order

# Resamples times rows times columns. With hundreds of classes, fewer resamples must do.
MOST_WORK = 4e11


@dataclass(frozen=True)
class Sampled:
    """The scores of a run's rows, and the sums of their contributions on resamples of the rows.

    Attributes:
        rows: the scores.
        sums: name of contributions -> (R, K); the resamples are the same for all runs.
        exchanged: name of contributions -> (R, K) of random halves of the rows, the same for all runs, for those scores
            that approximate randomisation tests.
    """

    rows: RowScores
    sums: Mapping[str, np.ndarray]
    exchanged: Mapping[str, np.ndarray]


Samples = Mapping[str, Sampled]  # by the name of the run


def judge(folders: Sequence[Path], split: str | None = None, common: bool = False, over_seeds: bool = True) -> Verdict:
    """What the rows of finished runs say about the differences of their scores.

    The result does not depend on the order of `folders`.

    Args:
        folders: of finished runs.
        split: test or validation; None: test, or validation if a run has no test split.
        common: compare the rows that all runs have, instead of refusing runs with different rows.
        over_seeds: whether runs that differ only in their seed are one contender.

    Raises:
        UserError: a folder is not that of a finished run, or the runs do not have the same task, labels and rows.
    """
    runs = sorted(read_runs(folders), key=lambda run: run.name)
    contenders, split = group(runs, over_seeds), split_of(runs, split)
    missing = [run for run in runs if not run.predictions_file(split).is_file()]
    if common and missing:
        raise UserError(f"--common: {comparability.without_rows(missing, split)}")
    lacking = {run.name for run in missing}
    tested = [contender for contender in contenders if not any(run.name in lacking for run in contender.runs)]
    compared = [run for contender in tested for run in contender.runs]
    if not compared:
        return _without_tests(contenders, split, [comparability.without_rows(missing, split)] if missing else [])
    aligned = rows.align(compared, {run.name: run.predictions(split) for run in compared}, common)
    found = {run.name: scoring.scores_of(aligned.predictions[run.name], run.scores(split)) for run in compared}
    scores, notes = comparability.scores_and_notes(compared, found, aligned, split)
    notes += [comparability.without_rows(missing, split)] if missing else []
    samples = _sampled(found, scores)
    estimates = {contender.name: _estimates(contender, samples, scores) for contender in tested}
    of_runs = {run.name: _scores_of_run(run, samples, split, common) for run in runs}
    for contender in contenders:
        estimates.setdefault(contender.name, _from_metrics(contender, of_runs))
    ranked = _ranked(contenders, estimates, scores[0])
    pairs = _pairs([contender for contender in ranked if contender.runs[0].name in samples], samples, scores)
    info = aligned.predictions[compared[0].name].info
    verdict = Verdict(info.task, info.problem_type, split, aligned.rows, scores, ranked, estimates, pairs)
    return dataclasses.replace(
        verdict, sentences=sentences.of(verdict), notes=notes, predictions=aligned.predictions, scores_of_runs=of_runs
    )


def _without_tests(contenders: Sequence[Contender], split: str, notes: list[str]) -> Verdict:
    """The scores of metrics.json, of runs that have not kept their rows."""
    runs = [run for contender in contenders for run in contender.runs]
    of_runs = {run.name: run.scores(split) for run in runs}
    estimates = {contender.name: _from_metrics(contender, of_runs) for contender in contenders}
    names = [name for name in dict.fromkeys(name for own in of_runs.values() for name in own) if "." not in name]
    main = comparability.common_monitor(runs)
    scores = [main, *(name for name in names if name != main)] if main in estimates[contenders[0].name] else names
    task, problem_type = comparability.task_of(runs[0])
    ranked = _ranked(contenders, estimates, scores[0])
    return Verdict(task, problem_type, split, 0, scores, ranked, estimates, notes=notes, scores_of_runs=of_runs)


def _sampled(found: Mapping[str, RowScores], scores: Sequence[str]) -> dict[str, Sampled]:
    """The sums of all runs on the same resamples.

    Args:
        scores: names of those that will be tested.
    """
    keys = [(run, name) for run, own in found.items() for name in own.contributions]
    tested = {found[run].scores[name][1] for run in found for name in scores if _is_randomized(found[run], name)}
    arrays = [found[run].contributions[name] for run, name in keys]
    block = next(iter(found.values())).block_length
    size, columns = len(arrays[0]), sum(array.shape[1] for array in arrays)
    resamples = min(number_of_resamples(size // block), max(FEWEST_RESAMPLES, int(MOST_WORK / (size * columns))))
    sums = dict(zip(keys, bootstrap_sums(arrays, resamples, block_length=block), strict=True))
    moved = [key for key in keys if key[1] in tested and len(found) > 1]
    drawn = (
        exchange_sums([found[run].contributions[name] for run, name in moved], resamples, block_length=block)
        if moved
        else []
    )
    exchanged = dict(zip(moved, drawn, strict=True))
    return {
        run: Sampled(
            own, *({name: of[run, name] for name in own.contributions if (run, name) in of} for of in (sums, exchanged))
        )
        for run, own in found.items()
    }


def _is_randomized(own: RowScores, name: str) -> bool:
    return own.scores[name][0].kind not in ("share", "nll")


@dataclass(frozen=True)
class _Side:
    """One score of a contender: the values, contributions (N, K) and resampled sums (R, K) of each run."""

    score: DecomposedScore
    values: list[float]
    contributions: list[np.ndarray]
    sums: list[np.ndarray]
    exchanged: np.ndarray | None
    block_length: int

    @classmethod
    def of(cls, contender: Contender, samples: Samples, name: str) -> _Side:
        own = [samples[run.name] for run in contender.runs]
        score, key = own[0].rows.scores[name]
        values = [sampled.rows.value(name) for sampled in own]
        contributions, sums = (
            [of[key] for of in part] for part in zip(*((o.rows.contributions, o.sums) for o in own), strict=True)
        )
        return cls(score, values, contributions, sums, own[0].exchanged.get(key), own[0].rows.block_length)


def _estimates(contender: Contender, samples: Samples, scores: Sequence[str]) -> dict[str, Estimate]:
    """The scores of a contender that has rows, with intervals; of each class, F1 alone."""
    known = samples[contender.runs[0].name].rows
    wanted = [name for name in known.scores if "." not in name or name.endswith(".f1") or name in scores]
    return {name: _estimate(_Side.of(contender, samples, name)) for name in wanted}


def _estimate(side: _Side) -> Estimate:
    value = statistics.mean(side.values)
    if not math.isfinite(value):
        return Estimate(value)
    found = comparison.estimate(side.score, side.contributions, side.sums, side.block_length, confidence=1 - LEVEL)
    return Estimate(found.value, found.low, found.high)


def _scores_of_run(run: ComparedRun, samples: Samples, split: str, common: bool) -> dict[str, float]:
    """The scores of one run on the rows that are compared; what cannot be computed from rows, as the run has reported
    it, unless rows have been left out."""
    reported = {} if common else run.scores(split)
    own = (
        {name: samples[run.name].rows.value(name) for name in samples[run.name].rows.scores}
        if run.name in samples
        else {}
    )
    return {**reported, **own}


def _from_metrics(contender: Contender, of_runs: Mapping[str, Mapping[str, float]]) -> dict[str, Estimate]:
    own = [of_runs[run.name] for run in contender.runs]
    shared = [name for name in own[0] if all(name in scores for scores in own)]
    return {name: Estimate(statistics.mean(scores[name] for scores in own)) for name in shared}


def _ranked(
    contenders: Sequence[Contender], estimates: Mapping[str, Mapping[str, Estimate]], main: str
) -> list[Contender]:
    """The best first; equal ones by name, and those without the score last."""
    sign = 1.0 if is_lower_better(main) else -1.0

    def key(contender: Contender) -> tuple[float, str]:
        estimate = estimates[contender.name].get(main)
        return (math.inf if estimate is None or math.isnan(estimate.value) else sign * estimate.value, contender.name)

    return sorted(contenders, key=key)


def _pairs(ranked: Sequence[Contender], samples: Samples, scores: Sequence[str]) -> list[PairResult]:
    """Every pair of contenders for each of `scores`, with p-values corrected over the pairs of a score."""
    sides = list(itertools.combinations(ranked, 2))
    found = []
    for name in scores:
        pairs = [_pair(one, other, samples, name, LEVEL / len(sides)) for one, other in sides]
        found += _corrected([pair for pair in pairs if pair is not None])
    return found


def _pair(first: Contender, second: Contender, samples: Samples, name: str, level: float) -> PairResult | None:
    """The test of one pair; None if the score of one of them is infinite.

    Args:
        level: of significance, at which the detectable difference is computed.
    """
    one, other = (_Side.of(contender, samples, name) for contender in (first, second))
    if not np.isfinite([*one.values, *other.values]).all():
        return None
    test = comparison.paired_test(
        one.score,
        *(one.contributions, other.contributions),
        *(one.sums, other.sums),
        *(one.exchanged, other.exchanged),
        one.block_length,
        confidence=1 - LEVEL,
    )
    both, lower = min(first.seeds, second.seeds) > 1, one.score.lower_is_better
    return PairResult(
        first.name,
        second.name,
        name,
        Estimate(test.difference, test.low, test.high),
        None,
        test.name,
        test.p_value,
        test.p_value,
        _detectable(test, len(one.contributions[0]), level),
        permutation_of_runs(one.values, other.values) if both else None,
        almost_stochastic_order(one.values, other.values, lower_is_better=lower) if both else None,
        test.mid_p_value,
    )


def _detectable(test: comparison.TestResult, size: int, level: float) -> float | None:
    """The smallest difference that the test finds in 80 of 100 cases at this level."""
    if test.discordant_share is not None:
        found = power.detectable_difference_of_shares(test.discordant_share, size, level)
    else:
        found = power.detectable_difference(test.standard_error, test.degrees_of_freedom, level)
    return found if math.isfinite(found) else None


def _corrected(pairs: Sequence[PairResult]) -> list[PairResult]:
    """Pairs of one score with Holm's correction, and which side is the better one."""
    return [
        dataclasses.replace(pair, adjusted_p_value=p, better=_better(pair) if p < LEVEL else None)
        for pair, p in zip(pairs, holm([pair.p_value for pair in pairs]), strict=True)
    ]


def _better(pair: PairResult) -> str | None:
    if pair.difference.value == 0:
        return None
    return pair.first if (pair.difference.value < 0) == is_lower_better(pair.score) else pair.second
