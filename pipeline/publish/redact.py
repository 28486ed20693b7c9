"""What a recipe and metrics say of this machine's folders is left out of the copies that others read."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from pipeline.config.data import TRAINED_TOKENIZERS
from pipeline.config.recipe import Recipe
from pipeline.config.samples import is_sample
from pipeline.config.serialization import from_json

# Settings that name files, and may hold the path of a folder.
FILES = (("data", "source"), ("data", "tokenizer"), ("model", "checkpoint"), ("model", "vectors"))


def public(recipe: Recipe, metrics: dict[str, Any]) -> Recipe:
    """`recipe` with files named without their folders, and without what is of this machine or of the push.

    Args:
        metrics: of the run: they tell what it has read from the Hub.
    """
    values, of_hub = json.loads(recipe.to_json()), metrics.get("revisions", {})
    for section, name in FILES:
        value = values[section].get(name)
        if value and not is_sample(value) and value not in TRAINED_TOKENIZERS and f"{section}.{name}" not in of_hub:
            values[section][name] = Path(value).name
    values["train"]["output_dir"] = None
    values["train"]["overwrite"] = False
    values.pop("hub", None)
    return from_json(json.dumps(values), "recipe")


# Up to a quote or a blank that no file's name goes on after: the folders of an absolute path.
FOLDERS = re.compile(r"(?<![\w.:/])(?:/|~/|\.\./)(?:[^/\0\n\"':,]+/)+(?=[^/\s])")


def without_folders(value: Any) -> Any:
    """`value` with every path in its texts cut to the last name, such as in the notes on data."""
    if isinstance(value, dict):
        return {without_folders(name): without_folders(part) for name, part in value.items()}
    if isinstance(value, list):
        return [without_folders(part) for part in value]
    return FOLDERS.sub("", value) if isinstance(value, str) else value
