"""Reads a recipe from the JSON that `Recipe.to_json` writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pipeline.config.data import Data
from pipeline.config.distil import Distil
from pipeline.config.hub import Hub
from pipeline.config.models import Lora, Pretrained, kind_called
from pipeline.config.recipe import Recipe
from pipeline.config.schema import Settings
from pipeline.config.training import Optim, Train
from pipeline.errors import UserError, reason, shorten

SECTIONS: dict[str, type[Settings]] = {"data": Data, "optim": Optim, "train": Train, "hub": Hub, "distil": Distil}


def read_json(file: Path) -> Recipe:
    """The recipe in a JSON file, UTF-8 with or without BOM.

    Raises:
        UserError: the file cannot be read, or is not a valid recipe.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{file}: not UTF-8 at byte {error.start}; convert the file to UTF-8") from error
    except OSError as error:
        raise UserError(f"{file}: cannot be read: {error.strerror}") from error
    return from_json(text, str(file))


def from_json(text: str, origin: str) -> Recipe:
    """The recipe in JSON `text`; `origin` names its source in messages.

    Raises:
        UserError: it is not JSON, or a name, type or value is refused.
    """
    try:
        values = json.loads(text)
    except ValueError as error:
        raise UserError(f"{origin}: not JSON: {reason(error)}") from error
    except RecursionError as error:
        raise UserError(f"{origin}: JSON nested too deeply") from error
    if not isinstance(values, dict):
        raise UserError(f"{origin}: not a recipe; it must be a JSON object with name, task, data and model")
    try:
        return Recipe(**{name: _section(name, value) for name, value in values.items()})
    except UserError as error:
        raise UserError(f"{origin}: {error}") from error


def _section(name: str, value: Any) -> Any:
    if (name != "model" and name not in SECTIONS) or (name == "distil" and value is None):
        return value
    if not isinstance(value, dict):
        raise UserError(f"{name}: {shorten(repr(value), 80)} is not a JSON object of settings")
    value = dict(value)
    kind = kind_called(value.pop("kind", None)) if name == "model" else SECTIONS[name]
    if kind is Pretrained and isinstance(value.get("lora"), dict):
        value["lora"] = Lora(**_values(value["lora"]))
    if kind is Distil:
        value["unlabelled"] = _sources(value.get("unlabelled"))
    return kind(**_values(value))


def _sources(value: Any) -> Any:
    """One source of data or several."""
    if isinstance(value, list):
        return tuple(map(_sources, value))
    return Data(**_values(value)) if isinstance(value, dict) else value


def _values(values: dict[str, Any]) -> dict[str, Any]:
    """JSON lists as tuples, which settings expect."""
    return {key: tuple(item) if isinstance(item, list) else item for key, item in values.items()}
