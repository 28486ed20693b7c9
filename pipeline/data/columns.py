"""Which column plays which role, and what its values mean: texts and labels as strings."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.errors import UserError, listing, suggest

Roles = Mapping[str, Sequence[str]]


def assign(roles: Roles, found: Sequence[str], chosen: Mapping[str, str | None], where: str) -> dict[str, str]:
    """Role -> column: the one chosen, else the one with a usual name, else the only one that is left.

    Args:
        roles: role -> usual names.
        found: columns of the data.
        chosen: role -> the setting data.<role>_column.
        where: the file, for messages.

    Raises:
        UserError: a chosen column is not there, or there is no sane guess, or more than one.
    """
    columns = {role: _named(role, usual, found, chosen.get(role), where) for role, usual in roles.items()}
    for role in roles:
        if columns[role] is None:
            left = [column for column in found if column not in columns.values()]
            others_known = all(columns[other] for other in roles if other != role)
            if len(left) != 1 or not others_known:
                raise UserError(_ask(role, found, where))
            columns[role] = left[0]
    named = {role: column for role, column in columns.items() if column is not None}
    if len(set(named.values())) < len(named):
        raise UserError(f"data.{role}_column: {named[role]!r} is taken for {' and for '.join(named)}; set another one")
    return named


def _named(role: str, usual: Sequence[str], found: Sequence[str], chosen: str | None, where: str) -> str | None:
    if chosen is not None:
        if chosen not in found:
            raise UserError(f"data.{role}_column: {where} has no column {chosen!r}{suggest(chosen, found)}")
        return chosen
    matches = [column for column in found if column.strip().lower() in usual]
    if len(matches) > 1:
        names = " or ".join(matches)
        raise UserError(f"{where}: which column holds the {role}, {names}? Set data.{role}_column")
    return matches[0] if matches else None


def _ask(role: str, found: Sequence[str], where: str) -> str:
    if list(found) == ["text"]:
        return (
            f"{where}: it has texts only, no {role}s; give a .csv, .tsv, .json(l) or .parquet file with a {role} column"
        )
    return f"{where}: no column looks like the {role}; set data.{role}_column to one of: {listing(found)}"


def as_text(value: Any, where: str) -> str:
    """A text as it stands; a number as it is written; nothing as the empty text.

    Raises:
        UserError: the value is something else, or cannot be encoded.
    """
    if value is None or value != value:  # NaN is how pandas writes nothing
        return ""
    if isinstance(value, (list, dict, bytes, bool)):
        raise UserError(f"{where}: the text is {_kind(value)}; expected a string")
    text = str(value)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise UserError(
            f"{where}: the text has half a surrogate pair at character {error.start}; mend the \\u escape"
        ) from error
    return text


def as_label(value: Any, where: str, names: Sequence[str] | None) -> str:
    """The name of a class: `names[value]` where the source names them, 1.0 as 1, strings without outer blanks.

    Raises:
        UserError: there is no label, or it is not a single value.
    """
    if isinstance(value, (list, dict, bytes)):
        raise UserError(f"{where}: the label is {_kind(value)}; expected a single name or number")
    if isinstance(value, float) and math.isfinite(value) and value.is_integer():
        value = int(value)
    label = "" if value is None or value != value else as_text(str(value), where).strip()
    if not label:
        raise UserError(f"{where}: the label is missing; fill it in or remove the row")
    if names is not None and label.isdecimal() and int(label) < len(names):
        return names[int(label)]
    return _integral(label)


def _integral(label: str) -> str:
    """`1.0` and `1` are one class, also where a file writes both."""
    whole, point, rest = label.partition(".")
    return whole if point and whole.lstrip("-").isdecimal() and rest and not rest.strip("0") else label


def _kind(value: Any) -> str:
    return {"list": "a list", "dict": "an object", "bytes": "bytes", "bool": "True or False"}[type(value).__name__]
