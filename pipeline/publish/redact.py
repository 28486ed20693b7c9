"""The published copies of recipe and metrics, without the folders of the machine that made them."""

from __future__ import annotations

import json
import re
from typing import Any

from pipeline.config import paths, references
from pipeline.config.recipe import Recipe
from pipeline.config.serialization import from_json

# The folders of an absolute path, up to the name of the file. They end at a quote, a colon or a comma, and a path does
# not begin within a word or an address.
_FOLDERS = re.compile(r"(?<![\w.:/])(?:/|~/|\.\./)(?:[^/\0\n\"':,]+/)+(?=[^/\s])")


def redacted_recipe(recipe: Recipe, metrics: dict[str, Any]) -> Recipe:
    """`recipe` with each path cut to its last part, and without the settings of the machine and of the push.

    Args:
        metrics: of the run; their `revisions` say which settings name a repository on the Hub.
    """
    values = json.loads(recipe.to_json())
    for reference, path in references.local_names(recipe, metrics.get("revisions", {})).items():
        reference.put(values, paths.last_part(path))
    values["train"]["output_dir"] = None
    values["train"]["overwrite"] = False
    values.pop("hub", None)
    return from_json(json.dumps(values), "recipe")


def without_folders(value: Any) -> Any:
    """The JSON value `value` with every path in its strings cut to the last part."""
    if isinstance(value, dict):
        return {without_folders(name): without_folders(part) for name, part in value.items()}
    if isinstance(value, list):
        return [without_folders(part) for part in value]
    return _FOLDERS.sub("", value) if isinstance(value, str) else value
