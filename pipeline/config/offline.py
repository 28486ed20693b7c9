"""A folder that `finetune fetch` has filled: caches of the Hub, local files, and the recipe that reads them.

Nothing here imports a library of the Hub: where its caches are has to be said before.
"""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline.config.recipe import Recipe

# Names the settings whose files lie in the folder, so that the folder may be carried elsewhere.
MARK = "fetched.json"
HUB, DATASETS = "hub", "datasets"


def use_caches_in(folder: Path) -> None:
    """Let the libraries keep, and look for, what comes from the Hub in `folder`."""
    os.environ["HF_HUB_CACHE"] = str(folder.resolve() / HUB)
    os.environ["HF_DATASETS_CACHE"] = str(folder.resolve() / DATASETS)


def use_caches_beside(recipe: Path) -> None:
    """The same, where `recipe` lies in a folder that was fetched."""
    if (recipe.parent / MARK).is_file():
        use_caches_in(recipe.parent)


def at_home(recipe: Recipe, file: Path) -> Recipe:
    """`recipe`, read from `file`, with the files that were fetched along with it by their places beside it."""
    told: dict[str, Any] = {}
    with contextlib.suppress(OSError, ValueError):
        told = json.loads((file.parent / MARK).read_text(encoding="utf-8"))
    for setting, place in told.get("files", {}).items():
        section, _, name = setting.partition(".")
        changed = replace(getattr(recipe, section), **{name: str(file.parent / place)})
        recipe = replace(recipe, **{section: changed})
    return recipe
