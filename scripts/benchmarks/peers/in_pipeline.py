"""The model in this project: trained by `fit`, as in `finetune run`."""

from __future__ import annotations

import sys
from typing import Any

from benchmarks.common import a_run
from benchmarks.peers.side import Passes
from pipeline import malloc
from pipeline.config.loading import load_recipe
from pipeline.training import trainer
from pipeline.training.signals import StopRequest


def main() -> None:
    malloc.keep_freed_memory()  # as a command does
    passes = Passes()
    run = a_run(load_recipe(sys.argv[1]))
    _clock(run, passes)
    passes.ready("torch")
    with StopRequest() as stop:
        trainer.fit(run, stop)
    passes.score(run.evaluate("test").scores[run.monitor.name])


def _clock(run: trainer.Run, passes: Passes) -> None:
    """A pass begins when its order is drawn, and ends with the next, or when the run is scored: once, at its end."""
    rows: Any = run.splits["train"]
    order, evaluate, done = rows.updates, run.evaluate, 0

    def updates(*arguments: int) -> list[Any]:
        nonlocal done
        if done:
            passes.end()
        passes.begin()
        done += 1
        return order(*arguments)

    def evaluate_at_the_end(split: str) -> Any:
        if split == "validation":
            passes.end()
        return evaluate(split)

    rows.updates, run.evaluate = updates, evaluate_at_the_end  # type: ignore[method-assign]


if __name__ == "__main__":
    main()
