"""A study: several recipes, varied by grids of settings and seeds, with one budget for all of them.

Like a recipe it is a frozen value in a Python file. `expand` turns it into the runs that it stands for, and refuses
whatever is wrong with any of them before the first one starts. Nothing here imports torch.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pipeline.config import loading, paths
from pipeline.config.recipe import Recipe
from pipeline.config.schema import LARGEST, Count, Positive, Seed, Settings, settings
from pipeline.errors import UserError, shorten, suggest

# Settings that the study itself determines -> what to do instead of varying them.
FIXED = {
    "name": "a study names its runs; remove it",
    "train.seed": "list the seeds in study.seeds",
    "train.output_dir": "a study chooses the folders of its runs; remove it, or use --folder",
    "train.overwrite": "a study resumes its runs; remove it, and delete the folders of runs to repeat",
}
# The setting of a recipe that each budget sets.
BUDGETS = {"updates": "train.max_steps", "tokens": "train.max_tokens", "seconds": "train.max_seconds"}
# The budget ends a run, not the number of epochs.
ENDLESS = {"train.epochs": LARGEST}
# Bytes of the name of a contender, and characters of a value in it.
_LONGEST_NAME, _LONGEST_VALUE = 150, 40
_NOT_IN_NAMES = re.compile(r"[^\w.+-]+")


@settings("budget")
class Budget(Settings):
    """What each contender may use for training: at most one of updates, tokens and seconds."""

    updates: Count | None = None
    """Updates of each run (train.max_steps)."""
    tokens: Count | None = None
    """Training tokens of each run (train.max_tokens)."""
    seconds: Positive | None = None
    """Seconds of training of each run (train.max_seconds)."""
    trials: Count | None = None
    """Runs of a search over the settings of each contender, as `finetune search` makes; the best is then trained with
    each seed."""

    def __post_init__(self) -> None:
        super().__post_init__()
        lengths = [name for name in BUDGETS if getattr(self, name) is not None]
        if len(lengths) > 1:
            self.refuse(lengths[1], f"budget.{lengths[0]} already limits each run; remove one of the two")

    def settings(self) -> dict[str, Any]:
        """The settings that give a recipe this budget; none if there is no limit on a run."""
        limits = {setting: getattr(self, name) for name, setting in BUDGETS.items()}
        return {**ENDLESS, **limits} if any(limit is not None for limit in limits.values()) else {}


@settings("study")
class Study(Settings):
    """Recipes that are compared, each with all combinations of a grid of settings and with several seeds."""

    name: str
    """Name of the study and of its folder under runs/."""
    recipes: tuple[Any, ...]
    """Recipe values, or paths of .py or .json files, relative to the working folder."""
    grid: dict[str, Any] = field(default_factory=dict)
    """Setting, such as model.hidden_size -> its values; each recipe is run with every combination."""
    variants: dict[str, Any] = field(default_factory=dict)
    """Further variants of each recipe, by name: the settings in which they differ from it."""
    seeds: tuple[Seed, ...] = (0, 1, 2)
    """Values of train.seed; the splits are the same for all."""
    budget: Budget = field(default_factory=Budget)
    """What each contender may use; by default what its recipe says."""
    space: tuple[str, ...] = ()
    """With budget.trials: what the searches draw from, as `--space` of `finetune search`; () for the default."""

    def __post_init__(self) -> None:
        for name in ("recipes", "seeds", "space"):
            if isinstance(getattr(self, name), list):
                object.__setattr__(self, name, tuple(getattr(self, name)))
        super().__post_init__()
        if set(self.name) & {"/", "\\"} or self.name.startswith("."):
            self.refuse("name", f"{shorten(repr(self.name), 80)} cannot name a folder; use letters, digits, - and _")
        for name in ("recipes", "seeds"):
            if not getattr(self, name):
                self.refuse(name, f"it is empty; name at least one of the {name}")
        self._refuse_double("seeds", self.seeds)
        for setting, values in self.grid.items():
            if isinstance(values, str) or not isinstance(values, Sequence):
                self.refuse(f"grid.{setting}", f"{shorten(repr(values), 80)} is not a list of values")
            if not values:
                self.refuse(f"grid.{setting}", "it has no values; list them, or remove the setting")
            self._refuse_double(f"grid.{setting}", values)
        for variant, changes in self.variants.items():
            if not isinstance(changes, dict) or not changes:
                self.refuse(f"variants.{variant}", "must be a dict of settings and their values")
        if self.space and self.budget.trials is None:
            self.refuse("space", "only a search draws from it; set budget.trials, or remove it")

    def _refuse_double(self, name: str, values: Sequence[Any]) -> None:
        for value, other in itertools.combinations(values, 2):
            if value == other and type(value) is type(other):
                self.refuse(name, f"{shorten(repr(value), 80)} is listed twice; remove one")

    @property
    def folder(self) -> Path:
        """Folder of the study, unless `--folder` names another."""
        return Path("runs") / self.name


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


def load_study(name: str) -> Study:
    """The value called `study` in a .py file.

    Raises:
        UserError: there is no such file, running it fails, or it contains no study.
    """
    file = paths.local(name, "study")
    if file.suffix != ".py":
        raise UserError(f"{name}: not a study; it must be a .py file")
    if not file.is_file():
        raise UserError(f"{name}: no such file{loading.nearby(file)}")
    return loading.from_python(file, Study, "study")


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


def with_settings(recipe: Recipe, changes: Mapping[str, Any]) -> Recipe:
    """`recipe` with other values of its settings, named as on the command line: {"optim.learning_rate": 1e-3}.

    Raises:
        UserError: a setting does not exist, or its value is refused.
    """
    known = setting_names(recipe)
    for name in changes:
        if name not in known:
            raise UserError(f"{name}: no such setting{suggest(name, known)}")
    # Together, not one after another: two settings may be possible only with each other.
    return _with_values(recipe, {tuple(name.split(".")): value for name, value in changes.items()})


def setting_names(recipe: Recipe) -> list[str]:
    """Each setting of `recipe` under its name on the command line, and the sections themselves, such as `model`."""
    return list(_names(recipe))


def _names(section: Settings, prefix: str = "") -> Iterator[str]:
    kind: Any = type(section)
    for f in dataclasses.fields(kind):
        yield prefix + f.name
        value = getattr(section, f.name)
        if isinstance(value, Settings):
            yield from _names(value, f"{prefix}{f.name}.")


def _with_values(section: Any, changes: Mapping[tuple[str, ...], Any]) -> Any:
    """`section` with the values at these paths; a whole section is replaced before any setting in it."""
    values = {path[0]: _as_setting(value) for path, value in changes.items() if len(path) == 1}
    inner: dict[str, dict[tuple[str, ...], Any]] = {}
    for path, value in changes.items():
        if len(path) > 1:
            inner.setdefault(path[0], {})[path[1:]] = value
    for name, changed in inner.items():
        values[name] = _with_values(values.get(name, getattr(section, name)), changed)
    return replace(section, **values)


def _as_setting(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


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
