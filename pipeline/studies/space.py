"""What a search draws from: for each setting a range or a list of values, checked against the recipe.

optim.learning_rate=1e-4..1e-2:log    a range, with equal chances for equal ratios
model.dropout=0..0.5                  a range; of integers if the setting is one
model.cell=lstm,gru                   one of these values
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.config.changes import setting_names, with_settings
from pipeline.config.expansion import FIXED
from pipeline.config.models import Pretrained, Recurrent, Scratch
from pipeline.config.recipe import Recipe
from pipeline.errors import UserError, reason, shorten, suggest

# Kind of model -> what is drawn if nothing else is said; what a recipe refuses is left out.
DEFAULTS: dict[type, tuple[str, ...]] = {
    Recurrent: (
        "optim.learning_rate=3e-4..1e-2:log",
        "model.hidden_size=64,128,256",
        "model.layers=1..2",
        "model.dropout=0..0.6",
        "model.embedding_dropout=0..0.6",
        "train.batch_size=16,32,64",
        "optim.warmup_ratio=0..0.2",
    ),
    Scratch: (
        "optim.learning_rate=1e-4..3e-3:log",
        "model.hidden_size=64,128,256",
        "model.layers=1..4",
        "model.dropout=0..0.3",
        "train.batch_size=16,32,64",
        "optim.warmup_ratio=0..0.3",
    ),
    Pretrained: (
        "optim.learning_rate=1e-5..1e-4:log",
        "optim.weight_decay=1e-3..1e-1:log",
        "model.dropout=0..0.3",
        "train.batch_size=16,32",
        "optim.warmup_ratio=0..0.2",
    ),
}
# The matrices of LoRA begin at zero, and need a higher learning rate than the weights that they adapt.
WITH_LORA = "optim.learning_rate=1e-4..1e-3:log"
OTHERS = ("optim.learning_rate=1e-5..1e-2:log", "train.batch_size=16,32,64")
FORM = "write SETTING=LOW..HIGH, SETTING=LOW..HIGH:log or SETTING=VALUE,VALUE"

Value = bool | int | float | str | None


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both included; integers if both are."""

    low: float
    high: float
    log: bool = False

    def __str__(self) -> str:
        return f"{self.low}..{self.high}{':log' * self.log}"


@dataclass(frozen=True)
class Choice:
    """One of some values."""

    values: tuple[Value, ...]

    def __str__(self) -> str:
        return ",".join(map(str, self.values))


Space = dict[str, Range | Choice]


def parse(given: Sequence[str], recipe: Recipe) -> Space:
    """The space that `given` describes, or the default one for the model of `recipe`.

    Args:
        given: descriptions as above, or files of them, one a line, with comments after #.

    Raises:
        UserError: a description is refused, or a setting is named twice.
    """
    space: Space = {}
    for text in _descriptions(given):
        name, drawn = _parsed(text, recipe)
        if name in space:
            raise UserError(f"space: {name} is there twice; remove one")
        space[name] = drawn
    return space or default(recipe)


def default(recipe: Recipe) -> Space:
    """What is usually worth searching for the kind of model of `recipe`."""
    texts = next((texts for kind, texts in DEFAULTS.items() if isinstance(recipe.model, kind)), OTHERS)
    if getattr(recipe.model, "lora", None):
        texts = (WITH_LORA, *texts[1:])
    space = {}
    for text in texts:
        try:
            name, drawn = _parsed(text, recipe)
        except UserError:  # the task or the model does not use it
            continue
        space[name] = drawn
    return space


def _descriptions(given: Sequence[str]) -> Iterator[str]:
    for text in given:
        if "=" in text:
            yield text
            continue
        try:
            lines = Path(text).read_text(encoding="utf-8").splitlines()
        except (OSError, ValueError) as error:
            raise UserError(
                f"space: {shorten(text, 80)} is not a file, and has no =; {FORM} ({reason(error)})"
            ) from error
        yield from filter(None, (line.partition("#")[0].strip() for line in lines))


def _parsed(text: str, recipe: Recipe) -> tuple[str, Range | Choice]:
    name, _, values = (part.strip() for part in text.partition("="))
    known = setting_names(recipe)
    if name not in known:
        raise UserError(f"space: {name}: no such setting{suggest(name, known)}")
    if name in FIXED:
        raise UserError(f"space: {name}: a search cannot draw it; remove it")
    if not values:
        raise UserError(f"space: {text}: it has no values; {FORM}")
    drawn = _range(name, values, recipe) if ".." in values else _choice(name, values, recipe)
    return name, drawn


def _range(name: str, text: str, recipe: Recipe) -> Range:
    bounds, _, scale = text.partition(":")
    if scale not in ("", "log"):
        raise UserError(f"space: {name}: unknown scale {scale!r}; {FORM}")
    ends = [_number(end) for end in bounds.split("..")]
    if len(ends) != 2 or None in ends:
        raise UserError(f"space: {name}: {shorten(text, 80)} is not a range of numbers; {FORM}")
    low, high = ends
    assert low is not None
    assert high is not None
    if not low < high:
        raise UserError(f"space: {name}: {low} is not below {high}")
    if scale and low <= 0:
        raise UserError(f"space: {name}: a logarithmic range begins above 0, not at {low}")
    if _accepts(recipe, name, low + 0.37 * (high - low)) is not None:  # the setting is an integer
        low, high = _integer(low), _integer(high)
    else:
        low, high = float(low), float(high)
    for end in (low, high):
        if refusal := _accepts(recipe, name, end):
            raise UserError(f"space: {refusal}")
    return Range(low, high, scale == "log")


def _choice(name: str, text: str, recipe: Recipe) -> Choice:
    values = tuple(_value(name, part.strip(), recipe) for part in text.split(","))
    if len(set(values)) < len(values):
        raise UserError(f"space: {name}: a value is there twice in {shorten(text, 80)}; remove one")
    return Choice(values)


def _value(name: str, text: str, recipe: Recipe) -> Value:
    """The value of setting `name` that is written as `text`: the first of its readings that the recipe accepts."""
    words: dict[str, Value] = {"none": None, "true": True, "false": False}
    readings: list[Value] = [words[text.lower()]] if text.lower() in words else []
    number = _number(text)
    readings += [number] if number is not None else []
    refusals = []
    for reading in (*readings, text):
        refusal = _accepts(recipe, name, reading)
        if refusal is None:
            return reading
        refusals.append(refusal)
    raise UserError(f"space: {refusals[0]}")


def _accepts(recipe: Recipe, name: str, value: Any) -> str | None:
    """Why `recipe` refuses a value of a setting; None if it does not."""
    try:
        with_settings(recipe, {name: value})
    except UserError as error:
        return str(error)
    return None


def _number(text: str) -> int | float | None:
    for kind in (int, float):
        try:
            value = kind(text)
            return value if math.isfinite(value) else None
        except (ValueError, OverflowError):  # a long whole number is infinite as a float
            continue
    return None


def _integer(value: float) -> float:
    return int(value) if value == int(value) else value
