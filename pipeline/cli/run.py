"""`finetune run`: train the model of a recipe, evaluate it and save it."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Annotated

import tyro

from pipeline import run_folder
from pipeline.cli import arguments, startup
from pipeline.cli.arguments import Arguments
from pipeline.config import offline
from pipeline.config.loading import load_recipe
from pipeline.config.recipe import Recipe
from pipeline.errors import STOPPING
from pipeline.training.monitoring import trackers


def _described(recipe: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RECIPE [settings]")]) -> None:
    """Train the model of a recipe, evaluate it and save it. The same command resumes an interrupted run.

    Flags after the recipe change its settings; `finetune run RECIPE --help` lists them with the values they have in
    that recipe.

    Example: finetune run recipes/sentiment_bilstm.py --train.epochs 3 --train.output-dir runs/short

    Args:
        recipe: .py or .json file of a recipe, then any of its settings as --section.setting VALUE.
    """


def command(given: Arguments) -> None:
    if not given or given[0] in arguments.HELP:
        arguments.show_help(_described, "finetune run")
    startup.stop_on_signals()
    file, *settings = given
    offline.use_caches_beside(Path(file))
    train(load_recipe(file), settings, f"finetune run {file}")


def train(recipe: Recipe, settings: Arguments, program: str) -> None:
    """Run `recipe` with `settings` from the command line of `program`, and print the scores and where the model is."""
    recipe = arguments.changed(recipe, settings, program)
    run_folder.check(recipe)
    trackers.check(recipe.train.trackers)
    with startup.importing():
        from pipeline import run

    run.train(recipe)
    for number in STOPPING:
        signal.signal(number, signal.SIG_IGN)  # the run is finished: a scheduler must not start it again
    if arguments.is_main_process():
        from pipeline.compare import table

        table.print_table([recipe.folder])
        print(f"model: {recipe.folder / run_folder.MODEL}   metrics: {recipe.folder / run_folder.METRICS}")
