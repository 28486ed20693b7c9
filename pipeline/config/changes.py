"""A recipe with other values of its settings, named as on the command line."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from pipeline.config.recipe import Recipe
from pipeline.config.schema import Settings
from pipeline.errors import UserError, suggest


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
