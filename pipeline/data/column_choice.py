"""Which column plays which role: chosen once for all splits, by its name, or by its values if one alone fits."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pipeline.config.data import Data
from pipeline.data import column_values
from pipeline.data.columns import Roles, kind_of
from pipeline.data.problem_types import MULTI, indicated, missing_marks, problem_type_of
from pipeline.data.rows import Peeked
from pipeline.errors import UserError, listing, suggest

SAMPLE_ROWS = 10_000
"""Rows that are looked at before the columns are chosen."""

# What the values of a column must look like if its name does not say its role.
FITS = {"label": column_values.is_label, "text": column_values.is_text, "target": column_values.is_text}


@dataclass(frozen=True)
class Choice:
    """The columns of a source.

    Attributes:
        columns: role -> column.
        found: all columns.
        label_columns: columns of 0 and 1, one for each label, in place of a column of labels.
        problem_type: what the labels are, if there is a role `label`.
        reasons: lines that say why, where the names of the columns do not.
        missing: further marks of a missing label, in lower case.
        origin: what the columns were made of, if an annotation tool has written the rows.
        indicators: of how many labels each row has a 0 or 1 in the column of labels; 0 if it has names or ids.
    """

    columns: Mapping[str, str]
    found: Sequence[str]
    label_columns: Sequence[str] = ()
    problem_type: str | None = None
    reasons: Sequence[str] = field(default_factory=tuple)
    missing: frozenset[str] = frozenset()
    origin: str = ""
    indicators: int = 0

    @property
    def has_target(self) -> bool:
        """Whether there are labels or tags."""
        return bool(self.label_columns) or any(kind_of(role).is_target for role in self.columns)

    def __str__(self) -> str:
        if self.origin:
            return self.origin
        named = dict(self.columns)
        if self.label_columns:
            named["label"] = " + ".join(self.label_columns)
        chosen = ", ".join(f"{role} = {column}" for role, column in named.items())
        # A reader of words per line names the roles itself, beside the numbers of the columns.
        found = [name for name in self.found if not name.isdecimal()] if "tokens" in self.found else self.found
        return f"{chosen} (of: {', '.join(found)})"


def as_trained(data: Data, trained: Data | None, found: Sequence[str]) -> Data:
    """`data` with the columns that a model was trained on, where it names none of its own.

    Args:
        trained: settings of the data that the model was trained on.
        found: columns of the new data.
    """
    names = ("text_column", "text_pair_column", "target_column", "label_column", "token_column", "tag_column")
    before = {name: getattr(trained, name, None) for name in names if getattr(data, name) is None}
    own = {name: same_column(column, found) for name, column in before.items() if column is not None}
    changes: dict[str, Any] = {name: column for name, column in own.items() if column is not None}
    return replace(data, **changes)


def same_column(column: str, found: Sequence[str]) -> str | None:
    """The name of a column in `found`: the same, or the only one that differs just in case and outer blanks."""
    if column in found:
        return column
    alike = [name for name in found if name.strip().casefold() == column.strip().casefold()]
    return alike[0] if len(alike) == 1 else None


def choose(
    roles: Roles,
    table: Peeked,
    data: Data,
    where: str,
    pairs: Sequence[tuple[str, str]] = (),
    problem_type: str | None = None,
    labelled: bool = True,
) -> Choice:
    """The column of each of the `roles`.

    A column is the one that a setting names, else the only one with a usual name, else the only one whose values fit. A
    label fits if it has few different values that repeat, and its name is not that of an id, a date or an author.

    Args:
        roles: role -> usual names.
        table: the training split, or the only one; its first rows are looked at.
        where: the file, for messages.
        pairs: usual names of two columns that hold pairs of texts, the roles text and text_pair.
        problem_type: what labels are, if a saved model knows; else data.problem_type or their values decide.
        labelled: whether labels are needed; otherwise they are left out where there are none.

    Raises:
        UserError: a column that a setting names does not exist, or more than one or none fits.
    """
    found = table.names
    columns = {role: _named(role, usual, found, data, where) for role, usual in roles.items() if usual}
    _add_pair(columns, found, data, where, pairs)
    if "target" in roles and not any(columns.values()):
        columns |= _sides(found, where)
    label_columns: list[str] = []
    reasons: list[str] = []
    for role in roles:
        if columns.get(role) is not None or not roles[role]:
            continue
        left = [column for column in found if column not in columns.values()]
        if role == "label" and (indicators := column_values.indicators(left, table, scored=problem_type == MULTI)):
            label_columns = indicators
            reasons.append(
                f"the columns {listing(indicators)} say yes or no, so each is a label, and a text may have any number"
                f" of them (data.problem_type {MULTI}); if one of them is the label, set data.label_column"
            )
            continue
        if role == "label" and len(scores := column_values.scores(left, table)) == 1:
            columns[role] = scores[0]
            continue
        fitting = [column for column in left if role in FITS and FITS[role](column, table.column(column))]
        if len(fitting) > 1:
            fitting = [column for column in fitting if _last_word(column) in roles[role]] or fitting
        if len(fitting) == 1 and role in FITS:
            columns[role] = fitting[0]
        elif not fitting and role != "label" and len(left) == 1 and _are_known(columns, roles, role):
            columns[role] = left[0]
        elif labelled or not kind_of(role).is_target:
            raise UserError(_ask(role, fitting, found, where, bool(pairs)))
    named = {role: column for role in roles if (column := columns.get(role)) is not None}
    _refuse_shared(named)
    choice = Choice(named, found, tuple(label_columns), None, tuple(reasons), missing_marks(data))
    return _with_problem(choice, table, data, problem_type) if "label" in roles else choice


def _with_problem(choice: Choice, table: Peeked, data: Data, problem_type: str | None) -> Choice:
    """`choice` with what its labels are, and why."""
    problem, reasons = problem_type or data.problem_type or (MULTI if choice.label_columns else None), choice.reasons
    column = choice.columns.get("label")
    if column is None:
        return replace(choice, problem_type=problem)
    sample = table.column(column)
    if problem is None:
        problem, reasons = problem_type_of(sample, column, data)
    size = indicated(sample) if problem == MULTI else 0
    if size:
        reasons = [*reasons, f"each row of {column!r} has a 0 or 1 for each of {size} labels"]
    return replace(choice, problem_type=problem, reasons=tuple(reasons), indicators=size)


def _last_word(column: str) -> str:
    """`sentiment` of airline_sentiment, `text` of reviewText."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", column).replace("_", " ").split(" ")[-1].lower()


def _named(role: str, usual: Sequence[str], found: Sequence[str], data: Data, where: str) -> str | None:
    setting = kind_of(role).setting
    chosen = getattr(data, setting, None)
    if chosen is not None:
        if chosen not in found:
            raise UserError(f"data.{setting}: {where} has no column {chosen!r}{suggest(chosen, found)}")
        return chosen
    matches = [column for column in found if column.strip().lower() in usual]
    if len(matches) > 1:
        names = " or ".join(matches)
        raise UserError(f"{where}: which column holds the {role}, {names}? Set data.{setting}")
    return matches[0] if matches else None


def _add_pair(
    columns: dict[str, str | None], found: Sequence[str], data: Data, where: str, pairs: Sequence[tuple[str, str]]
) -> None:
    """Assign the roles text and text_pair if two columns have the usual names of a pair, or a setting names one."""
    if data.text_pair_column is not None:
        columns["text_pair"] = _named("text_pair", (), found, data, where)
        return
    by_name = {column.strip().lower(): column for column in found}
    for first, second in pairs:
        if first in by_name and second in by_name and data.text_column in (None, by_name[first]):
            columns |= {"text": by_name[first], "text_pair": by_name[second]}
            return


def _sides(found: Sequence[str], where: str) -> dict[str, str | None]:
    """The roles text and target in columns of which none is known: no value says which way to translate.

    Raises:
        UserError: there are more than two columns, or they have names.
    """
    if [*found] == ["1", "2"]:  # a table without names has the text first
        return {"text": "1", "target": "2"}
    names = " or ".join(map(repr, found)) if len(found) < 9 else listing([*map(repr, found)])
    raise UserError(
        f"{where}: which column is to be translated, {names}? Set data.text_column, and data.target_column if there are"
        " more than two"
    )


def _are_known(columns: Mapping[str, str | None], roles: Roles, role: str) -> bool:
    """Whether all roles but this one have a column."""
    return all(columns.get(other) for other, usual in roles.items() if usual and other != role)


def _refuse_shared(named: Mapping[str, str]) -> None:
    for role, column in named.items():
        sharing = [other for other, own in named.items() if own == column]
        if len(sharing) > 1:
            raise UserError(f"data.{role}_column: {column!r} is used for {' and for '.join(sharing)}; set another one")


def _ask(role: str, fitting: Sequence[str], found: Sequence[str], where: str, pairs: bool) -> str:
    kind = kind_of(role)
    if list(found) == ["text"]:
        return f"{where}: it has texts only, no {role}{'' if role.endswith('s') else 's'}; give {kind.files}"
    if list(found) == ["tokens"]:
        return (
            f"{where}: it has words only, no {role}; write the tag of each word after it, separated by a blank or a tab"
        )
    if not kind.is_list and {"tokens", "tags"} <= set(found):
        return f"{where}: it holds words and tags, not texts; give {kind.files}, or train on it with the task ner"
    if len(fitting) > 1:
        may_be_pair = pairs and role == "text"
        names, pair = " or ".join(fitting), ", and for pairs of texts data.text_pair_column, too" * may_be_pair
        return f"{where}: which column holds the {role}, {names}? Set data.{kind.setting}{pair}"
    needs = f" (a list in each row); give {kind.files}, or" if kind.is_list else ";"
    return f"{where}: no column looks like the {role}{needs} set data.{kind.setting} to one of: {listing(found)}"
