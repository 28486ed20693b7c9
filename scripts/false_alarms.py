"""How often the tests of `finetune compare` find a difference where there is none, and intervals hold the true value.

Simulated runs are equally good, right on different rows, and alike in that the same rows are hard for all:

    python scripts/false_alarms.py
    python scripts/false_alarms.py --simulations 500 --only loss
    python scripts/false_alarms.py --speed

A test at 0.05 should find a difference in 5 % of pairs, and a 95 % interval should hold the true value in 95 %.
"""

from __future__ import annotations

import itertools
import resource
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import tyro

from pipeline.metrics import comparison, decomposed, paired_tests, stochastic_order
from pipeline.metrics.bootstrap import bootstrap_sums, default_block_length

ALPHA = 0.05
# Fewer than `finetune compare` draws: with 999, a test at 0.05 has the same rate of false alarms, but less power.
RESAMPLES = 999


@dataclass(frozen=True)
class Options:
    """Measure the rates of false alarms and the coverage of intervals, or the time that comparisons take."""

    simulations: int = 4000
    """Pairs of equal systems for each line."""
    only: str = ""
    """Only lines that contain this."""
    speed: bool = False
    """Measure CPU time and memory instead."""


# A system: contributions (N, K) of each of its runs.
System = list[np.ndarray]
Draw = Callable[[np.random.Generator], tuple[System, System]]


@dataclass(frozen=True)
class Design:
    """A way to draw two equally good systems on the same rows.

    Attributes:
        name: of the line.
        score: that is compared.
        draw: generator -> the two systems.
        block_length: as for `comparison.paired_test`.
    """

    name: str
    score: decomposed.DecomposedScore
    draw: Draw
    block_length: int = 1


def classes(
    rows: int, seeds: int, spread: float, hits: Callable[[np.ndarray, np.ndarray], np.ndarray], labels: int = 3
) -> Draw:
    """Classifiers: a row has a difficulty, and a run a skill that varies by `spread` logits over seeds.

    `hits` turns predictions and gold (N,) into contributions.
    """

    def draw(generator: np.random.Generator) -> tuple[System, System]:
        gold = generator.choice(labels, size=rows, p=_shares(labels))
        easy = generator.normal(2.5, 2.0, rows)  # logit of the chance to be right: 0.85 on average

        def run() -> np.ndarray:
            right = generator.random(rows) < _sigmoid(easy + generator.normal(0, spread))
            wrong = (gold + generator.integers(1, labels, rows)) % labels
            return hits(np.where(right, gold, wrong), gold)

        return [run() for _ in range(seeds)], [run() for _ in range(seeds)]

    return draw


def _shares(labels: int) -> np.ndarray:
    weights = 1 / np.arange(1, labels + 1)
    return weights / weights.sum()


def _sigmoid(values: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-values))


def entities(rows: int, seeds: int, spread: float) -> Draw:
    """Taggers: 0 to some entities a sentence, of two types, some missed and some invented."""

    def draw(generator: np.random.Generator) -> tuple[System, System]:
        support = generator.poisson(generator.gamma(1.0, 1.0, (rows, 1)) * np.array([1.0, 0.5]))
        easy = generator.normal(1.8, 1.2, (rows, 1))

        def run() -> np.ndarray:
            skill = _sigmoid(easy + generator.normal(0, spread))
            hits = generator.binomial(support, skill)
            invented = generator.poisson(0.4 * (1 - skill), support.shape)
            borders = generator.binomial(support - hits, 0.5)
            return np.concatenate([hits, support, hits + borders + invented], axis=1).astype(np.float64)

        return [run() for _ in range(seeds)], [run() for _ in range(seeds)]

    return draw


def likelihoods(rows: int, seeds: int, spread: float, dependence: float = 0.0, ratio: float = 1.0) -> Draw:
    """Language models: rows of 1 to some 40 tokens, of which the NLL is skewed; neighbours may be alike.

    Over seeds the NLL varies by the share `spread`, and that of the second system by `ratio` times as much.
    """

    def draw(generator: np.random.Generator) -> tuple[System, System]:
        tokens = generator.poisson(20, rows) + 1.0
        hard = generator.gamma(4.0, 1.0, rows)

        def run(deviation: float) -> np.ndarray:
            own = _neighbours(generator, rows, dependence)
            nll = tokens * hard * np.exp(0.2 * own + generator.normal(-(deviation**2) / 2, deviation))
            return decomposed.weighted(nll, tokens)

        return [run(spread) for _ in range(seeds)], [run(ratio * spread) for _ in range(seeds)]

    return draw


def _neighbours(generator: np.random.Generator, rows: int, dependence: float) -> np.ndarray:
    """(N,) standard normal numbers, of which neighbours correlate by `dependence` (autoregressive of order 1)."""
    noise = generator.normal(size=rows)
    if dependence:
        from scipy.signal import lfilter

        noise[1:] *= np.sqrt(1 - dependence**2)
        noise = lfilter([1.0], [1.0, -dependence], noise)
    return noise


def numbers(rows: int, contributions: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> Draw:
    """Regression: errors with heavy tails around the true numbers."""

    def draw(generator: np.random.Generator) -> tuple[System, System]:
        gold = generator.normal(size=rows)
        shared = 0.5 * generator.standard_t(5, rows)
        first, second = (gold + shared + 0.5 * generator.standard_t(5, rows) for _ in range(2))
        return [contributions(first, gold)], [contributions(second, gold)]

    return draw


def _correct(predictions: np.ndarray, gold: np.ndarray) -> np.ndarray:
    return decomposed.weighted(predictions == gold)


def _counts(predictions: np.ndarray, gold: np.ndarray) -> np.ndarray:
    return decomposed.class_counts(predictions, gold, 3)


def _squared(predictions: np.ndarray, gold: np.ndarray) -> np.ndarray:
    return decomposed.weighted((predictions - gold) ** 2)


def designs() -> Iterator[Design]:
    """Every line of the table."""
    of_one = [100, 853, 3000]
    for rows in of_one:
        yield Design(f"accuracy, {rows} rows", decomposed.ACCURACY, classes(rows, 1, 0.0, _correct))
    for rows in of_one:
        yield Design(f"macro F1, {rows} rows", decomposed.MACRO_F1, classes(rows, 1, 0.0, _counts))
    for rows in of_one:
        yield Design(f"entity F1, {rows} rows", decomposed.F1, entities(rows, 1, 0.0))
    for rows in of_one:
        yield Design(f"loss, {rows} rows", decomposed.LOSS, likelihoods(rows, 1, 0.0))
    yield Design("perplexity, 853 rows", decomposed.PERPLEXITY_PER_TOKEN, likelihoods(853, 1, 0.0))
    for rows in (1000, 4000):
        draw = likelihoods(rows, 1, 0.0, dependence=0.5)
        yield Design(f"loss, {rows} dependent rows, blocks of 1", decomposed.LOSS, draw)
        length = default_block_length(rows)
        yield Design(f"loss, {rows} dependent rows, blocks of {length}", decomposed.LOSS, draw, block_length=length)
    yield Design("mse, 853 rows", decomposed.MSE, numbers(853, _squared))
    yield Design("pearson, 853 rows", decomposed.PEARSON, numbers(853, decomposed.moments))
    yield Design("spearman, 853 rows", decomposed.SPEARMAN, numbers(853, decomposed.rank_pseudovalues))
    for seeds, spread in ((3, 0.0), (3, 0.1), (3, 0.5), (5, 0.1)):
        name = f"{seeds} seeds, spread {spread}, 853 rows"
        yield Design(f"accuracy, {name}", decomposed.ACCURACY, classes(853, seeds, spread, _correct))
        yield Design(f"macro F1, {name}", decomposed.MACRO_F1, classes(853, seeds, spread, _counts))
        yield Design(f"entity F1, {name}", decomposed.F1, entities(853, seeds, spread))
        yield Design(f"loss, {name}", decomposed.LOSS, likelihoods(853, seeds, spread / 10))
    for seeds in (3, 5):
        draw = classes(100, seeds, 0.5, _correct)
        yield Design(f"accuracy, {seeds} seeds, spread 0.5, 100 rows", decomposed.ACCURACY, draw)
    for ratio in (2, 4):
        name = f"loss, 3 seeds, spread 0.1 against {0.1 * ratio}, 853 rows"
        yield Design(name, decomposed.LOSS, likelihoods(853, 3, 0.01, ratio=ratio))


def measure(design: Design, simulations: int, resamples: int = RESAMPLES) -> dict[str, float]:
    """Shares of `simulations` pairs: false alarms of each test that applies, and intervals that hold the truth."""
    generator = np.random.default_rng(0)
    found: dict[str, list[bool]] = {}
    truth = truth_of(design)
    for _ in range(simulations):
        first, second = design.draw(generator)
        sums = bootstrap_sums([*first, *second], resamples, int(generator.integers(2**32)), design.block_length)
        ours, theirs = sums[: len(first)], sums[len(first) :]
        seed = int(generator.integers(2**32))
        exchanged = paired_tests.exchange_sums([*first, *second], resamples, seed, design.block_length)
        moved = exchanged[: len(first)], exchanged[len(first) :]
        result = comparison.paired_test(
            design.score, first, second, ours, theirs, moved[0][0], moved[1][0], design.block_length
        )
        marks = {result.name: result.p_value < ALPHA}
        if result.mid_p_value is not None:
            marks["McNemar mid-p"] = result.mid_p_value < ALPHA
        if len(first) > 1:
            marks |= _of_several_runs(design.score, first, second, *moved)
        interval = comparison.estimate(design.score, first, ours, design.block_length)
        marks["interval of the difference holds 0"] = result.low <= 0 <= result.high
        marks["interval of the score holds it"] = interval.low <= truth <= interval.high
        for name, mark in marks.items():
            found.setdefault(name, []).append(bool(mark))
    return {name: float(np.mean(marks)) for name, marks in found.items()}


def _of_several_runs(
    score: decomposed.DecomposedScore, first: System, second: System, *exchanged: System
) -> dict[str, bool]:
    """What the tests over seeds alone, and the one over rows alone, say."""
    scores = [[float(score.value(run.sum(axis=0))) for run in system] for system in (first, second)]
    p_value = paired_tests.permutation_of_runs(*scores)
    order = stochastic_order.almost_stochastic_order(*scores, score.lower_is_better, resamples=200)
    rows_alone = paired_tests.approximate_randomization(score, first, second, *exchanged)
    return {
        "permutation of runs": p_value < ALPHA,
        "ASO < 0.2, one side": order < 0.2,
        "rows of these runs alone": rows_alone < ALPHA,
    }


def truth_of(design: Design, repetitions: int = 200) -> float:
    """The score on the sums of many draws, averaged over runs as `estimate` does."""
    generator = np.random.default_rng(1)
    runs = [run for _ in range(repetitions) for system in design.draw(generator) for run in system]
    return float(design.score.value(np.sum([run.sum(axis=0) for run in runs], axis=0)))


def table(options: Options) -> None:
    """Print a line for each design and each test."""
    chosen = [design for design in designs() if options.only in design.name]
    for design in chosen:
        shares = measure(design, options.simulations)
        print(design.name)
        for name, share in shares.items():
            print(f"  {100 * share:5.1f} %  {name}", flush=True)


def speed() -> None:
    """CPU seconds and memory of all pairs of ten runs on 10,000 rows, and of two runs on 100,000."""
    for runs, rows in ((10, 10_000), (2, 100_000)):
        contributions = _runs(runs, rows)
        start = time.process_time()
        tests = compare_all(contributions)
        seconds = time.process_time() - start
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"{runs} runs, {rows:,} rows, {tests} tests: {seconds:.1f} s of CPU, {memory:.0f} MiB at most")


def _runs(runs: int, rows: int) -> list[tuple[decomposed.DecomposedScore, System]]:
    """Accuracy, macro F1 and loss of equal runs."""
    generator = np.random.default_rng(0)
    gold, easy, hard = generator.integers(0, 3, rows), generator.random(rows), generator.gamma(0.5, 1.0, rows)
    right = [generator.random(rows) < 0.7 + 0.3 * easy for _ in range(runs)]
    predictions = [np.where(hit, gold, (gold + 1) % 3) for hit in right]
    losses = [decomposed.weighted(hard * generator.gamma(20.0, 0.05, rows)) for _ in range(runs)]
    return [
        (decomposed.ACCURACY, [_correct(guess, gold) for guess in predictions]),
        (decomposed.MACRO_F1, [_counts(guess, gold) for guess in predictions]),
        (decomposed.LOSS, losses),
    ]


def compare_all(scores: Sequence[tuple[decomposed.DecomposedScore, System]]) -> int:
    """Compare every pair in every score, on the same resamples; the number of tests."""
    contributions = [run for _, runs in scores for run in runs]
    sums, moved = iter(bootstrap_sums(contributions)), iter(paired_tests.exchange_sums(contributions))
    tests = 0
    for score, runs in scores:
        resampled, exchanged = [next(sums) for _ in runs], [next(moved) for _ in runs]
        for run, own in zip(runs, resampled, strict=True):
            comparison.estimate(score, [run], [own])
        pairs = list(itertools.combinations(range(len(runs)), 2))
        p_values = [
            comparison.paired_test(
                score, [runs[i]], [runs[j]], [resampled[i]], [resampled[j]], exchanged[i], exchanged[j]
            ).p_value
            for i, j in pairs
        ]
        tests += len(paired_tests.holm(p_values))
    return tests


def main() -> None:
    options = tyro.cli(Options, description=__doc__)
    if options.speed:
        speed()
    else:
        table(options)


if __name__ == "__main__":
    main()
