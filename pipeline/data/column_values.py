"""What the values of a column look like: labels, texts, marks or scores."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from pipeline.data.columns import INDICATED, is_missing
from pipeline.data.rows import MISSING, Peeked

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
# A text by its values alone: this many characters on average. An author or a date has fewer.
TEXT_LENGTH = 12
DATE = re.compile(r"\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}|\d\d:\d\d")


def present(sample: Iterable[Any]) -> list[Any]:
    """The values that are not missing."""
    return [value for value in sample if value is not MISSING and not is_missing(value)]


def is_label(column: str, sample: Sequence[Any]) -> bool:
    """Whether values are few and repeat, and the name is not that of an id or the like."""
    known = present(sample)
    if _is_never_a_label(column) or not known or len(known) < len(sample) / 2:
        return False
    try:
        kinds = len(set(map(str, known)))
    except RecursionError:
        return False
    longest = max(len(str(value)) for value in known[:1000])
    return 1 < kinds <= min(MOST_CLASSES, len(known) / REPEATS) and longest <= 60


def is_text(column: str, sample: Sequence[Any]) -> bool:
    """Whether values are long, differ and have words."""
    known = [value for value in present(sample) if isinstance(value, str)]
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


def indicators(left: Sequence[str], table: Peeked, scored: bool = False) -> list[str]:
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
        kinds = {str(value).strip().lower() for value in present(table.column(column))}
        if kinds and kinds <= marks:
            found.append(column)
    others = [column for column in left if column not in found and is_label(column, table.column(column))]
    return found if len(found) > 1 and not others else []


def scores(left: Sequence[str], table: Peeked) -> list[str]:
    """Columns that have the name of a score and hold numbers."""
    named = [column for column in left if column.strip().lower() in SCORES]
    return [column for column in named if None not in map(number_of, present(table.column(column)))]


def number_of(value: Any) -> float | None:
    """`value` as a number; None if it is not a number."""
    if isinstance(value, (bool, list, dict)):
        return None
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def _is_never_a_label(column: str) -> bool:
    """Whether a name is that of an id, a date, an author or the like, and not of the id or name of a class."""
    name = column.strip()
    return bool(NO_LABELS.fullmatch(name)) and not OF_CLASS.fullmatch(name)
