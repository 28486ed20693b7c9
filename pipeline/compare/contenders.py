"""What is compared: a run, or all runs that differ only in their seed."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pipeline import run_folder
from pipeline.compare.runs import ComparedRun
from pipeline.errors import UserError

SEED = "train.seed"


@dataclass(frozen=True)
class Contender:
    """One side of a comparison.

    Attributes:
        name: what it is called; no two have the same. That of the run, or of the recipe of several runs.
        runs: at least one; several differ only in train.seed, and are in the order of their seeds.
    """

    name: str
    runs: tuple[ComparedRun, ...]

    @property
    def seeds(self) -> int:
        """The number of runs."""
        return len(self.runs)


def group(runs: Sequence[ComparedRun], over_seeds: bool = True) -> list[Contender]:
    """Runs that differ only in train.seed as one contender each, in the order in which the first of each is given.

    Settings that do not change what a run computes, such as its folder, may differ as well. Runs with the same settings
    and the same seed are not repetitions with another seed, so their group is not made: each of its runs stands alone.

    Args:
        over_seeds: False: every run stands alone.
    """
    if not over_seeds:
        return [Contender(run.name, (run,)) for run in runs]
    groups: dict[str, list[ComparedRun]] = {}
    for run in runs:
        groups.setdefault(_identity(run), []).append(run)
    parts = [part for members in groups.values() for part in _without_repeated_seeds(members)]
    names = _names(parts) if any(len(part) > 1 for part in parts) else [part[0].name for part in parts]
    return [Contender(name, tuple(part)) for name, part in zip(names, parts, strict=True)]


def settings_of(run: ComparedRun) -> dict[str, Any] | None:
    """The settings that change what a run computes; None if recipe.json is missing or cannot be read."""
    try:
        settings = run.settings
    except UserError:
        return None
    return {name: value for name, value in settings.items() if not run_folder.is_free(name)}


def _identity(run: ComparedRun) -> str:
    """The same for runs that differ only in their seed."""
    settings = settings_of(run)
    if settings is None:
        return str(run.folder)
    return json.dumps({name: value for name, value in settings.items() if name != SEED}, sort_keys=True)


def _without_repeated_seeds(members: list[ComparedRun]) -> list[list[ComparedRun]]:
    if len(members) == 1:
        return [members]
    seeds = [run.settings[SEED] for run in members]
    if len(set(seeds)) < len(seeds):
        return [[run] for run in members]
    return [sorted(members, key=lambda run: run.settings[SEED])]


def _names(parts: Sequence[list[ComparedRun]]) -> list[str]:
    """The recipe's name, with the settings that tell recipes of this name apart; that of the run if none do."""
    recipes = [(settings_of(part[0]) or {}).get("name") for part in parts]
    names = []
    for part, recipe in zip(parts, recipes, strict=True):
        rivals = [other[0] for other, name in zip(parts, recipes, strict=True) if name == recipe]
        differing = _differing(part[0], rivals)
        title = [recipe] if recipe and (not differing or len(set(recipes)) > 1) else []
        names.append("  ".join([*title, *differing]) or part[0].name)
    repeated = {name for name, count in Counter(names).items() if count > 1}
    return [part[0].name if name in repeated else name for name, part in zip(names, parts, strict=True)]


def _differing(run: ComparedRun, rivals: Sequence[ComparedRun]) -> list[str]:
    """The settings of `run` in which it differs from one of `rivals`, as `optim.learning_rate 0.01`."""
    own, others = settings_of(run) or {}, [settings_of(rival) or {} for rival in rivals]
    return [
        f"{name} {value}"
        for name, value in own.items()
        if name != SEED and value is not None and any(str(other.get(name)) != str(value) for other in others)
    ]
