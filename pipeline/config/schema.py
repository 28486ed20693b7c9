"""What all sections of a recipe share: names, types and ranges are checked when a value is created."""

from __future__ import annotations

import dataclasses
import functools
import operator
import sys
import types
import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar

import typing_extensions
from annotated_types import Ge, Gt, Le, Lt

from pipeline.errors import UserError, shorten, suggest

BOUNDS = {Ge: (">=", operator.ge), Gt: (">", operator.gt), Le: ("<=", operator.le), Lt: ("<", operator.lt)}

# Larger counts overflow in libraries that use 32-bit integers.
LARGEST = 2**31 - 1
Count = Annotated[int, Ge(1), Le(LARGEST)]
Tokens = Annotated[int, Ge(1), Le(2**63 - 1)]  # counted in 64 bits
# Each layer takes memory and time even before its weights are drawn; more than this is a typo.
MOST_LAYERS = 1000
Layers = Annotated[int, Ge(1), Le(MOST_LAYERS)]
Seed = Annotated[int, Ge(0), Lt(2**32)]
Positive = Annotated[float, Gt(0.0)]
NotNegative = Annotated[float, Ge(0.0)]
Rate = Annotated[float, Ge(0.0), Lt(1.0)]
Share = Annotated[float, Gt(0.0), Lt(1.0)]
WarmupRatio = Annotated[float, Ge(0.0), Le(1.0)]
Port = Annotated[int, Ge(0), Le(65535)]
# Scores are divided by the length to this power, and a much larger power overflows.
LARGEST_PENALTY = 10.0
LengthPenalty = Annotated[float, Ge(-LARGEST_PENALTY), Le(LARGEST_PENALTY)]

C = TypeVar("C", bound=type)


@typing_extensions.dataclass_transform(frozen_default=True)
def settings(section: str) -> Callable[[C], C]:
    """Decorator: a frozen dataclass that refuses unknown names; `section` is its name on the command line."""

    def decorate(cls: C) -> C:
        made: Any = dataclass(frozen=True)(cls)
        init, fields = made.__init__, dataclasses.fields(made)

        @functools.wraps(init)
        def checked_init(self: Any, /, *args: Any, **values: Any) -> None:
            known = [f.name for f in fields]
            if len(args) > len(known):
                raise UserError(f"{section or 'recipe'}: {len(args)} values for {len(known)} settings; name them")
            for name in values:
                if name not in known:
                    raise UserError(f"{_dotted(section, name)}: no such setting{suggest(name, known)}")
            for f in fields[len(args) :]:
                if f.name not in values and f.default is f.default_factory is dataclasses.MISSING:
                    raise UserError(f"{_dotted(section, f.name)}: this setting is required")
            init(self, *args, **values)

        made.__init__ = checked_init
        made.section = section
        return made

    return decorate


def _dotted(section: str, name: str) -> str:
    return f"{section}.{name}" if section else name


@functools.cache
def _hints(cls: Any) -> dict[str, Any]:
    return typing.get_type_hints(cls, include_extras=True)


class Settings:
    """Base class of all sections: each value is checked against the type and bounds of its annotation."""

    section: typing.ClassVar[str] = ""

    def __post_init__(self) -> None:
        kind: Any = type(self)  # every subclass is a dataclass
        for f in dataclasses.fields(kind):
            check(_dotted(self.section, f.name), getattr(self, f.name), _hints(kind)[f.name])

    def refuse(self, name: str, reason: str) -> None:
        """Refuse setting `name` for `reason`.

        Raises:
            UserError: always.
        """
        raise UserError(f"{_dotted(self.section, name)}: {reason}")


def check(name: str, value: Any, hint: Any) -> None:
    """Refuse a `value` that does not have the type `hint`, or is outside the bounds in its `Annotated`. NaN and
    infinity do not count as numbers.

    Args:
        name: of the setting, for the message.

    Raises:
        UserError: as above.
    """
    kind = typing.get_origin(hint)
    if kind is Annotated:
        base, *bounds = typing.get_args(hint)
        check(name, value, base)
        for bound in bounds:
            if type(bound) not in BOUNDS:  # a mark for the command line
                continue
            symbol, holds = BOUNDS[type(bound)]
            (limit,) = dataclasses.astuple(bound)
            if not holds(value, limit):
                raise UserError(f"{name}: {value} is out of range; it must be {symbol} {limit}")
    elif kind in (typing.Union, types.UnionType):
        _check_union(name, value, typing.get_args(hint))
    elif kind is Literal:
        if value not in typing.get_args(hint):
            raise UserError(
                f"{name}: {shorten(repr(value), 80)} is not a valid choice{suggest(str(value), typing.get_args(hint))}"
            )
    elif kind is dict:
        if not isinstance(value, dict):
            raise UserError(f"{name}: {shorten(repr(value), 80)} is not a mapping of names to values")
        for key, item in value.items():
            check(name, key, typing.get_args(hint)[0])
            check(f"{name}.{key}", item, typing.get_args(hint)[1])
    elif kind is tuple:
        if not isinstance(value, tuple):
            raise UserError(f"{name}: {shorten(repr(value), 80)} is not a list")
        for item in value:
            check(name, item, typing.get_args(hint)[0])
    elif hint is not Any and not _is_a(value, hint):
        raise UserError(f"{name}: {shorten(repr(value), 80)} is not {_describe(hint)}")
    elif isinstance(value, str):
        _check_text(name, value)


def _check_text(name: str, value: str) -> None:
    """Refuse blank text, and characters that neither a file name nor recipe.json can hold."""
    if not value.strip():
        raise UserError(f"{name}: it is empty; give a value, or leave the setting out")
    if "\0" in value or not _is_encodable(value):
        raise UserError(f"{name}: {shorten(repr(value), 80)} has a character that UTF-8 or a file name cannot hold")


def _is_encodable(value: str) -> bool:
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _check_union(name: str, value: Any, options: tuple[Any, ...]) -> None:
    if value is None and type(None) in options:
        return
    kinds = [option for option in options if option is not type(None)]
    fitting = kinds if len(kinds) == 1 else [kind for kind in kinds if _is_a(value, _outer(kind))]
    if not fitting:
        raise UserError(f"{name}: {shorten(repr(value), 80)} is not {' or '.join(map(_describe, kinds))}")
    check(name, value, fitting[0])


def _outer(hint: Any) -> Any:
    """The Python type of values of `hint`; choices are strings."""
    origin = typing.get_origin(hint)
    if origin is Annotated:
        return _outer(typing.get_args(hint)[0])
    return str if origin is Literal else origin or hint


def _is_a(value: Any, hint: Any) -> bool:
    if hint is float:  # an int counts as a float; NaN and infinity do not
        return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= sys.float_info.max
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, hint)


def _describe(hint: Any) -> str:
    words = {int: "an integer", float: "a number", str: "a string", bool: "True or False", dict: "a mapping"}
    if typing.get_origin(hint) is Literal:
        return " or ".join(map(repr, typing.get_args(hint)))
    return words.get(_outer(hint), f"a {_outer(hint).__name__}")
