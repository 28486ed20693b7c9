"""Which column plays which role, and how its values are read: texts and labels as strings, or lists of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import pyarrow as pa

from pipeline.data.tags import TAG
from pipeline.errors import UserError, listing, suggest

Roles = Mapping[str, Sequence[str]]


def assign(roles: Roles, found: Sequence[str], chosen: Mapping[str, str | None], where: str) -> dict[str, str]:
    """Role -> column: the one chosen, the one with a usual name, or the only one that is left.

    Args:
        roles: role -> usual names.
        found: columns of the data.
        chosen: role -> the setting that names its column.
        where: the file, for messages.

    Raises:
        UserError: a chosen column does not exist, or the choice is ambiguous.
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
        raise UserError(f"data.{role}_column: {named[role]!r} is used for {' and for '.join(named)}; set another one")
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


class LabelNames(NamedTuple):
    """Names of the labels of a column.

    Attributes:
        classes: in the order of their ids, if the source names them.
        given: value in the file -> name, from data.label_names; takes precedence over `classes`.
        known: further labels that need no name: those of a model to be evaluated, in the order of their ids.
        ids_read: gets the numbers of tags that were read as ids of `known`, because nothing else names them.
    """

    classes: Sequence[str] | None = None
    given: Mapping[str, str] = MappingProxyType({})
    known: Sequence[str] = ()
    ids_read: set[int] | None = None

    def name_of(self, value: str) -> str:
        """The name of `value`, which is `value` itself if nothing names it."""
        if value in self.given:
            return self.given[value]
        if self.classes is not None and value.isdecimal() and int(value) < len(self.classes):
            return self.classes[int(value)]
        return value

    @property
    def allowed(self) -> set[str]:
        """All names that labels may have."""
        return {*(self.classes or ()), *self.given.values(), *self.known}

    @property
    def in_order(self) -> list[str] | None:
        """Names in the order of their ids, if there is one: that of the source, else that of data.label_names."""
        if self.classes is None:
            return list(dict.fromkeys(self.given.values())) or None
        return [self.given.get(str(number), name) for number, name in enumerate(self.classes)]


NO_NAMES = LabelNames()


def as_text(value: Any, where: str) -> str:
    """A text as it is; a number as text; a missing value as the empty text.

    Raises:
        UserError: the value is something else, or cannot be encoded.
    """
    if value is None or value != value:  # NaN is how pandas writes a missing value
        return ""
    if isinstance(value, (list, dict, bytes, bool)):
        raise UserError(f"{where}: the text is {_describe(value)}; expected a string")
    text = str(value)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise UserError(
            f"{where}: the text has half a surrogate pair at character {error.start}; fix the \\u escape"
        ) from error
    return text


def as_label(value: Any, where: str, labels: LabelNames = NO_NAMES) -> str:
    """The name of a class: from `labels`, or else the value itself, with 1.0 as 1 and strings stripped.

    Raises:
        UserError: there is no label, it is not a single value, or data.label_names is set and has no name for it.
    """
    if isinstance(value, (list, dict, bytes)):
        raise UserError(f"{where}: the label is {_describe(value)}; expected a single name or number")
    if isinstance(value, float) and math.isfinite(value) and value.is_integer():
        value = int(value)
    label = "" if value is None or value != value else as_text(str(value), where).strip()
    if not label:
        raise UserError(f"{where}: the label is missing; fill it in or remove the row")
    label = labels.name_of(_integral(label))
    if labels.given and label not in labels.allowed:
        near = suggest(label, labels.allowed)
        hint = near if "did you mean" in near else f"; names are given for {listing(sorted(labels.given))}"
        raise UserError(f"{where}: the label {label!r} has no name{hint}")
    return label


def as_tokens(value: Any, where: str) -> list[str]:
    """Words as they are.

    Raises:
        UserError: it is not a list of texts or numbers.
    """
    if not isinstance(value, list):
        raise UserError(f"{where}: the tokens are {_describe(value)}; expected a list of words")
    for place, token in enumerate(value, start=1):
        if token is None or isinstance(token, (list, dict, bytes, bool)):
            raise UserError(f"{where}: token {place} is {_describe(token)}; expected a word")
    return [as_text(token, where) for token in value]


def as_tags(value: Any, where: str, labels: LabelNames = NO_NAMES, lines: Sequence[str] | None = None) -> list[str]:
    """Tags as strings: from `labels`, or else the values themselves.

    Args:
        lines: the line of each tag, if each has its own line.

    Raises:
        UserError: it is not a list, or something in it is not a tag of IOB or BIOES.
    """
    if not isinstance(value, list):
        raise UserError(f"{where}: the tags are {_describe(value)}; expected a list with a tag for each word")
    tags = []
    for place, tag in enumerate(value):
        at = lines[place] if lines else f"{where}: tag {place + 1}"
        if isinstance(tag, int) and not isinstance(tag, bool):
            tag = _named_tag(tag, at, labels)
        elif isinstance(tag, str):
            tag = labels.given.get(tag, tag)
            if tag.isdecimal() and labels.ids_read is not None:  # in a file of columns, numbers are texts
                tag = _named_tag(int(tag), at, labels)
        if not isinstance(tag, str) or not TAG.fullmatch(tag):
            raise UserError(
                f"{at}: {tag!r} is not a tag; expected O, or B-, I-, E- or S- and a type, such as B-PER;"
                f" if the tags are in another column, set data.tag_column"
            )
        tags.append(as_text(tag, at))
    return tags


def _named_tag(tag: int, at: str, labels: LabelNames) -> str:
    if labels.classes is None and not labels.given:
        if labels.ids_read is not None and 0 <= tag < len(labels.known):
            labels.ids_read.add(tag)
            return labels.known[tag]
        raise UserError(
            f"{at}: the number {tag} has no name; write tags as texts, such as B-PER, name the numbers with"
            " data.label_names (0=O 1=B-PER ...), or use a parquet file or a Hub dataset that names them"
        )
    name = labels.name_of(str(tag))
    if name == str(tag):
        known = f"for 0 to {len(labels.classes) - 1}" if labels.classes else f"for {listing([*labels.given])}"
        raise UserError(f"{at}: the number {tag} has no name; there are only names {known}")
    return name


def _integral(label: str) -> str:
    """`1.0` and `1` are the same class, even if a file contains both."""
    whole, point, rest = label.partition(".")
    return whole if point and whole.lstrip("-").isdecimal() and rest and not rest.strip("0") else label


def _describe(value: Any) -> str:
    kinds = {"list": "a list", "dict": "an object", "bytes": "bytes", "bool": "True or False", "str": "a text"}
    return kinds.get(type(value).__name__, "missing" if value is None else f"the number {value}")


class ColumnValue(NamedTuple):
    """A value of a column, where it is, the names of labels, and the lines of its parts if each has its own."""

    value: Any
    where: str
    labels: LabelNames = NO_NAMES
    lines: Sequence[str] | None = None


class ColumnKind(NamedTuple):
    """What the values of a role are.

    Attributes:
        type: of the Arrow column that holds them.
        read: makes such a value of one in a file.
        setting: of `Data`, that names the column.
        files: which files have such a column, for messages.
    """

    type: pa.DataType
    read: Callable[[ColumnValue], Any]
    setting: str
    files: str

    @property
    def is_list(self) -> bool:
        return pa.types.is_list(self.type)


TABLES = "a .csv, .tsv, .json(l) or .parquet file with a {} column"
LISTS = "a .conll or .bmes file (or set data.format to conll), or a .json(l) or .parquet file with tokens and tags"

KINDS = {
    "text": ColumnKind(pa.large_string(), lambda value: as_text(*value[:2]), "text_column", TABLES.format("text")),
    "label": ColumnKind(pa.large_string(), lambda value: as_label(*value[:3]), "label_column", TABLES.format("label")),
    "tokens": ColumnKind(pa.list_(pa.large_string()), lambda value: as_tokens(*value[:2]), "token_column", LISTS),
    "tags": ColumnKind(pa.list_(pa.large_string()), lambda value: as_tags(*value), "tag_column", LISTS),
}


def kind_of(role: str) -> ColumnKind:
    """The kind of values of `role`; a role that is not in KINDS has texts."""
    return KINDS.get(role) or KINDS["text"]._replace(setting=f"{role}_column")
