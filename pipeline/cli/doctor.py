"""`finetune doctor`: what this machine has, and what a recipe will do and cost on it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro

from pipeline.cli import arguments, startup
from pipeline.cli.arguments import Arguments
from pipeline.config.loading import load_recipe
from pipeline.errors import UserError


def _described(
    recipe: Annotated[Path | None, tyro.conf.Positional, tyro.conf.arg(metavar="[RECIPE [settings]]")] = None,
) -> None:
    """Print what this machine has and, for a recipe, what its run will do and cost, without running it.

    Flags after the recipe change its settings; `finetune run RECIPE --help` lists them.

    Example: finetune doctor recipes/sentiment_bert.py --train.batch-size 64

    Args:
        recipe: .py or .json file of a recipe, then any of its settings as --section.setting VALUE.
    """


def command(given: Arguments) -> None:
    recipe = None
    if given and given[0] in arguments.HELP:
        arguments.show_help(_described, "finetune doctor")
    elif given and given[0].startswith("-"):
        raise UserError(f"finetune doctor {given[0]}: name the recipe before its settings")
    elif given:
        recipe = arguments.changed(load_recipe(given[0]), given[1:], f"finetune doctor {given[0]}")
    with startup.importing():
        from pipeline.doctor import estimate

    estimate.examine(recipe)
