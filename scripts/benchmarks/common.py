"""What the benchmarks share: two sides measured in turn, and runs that are ready to be trained."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline import Data, Optim, Recipe, Recurrent

ROOT = Path(__file__).parents[2]
ROTTEN_TOMATOES = Data(source="sample:rotten_tomatoes", max_length=128)
TWEETS = Data(source="sample:twitter_ner", max_length=128, scheme="bioes")
RUNNING_TEXT = Data(source="sample:rotten_tomatoes", tokenizer="whitespace", max_length=35)
TAGGER = Recurrent(cell="lstm", bidirectional=True, hidden_size=128)
RowsOfTable = list[dict[str, Any]]


def choose(names: Iterable[str], parts: Sequence[str]) -> list[str]:
    """The `names` that contain one of `parts`, whatever their case; all of them if there are no parts."""
    names = list(names)
    for part in parts:
        if not any(part.lower() in name.lower() for name in names):
            raise SystemExit(f"--only: no name contains {part!r}; there are {', '.join(names)}")
    return [name for name in names if not parts or any(part.lower() in name.lower() for part in parts)]


def alternate(ours: Callable[[], float], theirs: Callable[[], float], pairs: int) -> tuple[float, float, float]:
    """Median speeds of both sides, measured in turn, and the median of the ratios of the pairs."""
    ours(), theirs()  # warm-up
    measured = [(ours(), theirs()) for _ in range(pairs)]
    medians = (statistics.median(side) for side in zip(*measured, strict=True))
    return *medians, statistics.median(one / other for one, other in measured)


def a_run(recipe: Recipe) -> Any:
    """What `finetune run` would train, in a new folder and ready for `update`."""
    from pipeline import assembly
    from pipeline.data.sources import locate
    from pipeline.tasks.base import load_task
    from pipeline.training.distributed import launch

    recipe = replace(recipe, train=replace(recipe.train, output_dir=tempfile.mkdtemp()))
    task = load_task(recipe.task)
    prepared = assembly.prepare_for(recipe, task, locate(recipe.data))
    model, _ = assembly.build_for(recipe, task, prepared)
    return assembly.run_of(recipe, task, model.train(), prepared, launch.start())


def speed(train: Callable[[], float], tokens: int) -> Callable[[], float]:
    return lambda: tokens / train()


def our_loop(ours: Any, order: list[Any]) -> Callable[[], float]:
    """CPU seconds of the updates in `order` as `fit` does them."""
    from pipeline.training.hidden_state import HiddenStateCarry
    from pipeline.training.monitoring.log import Log, UpdateStats
    from pipeline.training.monitoring.progress import Display
    from pipeline.training.optim import build_optimizer, build_scheduler
    from pipeline.training.step import TrainState, update, update_batches

    optimizer = build_optimizer(ours.model, Optim())
    carry = HiddenStateCarry(ours.model if ours.splits["train"].carries else None)
    state = TrainState(ours.model, optimizer, build_scheduler(optimizer, Optim(), 10**6), carry)

    def train() -> float:
        display = Display(100, 0, 100, shown=False)
        with Log(ours.folder, ours.progress, display, ours.accelerator, 10, ours.count_tokens) as log:
            started = time.process_time()
            for batch in update_batches(order, 32, ours.weighted_batches, ours.accelerator):
                results = update(ours.accelerator, state, batch, 1.0, autocast=False)
                ours.progress.step += 1
                log.add(UpdateStats(ours.progress.step, batch.rows, *results))
            return time.process_time() - started

    return train


@contextmanager
def a_process(checkout: Path, code: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Python in a process of its own that runs `code` with the package of a checkout, on one thread."""
    environment = {**os.environ, "PYTHONPATH": str(checkout.resolve()), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", code, *arguments]
    with subprocess.Popen(
        command, cwd=checkout, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield process


def speed_printed(process: subprocess.Popen[str]) -> Callable[[], float]:
    """Measures once: the process prints a speed for each line of its standard input."""

    def measure() -> float:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("\n")
        process.stdin.flush()
        return float(process.stdout.readline())

    return measure
