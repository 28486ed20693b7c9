"""Recipes over several seeds: rows for the tables of README.md and recipes/README.md, as Markdown.

Settings after `--` go to every run. A run that has already finished is not repeated:

    python scripts/measure.py recipes/sentiment_rnn.py recipes/sentiment_lstm.py
    python scripts/measure.py recipes/sentiment_bilstm.py --name gru -- --model.cell gru

The score is the one that selects the best model: accuracy, entity F1, or the loss of next_word.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from pipeline.compare.runs import read_metrics
from pipeline.config.loading import load_recipe
from pipeline.errors import UserError, report
from pipeline.metrics import statistics
from pipeline.tasks.base import load_task

HEADINGS = ("recipe", "score on test", "spread", "parameters")


@dataclass(frozen=True)
class Options:
    """Run recipes with several seeds and print mean and standard deviation of their scores."""

    recipes: tyro.conf.Positional[tuple[Path, ...]]
    """Recipe files."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Values of train.seed; the splits are the same for all."""
    name: str = ""
    """Suffix that distinguishes these runs from others of the same recipe."""
    folder: Path = Path("runs/measure")
    """Folder of the runs."""


def measure(options: Options, settings: list[str]) -> None:
    """Run what has not finished yet, and print one row per recipe."""
    print(table_row(HEADINGS), table_row(["---"] * len(HEADINGS)), sep="\n", flush=True)
    for recipe in options.recipes:
        title = " ".join(filter(None, (recipe.stem, options.name)))
        runs = [options.folder / f"{title.replace(' ', '-')}-seed-{seed}" for seed in options.seeds]
        for seed, run in zip(options.seeds, runs, strict=True):
            if not (run / "metrics.json").is_file():
                flags = ["--train.seed", str(seed), "--train.output-dir", str(run), *settings]
                subprocess.run([sys.executable, recipe, *flags], check=True, stdout=subprocess.DEVNULL)
        metric = load_task(load_recipe(str(recipe)).task).monitor
        print(table_row([title, *figures([read_metrics(run) for run in runs], metric)]), flush=True)


def figures(runs: list[dict[str, Any]], metric: str) -> list[str]:
    """Mean and standard deviation of the score on the test split; parameters."""
    scores = [run["test"][metric] for run in runs]
    return [f"{statistics.mean(scores):.4f}", f"{statistics.spread(scores):.4f}", f"{runs[0]['train']['parameters']:,}"]


def table_row(cells: tuple[str, ...] | list[str]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    arguments, settings = sys.argv[1:], []
    if "--" in arguments:
        at = arguments.index("--")
        arguments, settings = arguments[:at], arguments[at + 1 :]
    try:
        measure(tyro.cli(Options, args=arguments), settings)
    except UserError as error:
        sys.exit(report(error))
    except subprocess.CalledProcessError as error:  # the run itself has said why
        sys.exit(error.returncode)
