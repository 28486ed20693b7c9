"""How the values of a column are read: texts and labels as strings, tokens and tags as lists of them.

A column of many rows is read at once: strings that Arrow holds are taken as they are, and labels are read once for each
distinct value.
"""

from __future__ import annotations

import functools
import json
import math
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.data import list_texts
from pipeline.data.rows import MISSING, Column, values
from pipeline.errors import UserError

Roles = Mapping[str, Sequence[str]]
# The place of a row by its number in the column, for messages.
At = Callable[[int], str]

# What marks a missing label, besides the marks of data.missing_labels; compared without case.
MISSING_MARKS = {"", "nan", "null", "n/a", "<na>", "#n/a"}
# The same as Python and R write it. In other cases, it may be a class: NONE in stance detection, none of emotions.
MISSING_WORDS = {"None", "NA"}

# Marks in a column of its own that say whether a row has a label -> whether it does.
INDICATED = {"0": False, "1": True, "0.0": False, "1.0": True, "false": False, "true": True}
# Characters between several labels in one text, the least ambiguous first.
SEPARATORS = ("|", ";", ",")
LISTED = re.compile(r"\s*\[.*\]\s*", re.DOTALL)


def is_missing(value: Any) -> bool:
    """Whether a value is none at all: null, NaN, or a string that stands for them."""
    if value is None or value is MISSING or value != value:
        return True
    return isinstance(value, str) and (value.strip().lower() in MISSING_MARKS or value.strip() in MISSING_WORDS)


def read_texts(column: Column, at: At) -> pa.Array:
    """Texts as they are; numbers as text; missing values as the empty text.

    Raises:
        UserError: a value is something else, or cannot be encoded.
    """
    if isinstance(column, pa.Array):
        if pa.types.is_null(column.type):
            return pa.array([""] * len(column), pa.string())
        if _is_string(column.type):
            return pc.fill_null(column.cast(pa.string()), "")
    return _strings([_text(value, at, index) for index, value in enumerate(values(column))], at)


def read_targets(column: Column, at: At) -> pa.Array:
    """The same; a row that has no such field has the empty text."""
    return read_texts(
        [None if value is MISSING else value for value in column] if isinstance(column, list) else column, at
    )


def _text(value: Any, at: At, index: int) -> str:
    if type(value) is str:
        return value
    if value is MISSING:
        raise UserError(f"{at(index)}: the row has no text")
    if value is None or value != value:  # NaN is how pandas writes a missing value
        return ""
    if isinstance(value, (list, dict, bytes, bool)):
        raise UserError(f"{at(index)}: the text is {_describe(value)}; expected a string")
    return str(value)


def _strings(texts: Sequence[str | None], at: At) -> pa.Array:
    """An Arrow array of strings.

    Raises:
        UserError: one of them has half a surrogate pair, which no encoding can express.
    """
    try:
        return pa.array(texts, pa.string())
    except UnicodeEncodeError:
        for index, text in enumerate(texts):
            _check_surrogates(text or "", at(index))
        raise


def _check_surrogates(text: str, where: str) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise UserError(
            f"{where}: the text has half a surrogate pair at character {error.start}; fix the \\u escape"
        ) from error


def read_labels(column: Column, at: At) -> pa.Array:
    """Labels as strings, with 1.0 as 1 and without outer blanks; null where there is none; that of a list of one, which
    may be written as a text. See data/labels.py.

    Raises:
        UserError: a value is an object, or a list of more or fewer than one label.
    """
    return by_distinct(column, at, _label)


def _label(value: Any, where: Any) -> str | None:
    if isinstance(value, str) and (own := as_list(value)) and len(own) == 1:
        value = own
    if isinstance(value, list):
        if len(value) > 1:
            raise UserError(
                f"{where}: the row has {len(value)} labels, {_shown(value)}, but a text has one; to learn any number of"
                " them, set data.problem_type to multi_label_classification"
            )
        value = value[0] if value else None
    if isinstance(value, (list, dict, bytes)):
        raise UserError(f"{where}: the label is {_describe(value)}; expected a single name or number")
    if is_missing(value):
        return None
    return integral(str(value).strip())


def read_label_lists(column: Column, at: At) -> pa.Array:
    """Lists of labels, each as in `read_labels`; a text that is no list is split at its bars, semicolons or commas.

    Raises:
        UserError: a value is an object, or a list of something else than names and numbers.
    """
    lists: list[list[str] | None] = []
    for index, value in enumerate(values(column)):
        if is_missing(value):
            lists.append(None)
            continue
        own = as_list(value)
        if own is None:
            separator = next((mark for mark in SEPARATORS if mark in str(value)), ",")
            own = value.split(separator) if isinstance(value, str) else [value]
        names = [_label(name, at(index)) for name in own]
        lists.append(list(dict.fromkeys(name for name in names if name is not None)))
    return pa.array(lists, pa.list_(pa.string()))


def read_indicators(size: int, column: Column, at: At) -> pa.Array:
    """Lists of `size` numbers, 1 for a label that a text has and 0 for one that it has not, as the ids of the labels.

    Raises:
        UserError: a value is something else.
    """
    lists: list[list[str] | None] = []
    for index, value in enumerate(values(column)):
        marks = None if is_missing(value) else as_indicators(value)
        if not is_missing(value) and (marks is None or len(marks) != size):
            raise UserError(f"{at(index)}: expected a 0 or 1 for each of {size} labels, found {_shown(value)}")
        lists.append(None if marks is None else [str(label) for label, mark in enumerate(marks) if mark])
    return pa.array(lists, pa.list_(pa.string()))


def as_indicators(value: Any) -> list[bool] | None:
    """A list of 0 and 1, or of False and True; None if it is something else."""
    own = as_list(value)
    marks = None if own is None else [INDICATED.get(str(mark).lower()) for mark in own]
    return None if marks is None or None in marks else [bool(mark) for mark in marks]


def as_list(value: Any) -> list[Any] | None:
    """A list, or a string that is one in JSON, Python or NumPy; None if it is something else."""
    if isinstance(value, list):
        return value
    if not isinstance(value, str) or not LISTED.fullmatch(value):
        return None
    try:
        return list_texts.parse(value, bare_words=False)
    except list_texts.NotAList:
        return None


def read_numbers(column: Column, at: At, missing: Collection[str] = ()) -> pa.Array:
    """Labels as float64 numbers; null where there is none.

    Args:
        missing: further marks of a missing label, in lower case.

    Raises:
        UserError: a value is no finite number.
    """
    return by_distinct(column, at, functools.partial(_finite, missing), pa.float64())


def _finite(missing: Collection[str], value: Any, where: Any) -> float | None:
    if is_missing(value) or (missing and integral(str(value).strip()).lower() in missing):
        return None
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        shown = repr(value) if isinstance(value, (str, float)) else _describe(value)
        raise UserError(
            f"{where}: the label {shown} is not a number; fix it, add it to data.missing_labels, or set"
            " data.problem_type"
        )
    return number


def by_distinct(column: Column, at: At, read: Callable[[Any, Any], Any], kind: pa.DataType | None = None) -> pa.Array:
    """`read(value, where)` of each value, called once for each distinct one; `where` becomes a place when printed."""
    kind = kind or pa.string()
    if isinstance(column, pa.Array) and not (pa.types.is_nested(column.type) or pa.types.is_null(column.type)):
        coded = column.dictionary_encode()
        codes = pc.fill_null(coded.indices, -1).to_numpy(zero_copy_only=False)
        places = [_First(at, functools.partial(_first_index, codes, code)) for code in range(len(coded.dictionary))]
        distinct = [read(value, where) for value, where in zip(coded.dictionary.to_pylist(), places, strict=True)]
        return pa.array(distinct, kind).take(coded.indices)
    known: dict[tuple[type, Any], Any] = {}
    result = []
    for index, value in enumerate(values(column)):
        key = (type(value), value) if isinstance(value, (str, int)) else None
        if key is None or key not in known:
            own = read(value, _First(at, functools.partial(int, index)))
            if key is None:
                result.append(own)
                continue
            known[key] = own
        result.append(known[key])
    return _strings(result, at) if kind == pa.string() else pa.array(result, kind)


def _first_index(codes: np.ndarray, code: int) -> int:
    return int(np.argmax(codes == code))


class _First:
    """A place that is computed when a message needs it."""

    def __init__(self, at: At, index: Callable[[], int]):
        self._at, self._index = at, index

    def __str__(self) -> str:
        return self._at(self._index())


def read_tokens(column: Column, at: At) -> pa.Array:
    """Lists of words as they are.

    Raises:
        UserError: a value is not a list of texts or numbers.
    """
    return _lists(column, at, "tokens", "a list of words", "a word")


def read_tags(column: Column, at: At) -> pa.Array:
    """Lists of tags as strings, ids as decimal digits; data/tagging/tags.py reads them.

    Raises:
        UserError: a value is not a list of texts or numbers.
    """
    return _lists(column, at, "tags", "a list with a tag for each word", "a tag")


def _lists(column: Column, at: At, what: str, expected: str, one: str) -> pa.Array:
    if isinstance(column, pa.Array) and pa.types.is_list(column.type) and not column.null_count:
        kind = column.type.value_type
        if (_is_string(kind) or pa.types.is_integer(kind)) and not column.flatten().null_count:
            return column.cast(LIST)
    lists = []
    for index, value in enumerate(values(column)):
        if not isinstance(value, list):
            raise UserError(f"{at(index)}: the {what} are {_describe(value)}; expected {expected}")
        for place, own in enumerate(value, start=1):
            if own is None or isinstance(own, (list, dict, bytes, bool)):
                raise UserError(f"{at(index)}: {what[:-1]} {place} is {_describe(own)}; expected {one}")
        lists.append([own if type(own) is str else str(own) for own in value])
    try:
        return pa.array(lists, LIST)
    except UnicodeEncodeError:
        for index, words in enumerate(lists):
            for word in words:
                _check_surrogates(word, at(index))
        raise


def integral(label: str) -> str:
    """`1.0` and `1` are the same class, even if a file contains both."""
    whole, point, rest = label.partition(".")
    return whole if point and whole.lstrip("-").isdecimal() and rest and not rest.strip("0") else label


def _is_string(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _shown(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)[:60]


def _describe(value: Any) -> str:
    if value is MISSING:
        return "missing"
    kinds = {"list": "a list", "dict": "an object", "bytes": "bytes", "bool": "True or False", "str": "a text"}
    return kinds.get(type(value).__name__, "missing" if value is None else f"the number {value}")


class ColumnKind(NamedTuple):
    """What the values of a role are.

    Attributes:
        type: of the Arrow column that holds them.
        read: makes such a column of one that a reader returns; the second argument gives the place of a row.
        setting: of `Data`, that names the column.
        files: which files have such a column, for messages.
        is_target: whether the model learns to predict it; new data may have no such column.
    """

    type: pa.DataType
    read: Callable[[Column, At], pa.Array]
    setting: str
    files: str
    is_target: bool = False

    @property
    def is_list(self) -> bool:
        return pa.types.is_list(self.type)


TABLES = "a .csv, .tsv, .json(l) or .parquet file with a {} column"
TRANSLATED = "a table with the columns source and target, files such as train.en and train.de, or a .tmx file"
LISTS = "a .conll or .bmes file (or set data.format to conll), or a .json(l) or .parquet file with tokens and tags"
STRING, LIST, NUMBER = pa.string(), pa.list_(pa.string()), pa.float64()

KINDS = {
    "text": ColumnKind(STRING, read_texts, "text_column", TABLES.format("text")),
    "label": ColumnKind(STRING, read_labels, "label_column", TABLES.format("label"), is_target=True),
    "tokens": ColumnKind(LIST, read_tokens, "token_column", LISTS),
    "tags": ColumnKind(LIST, read_tags, "tag_column", LISTS, is_target=True),
    "target": ColumnKind(STRING, read_targets, "target_column", TRANSLATED, is_target=True),
}
# problem_type -> the kind of the role `label`, if it is not a single class.
LABELS = {
    "multi_label_classification": KINDS["label"]._replace(type=LIST, read=read_label_lists),
    "regression": KINDS["label"]._replace(type=NUMBER, read=read_numbers),
}


def kind_of(
    role: str, problem_type: str | None = None, missing: Collection[str] = (), indicators: int = 0
) -> ColumnKind:
    """The kind of values of `role`; a role that is not in KINDS has texts.

    Args:
        problem_type: what the labels are.
        missing: further marks of a missing label, in lower case; those of labels that are names are read later.
        indicators: of how many labels each row has a 0 or 1; 0 if it has names or ids.
    """
    if role == "label" and indicators:
        return LABELS["multi_label_classification"]._replace(read=functools.partial(read_indicators, indicators))
    if role == "label" and problem_type in LABELS:
        kind = LABELS[problem_type]
        return kind._replace(read=functools.partial(read_numbers, missing=missing)) if kind.type == NUMBER else kind
    return KINDS.get(role) or KINDS["text"]._replace(setting=f"{role}_column")
