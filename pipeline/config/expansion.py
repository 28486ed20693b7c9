"""The runs that a study stands for, each with its complete recipe; whatever is wrong with any of them is refused."""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipeline.config import loading
from pipeline.config.changes import with_settings
from pipeline.config.recipe import Recipe
from pipeline.config.schema import Settings
from pipeline.config.study import Study
from pipeline.errors import UserError, shorten

# Settings that the study itself determines -> what to do instead of varying them.
FIXED = {
    "name": "a study names its runs; remove it",
    "train.seed": "list the seeds in study.seeds",
    "train.output_dir": "a study chooses the folders of its runs; remove it, or use --folder",
    "train.overwrite": "a study resumes its runs; remove it, and delete the folders of runs to repeat",
}
# Bytes of the name of a contender, and characters of a value in it.
_LONGEST_NAME, _LONGEST_VALUE = 150, 40
_NOT_IN_NAMES = re.compile(r"[^\w.+-]+")


@dataclass(frozen=True)
class Contender:
    """One of the things that a study compares.

    Attributes:
        name: as in recipe.json, and the beginning of the names of its folders.
        recipe: its recipe, with the budget; train.seed and train.output_dir are those of the recipe it comes from.
        settings: the settings that the study varies, with their values.
    """

    name: str
    recipe: Recipe
    settings: dict[str, Any]


@dataclass(frozen=True)
class StudyRun:
    """One run of a study.

    Attributes:
        number: its place in the study, from 0.
        contender: what it is a run of.
        recipe: the complete recipe, with train.seed and train.output_dir.
    """

    number: int
    contender: Contender
    recipe: Recipe

    @property
    def folder(self) -> Path:
        return self.recipe.folder

    @property
    def name(self) -> str:
        """Name of its folder: that of the contender, and the seed."""
        return self.folder.name


def contenders(study: Study) -> list[Contender]:
    """What `study` compares: each recipe with every combination of its grid, and with each of its variants.

    Raises:
        UserError: a recipe is missing or refused, a setting does not exist or has an impossible value, or two
            contenders have the same name.
    """
    found: dict[str, Contender] = {}
    for recipe in map(_recipe, study.recipes):
        for label, changes in _variations(study):
            name = _name(recipe.name, label)
            if name in found:
                raise UserError(
                    f"study {study.name}: two of its contenders are called {name}; give one recipe another name"
                )
            changed = _changed(study, replace(recipe, name=name), changes, name)
            found[name] = Contender(name, changed, changes)
    return list(found.values())


def expand(study: Study, folder: Path | None = None) -> list[StudyRun]:
    """All runs of `study`, each contender with each seed, in folders inside `folder` (default: that of the study).

    Raises:
        UserError: as for `contenders`.
    """
    folder = folder or study.folder
    pairs = itertools.product(contenders(study), study.seeds)
    return [
        StudyRun(number, contender, seeded(contender.recipe, seed, folder / f"{contender.name}-seed-{seed}"))
        for number, (contender, seed) in enumerate(pairs)
    ]


def seeded(recipe: Recipe, seed: int, folder: Path) -> Recipe:
    """`recipe` with another seed, in the run folder `folder`."""
    return replace(recipe, train=replace(recipe.train, seed=seed, output_dir=str(folder)))


def _recipe(given: Any) -> Recipe:
    if isinstance(given, Recipe):
        return given
    if isinstance(given, (str, Path)):
        return loading.load_recipe(str(given))
    raise UserError(f"study.recipes: {shorten(repr(given), 80)} is not a recipe; give a Recipe or the path of its file")


def _variations(study: Study) -> Iterator[tuple[str, dict[str, Any]]]:
    """Labels and settings of each variation of a recipe; the recipe itself has an empty label."""
    short = _short_names(study.grid)
    for values in itertools.product(*study.grid.values()):
        point = dict(zip(study.grid, values, strict=True))
        parts = [f"{short[name]}-{_written(value, study.grid[name])}" for name, value in point.items()]
        yield "-".join(parts), point
    for label, changes in study.variants.items():
        yield label, dict(changes)


def _short_names(grid: Mapping[str, Any]) -> dict[str, str]:
    """The last part of each setting's name, or all of it where two settings end alike."""
    last = {name: name.rpartition(".")[2] for name in grid}
    return {name: end if list(last.values()).count(end) == 1 else name for name, end in last.items()}


def _written(value: Any, values: Sequence[Any]) -> str:
    """A value in the name of a folder; the number of a long one, or of one that would look like another of them."""
    texts = [_NOT_IN_NAMES.sub("-", f"{each}") for each in values]
    text = _NOT_IN_NAMES.sub("-", f"{value}")
    is_short = len(text) <= _LONGEST_VALUE and not isinstance(value, Settings)
    return text if is_short and texts.count(text) == 1 else str(values.index(value) + 1)


def _name(recipe: str, label: str) -> str:
    """The name of a contender, short enough for a folder."""
    name = _NOT_IN_NAMES.sub("-", f"{recipe}-{label}" if label else recipe)
    if len(name.encode()) <= _LONGEST_NAME:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    return f"{name.encode()[: _LONGEST_NAME - 9].decode(errors='ignore')}-{digest}"


def _changed(study: Study, recipe: Recipe, changes: Mapping[str, Any], place: str) -> Recipe:
    """`recipe` with `changes` and the budget of `study`; `place` says in messages which contender it is."""
    budget = study.budget.settings()
    for name in changes:
        if name in FIXED:
            raise UserError(f"study {study.name}, {place}: {name}: {FIXED[name]}")
        if name in budget:
            raise UserError(f"study {study.name}, {place}: {name}: study.budget determines it; remove one of the two")
    try:
        return with_settings(recipe, {**changes, **budget})
    except UserError as error:
        raise UserError(f"study {study.name}, {place}: {error}") from error
