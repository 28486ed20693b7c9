"""`finetune fetch`: download what a recipe needs, for a machine without network."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro

from pipeline.cli import arguments, startup
from pipeline.cli.arguments import Arguments
from pipeline.config import offline, paths
from pipeline.config.loading import load_recipe
from pipeline.errors import UserError


def _described(
    recipe: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RECIPE [settings]")], to: Path | None = None
) -> None:
    """Download what a recipe needs from the Hub, so that the run needs no network.

    Flags after the recipe change its settings; `finetune run RECIPE --help` lists them.

    Example: finetune fetch recipes/sentiment_bert.py --to offline

    Args:
        recipe: .py or .json file of a recipe, then any of its settings as --section.setting VALUE.
        to: folder to gather everything in, including local files and the recipe, for another machine. Without it,
            downloads go to the usual caches of the Hub libraries.
    """


def command(given: Arguments) -> None:
    if not given or given[0] in arguments.HELP:
        arguments.show_help(_described, "finetune fetch")
    file, *rest = given
    to, settings = _split_off(rest, "--to")
    if to:
        offline.use_caches_in(paths.local(to, "to"))
    recipe = arguments.changed(load_recipe(file), settings, f"finetune fetch {file}")
    with startup.importing():
        from pipeline import fetch

    fetch.fetch(recipe, paths.local(to, "to") if to else None)


def _split_off(given: Arguments, flag: str) -> tuple[str | None, Arguments]:
    """The value of `flag`, as `--flag VALUE` or `--flag=VALUE`, and the other arguments."""
    rest = list(given)
    for place, argument in enumerate(rest):
        if argument.startswith(f"{flag}="):
            return argument.partition("=")[2], rest[:place] + rest[place + 1 :]
        if argument == flag:
            if place + 1 == len(rest):
                raise UserError(f"{flag}: it needs a value, the name of a folder")
            return rest[place + 1], rest[:place] + rest[place + 2 :]
    return None, rest
