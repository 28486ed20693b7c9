"""Which column plays which role, and what its values mean: texts and labels as strings, or lists of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import pyarrow as pa

from pipeline.data.tags import TAG
from pipeline.errors import UserError, listing, suggest

Roles = Mapping[str, Sequence[str]]


def assign(roles: Roles, found: Sequence[str], chosen: Mapping[str, str | None], where: str) -> dict[str, str]:
    """Role -> column: the one chosen, else the one with a usual name, else the only one that is left.

    Args:
        roles: role -> usual names.
        found: columns of the data.
        chosen: role -> the setting that names its column.
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
            raise UserError(f"data.{kind_of(role).setting}: {where} has no column {chosen!r}{suggest(chosen, found)}")
        return chosen
    matches = [column for column in found if column.strip().lower() in usual]
    if len(matches) > 1:
        names = " or ".join(matches)
        raise UserError(f"{where}: which column holds the {role}, {names}? Set data.{kind_of(role).setting}")
    return matches[0] if matches else None


def _ask(role: str, found: Sequence[str], where: str) -> str:
    kind = kind_of(role)
    if list(found) == ["text"]:
        return f"{where}: it has texts only, no {role}{'' if role.endswith('s') else 's'}; give {kind.files}"
    if not kind.is_list and {"tokens", "tags"} <= set(found):
        return f"{where}: it holds words and tags, not texts; give {kind.files}, or set task to ner"
    needs = f" (a list in each row); give {kind.files}, or" if kind.is_list else ";"
    return f"{where}: no column looks like the {role}{needs} set data.{kind.setting} to one of: {listing(found)}"


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


def as_tokens(value: Any, where: str) -> list[str]:
    """Words as they stand.

    Raises:
        UserError: it is no list of texts or numbers.
    """
    if not isinstance(value, list):
        raise UserError(f"{where}: the tokens are {_kind(value)}; expected a list of words")
    for place, token in enumerate(value, start=1):
        if token is None or isinstance(token, (list, dict, bytes, bool)):
            raise UserError(f"{where}: token {place} is {_kind(token)}; expected a word")
    return [as_text(token, where) for token in value]


def as_tags(value: Any, where: str, names: Sequence[str] | None, lines: Sequence[str] | None = None) -> list[str]:
    """Tags as strings: `names[tag]` where they are numbers that the source names.

    Args:
        lines: where each tag stands, if it has a line of its own.

    Raises:
        UserError: it is no list, or something in it is no tag of IOB or BIOES.
    """
    if not isinstance(value, list):
        raise UserError(f"{where}: the tags are {_kind(value)}; expected a list with a tag for each word")
    tags = []
    for place, tag in enumerate(value):
        at = lines[place] if lines else f"{where}: tag {place + 1}"
        if isinstance(tag, int) and not isinstance(tag, bool):
            tag = _named_tag(tag, at, names)
        if not isinstance(tag, str) or not TAG.fullmatch(tag):
            raise UserError(
                f"{at}: {tag!r} is no tag; expected O, or B-, I-, E- or S- and a type, such as B-PER;"
                f" if the tags are elsewhere, set data.tag_column"
            )
        tags.append(as_text(tag, at))
    return tags


def _named_tag(tag: int, at: str, names: Sequence[str] | None) -> str:
    if names is None:
        raise UserError(
            f"{at}: the number {tag} has no name; write tags as texts, such as B-PER, or give a parquet file or a data"
            " set of the Hub that names them"
        )
    if not 0 <= tag < len(names):
        raise UserError(f"{at}: the number {tag} has no name; there are names for 0 to {len(names) - 1}")
    return names[tag]


def _integral(label: str) -> str:
    """`1.0` and `1` are one class, also where a file writes both."""
    whole, point, rest = label.partition(".")
    return whole if point and whole.lstrip("-").isdecimal() and rest and not rest.strip("0") else label


def _kind(value: Any) -> str:
    kinds = {"list": "a list", "dict": "an object", "bytes": "bytes", "bool": "True or False", "str": "a text"}
    return kinds.get(type(value).__name__, "missing" if value is None else f"the number {value}")


class Cell(NamedTuple):
    """A value, where it stands, the names of its column's classes, and where its parts stand if they have lines."""

    value: Any
    where: str
    names: Sequence[str] | None = None
    lines: Sequence[str] | None = None


class Kind(NamedTuple):
    """What the values of a role are: their Arrow type, how they are read, and what names and holds their column."""

    type: pa.DataType
    read: Callable[[Cell], Any]
    setting: str
    files: str

    @property
    def is_list(self) -> bool:
        return pa.types.is_list(self.type)


TABLES = "a .csv, .tsv, .json(l) or .parquet file with a {} column"
LISTS = "a .conll or .bmes file, or a .json(l) or .parquet file with tokens and tags"

KINDS = {
    "text": Kind(pa.large_string(), lambda cell: as_text(*cell[:2]), "text_column", TABLES.format("text")),
    "label": Kind(pa.large_string(), lambda cell: as_label(*cell[:3]), "label_column", TABLES.format("label")),
    "tokens": Kind(pa.list_(pa.large_string()), lambda cell: as_tokens(*cell[:2]), "token_column", LISTS),
    "tags": Kind(pa.list_(pa.large_string()), lambda cell: as_tags(*cell), "tag_column", LISTS),
}


def kind_of(role: str) -> Kind:
    """What the role's values are; a role of another name holds texts."""
    return KINDS.get(role) or KINDS["text"]._replace(setting=f"{role}_column")
