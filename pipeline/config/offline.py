"""A folder filled by `finetune fetch`: Hub caches, local files, and a recipe that uses them.

Nothing here imports a Hub library, because these read the location of their caches when they are imported.
"""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any

from pipeline.config import references
from pipeline.config.recipe import Recipe

# Lists the settings whose files are in the folder by relative path, so that the folder can be moved.
MARK = "fetched.json"
HUB, DATASETS = "hub", "datasets"


def use_caches_in(folder: Path) -> None:
    """Use the Hub caches in `folder`."""
    os.environ["HF_HUB_CACHE"] = str(folder.resolve() / HUB)
    os.environ["HF_DATASETS_CACHE"] = str(folder.resolve() / DATASETS)


def use_caches_beside(recipe: Path) -> None:
    """Use the Hub caches next to `recipe`, if it is in a fetched folder."""
    if (recipe.parent / MARK).is_file():
        use_caches_in(recipe.parent)


def at_home(recipe: Recipe, file: Path) -> Recipe:
    """`recipe`, read from `file`, with the paths of the local files that were fetched with it."""
    listed: dict[str, Any] = {}
    with contextlib.suppress(OSError, ValueError):
        listed = json.loads((file.parent / MARK).read_text(encoding="utf-8"))
    for setting, place in listed.get("files", {}).items():
        for reference in references.references_in(recipe):
            if reference.setting == setting:
                recipe = reference.with_values(recipe, **{reference.name: str(file.parent / place)})
    return recipe
