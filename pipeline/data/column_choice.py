"""Which column plays which role: chosen once for all splits, by its name, or by its values if one alone fits."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pipeline.config.data import Data
from pipeline.data.columns import INDICATED, SEPARATORS, Roles, as_indicators, as_list, is_missing, kind_of
from pipeline.data.rows import MISSING, Peeked
from pipeline.errors import UserError, listing, suggest

SAMPLE_ROWS = 10_000
"""Rows that are looked at before the columns are chosen."""

SINGLE, MULTI, REGRESSION = "single_label_classification", "multi_label_classification", "regression"
"""What a label is, in the terms of `problem_type` in transformers' configurations."""
PROBLEM_TYPES = (SINGLE, MULTI, REGRESSION)
# Columns of numbers that are labels by their name, if no column has a usual name of labels.
SCORES = {"score", "scores", "similarity", "similarity_score", "relatedness", "relatedness_score", "gold_score", "y"}

# Columns that are never labels unless data.label_column names them, even if their values are few.
NO_LABELS = re.compile(
    r"(?i:(.*[ _-])?(id|ids|idx|index|uuid|guid|uid|no|nr|num|number|row|line|page|user|username|author|authors|"
    r"reviewer|annotator|worker|rater|name|title|date|time|datetime|timestamp|day|month|year|created|created_utc|url|"
    r"link|source|src|origin|file|filename|path|lang|language|split|fold|hash|ip|length|len|count|words|tokens|chars)"
    r"|unnamed(: \d+)?|_.*)|.*[a-z](Id|ID|Name|Date|Time)"
)
# Numbers or names of classes, such as label_id, className or "Class Index" (AG News).
OF_CLASS = re.compile(
    r"(?i:(label|class|category|sentiment|emotion|intent|topic|target)[ _-]?(id|idx|index|num|no|name))"
)
# A label by its values alone: there are at most this many different ones, and each occurs this often on average.
MOST_CLASSES, REPEATS = 50, 2
# Labels are numbers if more than this share of them is, and some are not whole.
MOSTLY = 0.9
# A text by its values alone: this many characters on average. An author or a date has fewer.
TEXT_LENGTH = 12


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
        if role == "label" and (indicators := _indicators(left, table, scored=problem_type == MULTI)):
            label_columns = indicators
            reasons.append(
                f"the columns {listing(indicators)} say yes or no, so each is a label, and a text may have any number"
                f" of them (data.problem_type {MULTI}); if one of them is the label, set data.label_column"
            )
            continue
        if role == "label" and len(scores := _scores(left, table)) == 1:
            columns[role] = scores[0]
            continue
        fitting = [column for column in left if _FITS.get(role, _is_other)(column, table.column(column))]
        if len(fitting) > 1:
            fitting = [column for column in fitting if _last_word(column) in roles[role]] or fitting
        if len(fitting) == 1 and role in _FITS:
            columns[role] = fitting[0]
        elif not fitting and role != "label" and len(left) == 1 and _are_known(columns, roles, role):
            columns[role] = left[0]
        elif labelled or not kind_of(role).is_target:
            raise UserError(_ask(role, fitting, found, where, bool(pairs)))
    named = {role: column for role in roles if (column := columns.get(role)) is not None}
    _refuse_shared(named)
    choice = Choice(named, found, tuple(label_columns), None, tuple(reasons), _missing_marks(data))
    return _with_problem(choice, table, data, problem_type) if "label" in roles else choice


def _with_problem(choice: Choice, table: Peeked, data: Data, problem_type: str | None) -> Choice:
    """`choice` with what its labels are, and why."""
    problem, reasons = problem_type or data.problem_type or (MULTI if choice.label_columns else None), choice.reasons
    column = choice.columns.get("label")
    if column is None:
        return replace(choice, problem_type=problem)
    sample = table.column(column)
    if problem is None:
        problem, reasons = _problem(sample, column, data)
    size = _indicated(sample) if problem == MULTI else 0
    if size:
        reasons = [*reasons, f"each row of {column!r} has a 0 or 1 for each of {size} labels"]
    return replace(choice, problem_type=problem, reasons=tuple(reasons), indicators=size)


def _last_word(column: str) -> str:
    """`sentiment` of airline_sentiment, `text` of reviewText."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", column).replace("_", " ").split(" ")[-1].lower()


def _missing_marks(data: Data) -> frozenset[str]:
    return frozenset(mark.strip().lower() for mark in data.missing_labels or ())


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


def _is_never_a_label(column: str) -> bool:
    """Whether a name is that of an id, a date, an author or the like, and not of the id or name of a class."""
    name = column.strip()
    return bool(NO_LABELS.fullmatch(name)) and not OF_CLASS.fullmatch(name)


def _present(sample: Iterable[Any]) -> list[Any]:
    return [value for value in sample if value is not MISSING and not is_missing(value)]


def _is_label(column: str, sample: Sequence[Any]) -> bool:
    """Whether values are few and repeat, and the name is not that of an id or the like."""
    known = _present(sample)
    if _is_never_a_label(column) or not known or len(known) < len(sample) / 2:
        return False
    try:
        kinds = len(set(map(str, known)))
    except RecursionError:
        return False
    longest = max(len(str(value)) for value in known[:1000])
    return 1 < kinds <= min(MOST_CLASSES, len(known) / REPEATS) and longest <= 60


def _is_text(column: str, sample: Sequence[Any]) -> bool:
    known = [value for value in _present(sample) if isinstance(value, str)]
    if not known or len(known) < len(sample) / 2:
        return False
    lengths = sum(map(len, known)) / len(known)
    # An address or a date is long, but has no words.
    return lengths >= TEXT_LENGTH and len(set(known)) > len(known) / 2 and _has_words(known)


def _has_words(known: Sequence[str]) -> bool:
    """Whether most values contain blanks between words, or letters of a script that is written without them."""
    shown = known[:1000]
    worded = sum(len(value.split()) > 2 or _is_unspaced(value) for value in shown)
    return worded > len(shown) / 2 and not _are_dates(shown)


def _is_unspaced(value: str) -> bool:
    return sum(character > "\u0e00" for character in value) > len(value) / 2


def _are_dates(shown: Sequence[str]) -> bool:
    return sum(bool(DATE.search(value)) and len(value) < 40 for value in shown) > len(shown) / 2


DATE = re.compile(r"\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}|\d\d:\d\d")


def _is_other(column: str, sample: Sequence[Any]) -> bool:
    return False


_FITS = {"label": _is_label, "text": _is_text, "target": _is_text}


def _indicators(left: Sequence[str], table: Peeked, scored: bool = False) -> list[str]:
    """Columns that hold nothing but 0 and 1, like those of Jigsaw's comments, or false and true; none if there is only
    one, or if another column may be the label.

    Args:
        scored: whether a saved model has several labels; then -1 is a row without labels, as in Jigsaw's test data.
    """
    marks = {*INDICATED, *(("-1", "-1.0") if scored else ())}
    found = []
    for column in left:
        if column.isdecimal() or _is_never_a_label(column):
            continue
        kinds = {str(value).strip().lower() for value in _present(table.column(column))}
        if kinds and kinds <= marks:
            found.append(column)
    others = [column for column in left if column not in found and _is_label(column, table.column(column))]
    return found if len(found) > 1 and not others else []


def _scores(left: Sequence[str], table: Peeked) -> list[str]:
    """Columns that have the name of a score and hold numbers."""
    named = [column for column in left if column.strip().lower() in SCORES]
    return [column for column in named if None not in map(_number, _present(table.column(column)))]


def _problem(sample: Sequence[Any], column: str, data: Data) -> tuple[str, list[str]]:
    """What the values of the label column are, and why."""
    marks = _missing_marks(data)
    known = [value for value in _present(sample) if str(value).strip().lower() not in marks]
    listed = [as_list(value) for value in known]
    if any(own is not None and len(own) != 1 for own in listed):
        return MULTI, [
            f"the rows have lists of labels in {column!r}, so the model learns any number of labels a text"
            f" (data.problem_type {MULTI})"
        ]
    numbers = [number for value in known if (number := _number(value)) is not None]
    # A single typing error does not make classes of measurements; the error is refused with its line.
    if len(numbers) > MOSTLY * len(known) and not all(map(float.is_integer, numbers)) and not data.label_names:
        return REGRESSION, [
            f"the labels in {column!r} are numbers that are not whole, so the model learns a number (data.problem_type"
            f" {REGRESSION}); to learn classes, set data.problem_type to {SINGLE}"
        ]
    return SINGLE, _joined_labels({value for value in known if isinstance(value, str)}, column)


def _indicated(sample: Sequence[Any]) -> int:
    """Of how many labels each row has a 0 or 1, as the losses of torch take them; 0 if they are ids or names, none of
    which would be there twice in a row."""
    marks = [as_indicators(value) for value in _present(sample)]
    sizes = {0 if own is None else len(own) for own in marks}
    repeats = any(own is not None and len(own) > len(set(own)) for own in marks)
    return sizes.pop() if len(sizes) == 1 and repeats else 0


def _joined_labels(known: set[str], column: str) -> list[str]:
    """A line about labels that look like several in one, such as `drama|comedy` beside `drama` and `comedy`."""
    for separator in SEPARATORS:
        parts = {label: [part.strip() for part in label.split(separator)] for label in known if separator in label}
        joined = sorted(label for label, own in parts.items() if all(part in known for part in own))
        single = known - parts.keys()
        if not joined and parts and single and all(map(str.isdecimal, [*single, *itertools.chain(*parts.values())])):
            joined = sorted(parts)  # ids of labels, some of which never occur alone
        if joined:
            return [
                f"the labels in {column!r} such as {joined[0]!r} are read as classes of their own; to learn any number"
                f" of labels a text, set data.problem_type to {MULTI}"
            ]
    return []


def _number(value: Any) -> float | None:
    if isinstance(value, (bool, list, dict)):
        return None
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


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
