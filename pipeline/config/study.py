"""A study: several recipes, varied by grids of settings and seeds, with one budget for all of them.

Like a recipe it is a frozen value in a Python file; `expansion` turns it into the runs that it stands for.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import field
from pathlib import Path
from typing import Any

from pipeline.config import loading, paths
from pipeline.config.schema import LARGEST, Count, Positive, Seed, Settings, settings
from pipeline.errors import UserError, shorten

# The setting of a recipe that each budget sets.
BUDGETS = {"updates": "train.max_steps", "tokens": "train.max_tokens", "seconds": "train.max_seconds"}
# The budget ends a run, not the number of epochs.
ENDLESS = {"train.epochs": LARGEST}


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
        refuse_double(self, "seeds", self.seeds)
        for setting, values in self.grid.items():
            if isinstance(values, str) or not isinstance(values, Sequence):
                self.refuse(f"grid.{setting}", f"{shorten(repr(values), 80)} is not a list of values")
            if not values:
                self.refuse(f"grid.{setting}", "it has no values; list them, or remove the setting")
            refuse_double(self, f"grid.{setting}", values)
        for variant, changes in self.variants.items():
            if not isinstance(changes, dict) or not changes:
                self.refuse(f"variants.{variant}", "must be a dict of settings and their values")
        if self.space and self.budget.trials is None:
            self.refuse("space", "only a search draws from it; set budget.trials, or remove it")

    @property
    def folder(self) -> Path:
        """Folder of the study, unless `--folder` names another."""
        return Path("runs") / self.name


def refuse_double(section: Settings, name: str, values: Sequence[Any]) -> None:
    """Refuse a value that is listed twice in the setting `name` of `section`.

    Raises:
        UserError: one is.
    """
    for value, other in itertools.combinations(values, 2):
        if value == other and type(value) is type(other):
            section.refuse(name, f"{shorten(repr(value), 80)} is listed twice; remove one")


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
