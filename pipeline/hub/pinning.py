"""The Hub commits that a run reads: a branch or tag is resolved once, and a resumed run keeps its commit."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

from pipeline import run_folder, storage
from pipeline.config import references
from pipeline.config.recipe import Recipe
from pipeline.config.sources import ResolvedSource
from pipeline.hub import download

# Setting, as `model.checkpoint` -> `name` of the repository, `asked` (the revision in the recipe) and `commit`.
Revisions = dict[str, dict[str, str | None]]


def with_recorded_revisions(recipe: Recipe) -> Recipe:
    """`recipe` at the commits that the unfinished run in its folder reads; makes no request."""
    return _with_revisions(recipe, _recorded(recipe))


def resolve_revisions(recipe: Recipe, source: ResolvedSource) -> tuple[Recipe, Revisions]:
    """`recipe`, whose data is `source`, at the commits of all repositories that it names, and the record of them for
    `write_revisions`.

    The commits that an unfinished run in the folder reads are kept; the Hub is asked about the others.

    Raises:
        UserError: a repository or revision does not exist, or the Hub cannot be reached and it was never fetched.
    """
    recorded, revisions = _recorded(recipe), Revisions()
    for reference in references.references_in(recipe):
        repo = reference.on_hub(recipe, source)
        if repo is None:
            continue
        section, entry = reference.section_in(recipe), recorded.get(reference.setting, {})
        name, asked = getattr(section, reference.name), getattr(section, repo.revision)
        if entry.get("name") != name or asked not in (entry.get("asked"), entry.get("commit")):
            commit = download.resolve(name, asked, reference.setting, repo.repo_type)
            entry = {"name": name, "asked": asked, "commit": commit}
        revisions[reference.setting] = entry
    return _with_revisions(recipe, revisions), revisions


def write_revisions(folder: Path, revisions: Revisions) -> None:
    """Write revisions.json into the folder of a run."""
    if revisions:
        storage.write(folder / run_folder.REVISIONS, json.dumps(revisions, indent=2) + "\n")


def read_revisions(folder: Path) -> Revisions:
    """revisions.json in the folder of a run; empty if the file is missing or damaged."""
    with contextlib.suppress(OSError, ValueError):
        revisions = json.loads((folder / run_folder.REVISIONS).read_text(encoding="utf-8"))
        if isinstance(revisions, dict) and all(isinstance(entry, dict) for entry in revisions.values()):
            return revisions
    return {}


def _recorded(recipe: Recipe) -> Revisions:
    """The revisions of the unfinished run in the recipe's folder, if there is one to resume."""
    finished = (recipe.folder / run_folder.METRICS).is_file()
    return {} if recipe.train.overwrite or finished else read_revisions(recipe.folder)


def _with_revisions(recipe: Recipe, revisions: Revisions) -> Recipe:
    for reference in references.references_in(recipe):
        section, entry = reference.section_in(recipe), revisions.get(reference.setting)
        if not entry or reference.hub is None or entry.get("name") != getattr(section, reference.name, None):
            continue
        if getattr(section, reference.hub.revision) in (entry["asked"], entry["commit"]):
            recipe = reference.with_values(recipe, **{reference.hub.revision: entry["commit"]})
    return recipe
