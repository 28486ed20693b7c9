"""Label Studio's JSON: tasks with annotations (called completions by old versions) or predictions of spans or choices.

Of several annotations of a task the one marked as ground truth counts, or else the first; cancelled ones never do.
Predictions count only if no task has an annotation, as in a file that is about to be corrected. Its other exports are
read by others: JSON-MIN and CSV by `span_rows`, CoNLL by data/readers/conll.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from pipeline.config.data import Data
from pipeline.data.annotations import shapes
from pipeline.data.annotations.conversion import Converter, as_text, others, text_column
from pipeline.data.annotations.notes import Notes
from pipeline.data.annotations.spans import Span
from pipeline.data.readers.common import NumberedRow, Row
from pipeline.data.rows import Places
from pipeline.errors import UserError, listing

ANNOTATIONS, PREDICTIONS = ("annotations", "completions"), "predictions"
# Of regions of spans, and of choices.
SPANS, HTML, CHOICES = "labels", "hypertextlabels", "choices"
PREDICTED = "no task has an annotation, so the predictions of {} tasks were read"
UNANNOTATED = "{} tasks without an annotation were left out"
CANCELLED = "{} tasks whose annotations were all cancelled were left out"
SEVERAL = "{} tasks have several annotations; only the ground truth or, without one, the first was read"
IGNORED = "{} results that are not spans of a text were ignored"


class _Task(NamedTuple):
    """A task: where it is, its text, the results of the annotation that counts, and other columns of its row."""

    place: str
    text: str
    results: list[Mapping[str, Any]]
    others: Row


def matches(names: Sequence[str], rows: Sequence[Row], data: Data) -> bool:
    """Whether the rows are tasks."""
    return "data" in names and bool({*ANNOTATIONS, PREDICTIONS} & {*names}) and isinstance(rows[0].get("data"), dict)


def made_of(first: Sequence[Row], where: Places, data: Data) -> dict[str, str]:
    """What the columns of the rows are made of, for the user."""
    spans = next((name for name in ANNOTATIONS if any(row.get(name) for row in first)), PREDICTIONS)
    return {"tokens": f"data.{_text_column(first, where, data)}", "tags": spans}


def convert(
    rows: Iterator[NumberedRow], first: Sequence[Row], where: Places, data: Data, warnings: list[str]
) -> Iterator[NumberedRow]:
    """Rows with `text`, `tokens` and `tags`.

    Raises:
        UserError: a task is malformed, or its text cannot be found.
    """
    converter = Converter(str(where), data)
    for line, task in _tasks(rows, first, where, data, converter.notes):
        spans = [span for result in task.results for span in _spans_of(result, task.place, converter.notes)]
        yield line, {**task.others, **converter.row(task.place, task.text, spans)}
    warnings += converter.notes.lines()


def labels_made_of(first: Sequence[Row], where: Places, data: Data) -> dict[str, str]:
    """What the columns of the rows are made of, for the user."""
    made = made_of(first, where, data)
    return {"text": made["tokens"], "label": f"{made['tags']} (choices)"}


def convert_labels(
    rows: Iterator[NumberedRow], first: Sequence[Row], where: Places, data: Data, warnings: list[str]
) -> Iterator[NumberedRow]:
    """Rows with `text` and `label`: a choice, or a list of them where some task has several.

    Raises:
        UserError: a task is malformed, or its text cannot be found.
    """
    notes = Notes(str(where))
    annotated = _are_annotated(first)
    several = any(len(_choices(_results(row, annotated, Notes(""), str(where)))) > 1 for row in first)
    for line, task in _tasks(rows, first, where, data, notes):
        choices = _choices(task.results)
        if len(choices) > 1 and not several:
            raise UserError(f"{task.place}: {len(choices)} choices, but the tasks before have one; keep one")
        yield line, {**task.others, "text": task.text, "label": choices if several else (*choices, None)[0]}
    warnings += notes.lines()


def texts(rows: Iterator[NumberedRow], first: Sequence[Row], where: Places, data: Data) -> Iterator[NumberedRow]:
    """Rows with the `text` of every task, annotated or not."""
    column = _text_column(first, where, data)
    for line, row in rows:
        place = where.at(line)
        yield line, {**others(row), "text": as_text(_data(row, place).get(column), place)}


def _tasks(
    rows: Iterator[NumberedRow], first: Sequence[Row], where: Places, data: Data, notes: Notes
) -> Iterator[tuple[int, _Task]]:
    column = _text_column(first, where, data)
    annotated = _are_annotated(first)
    for line, row in rows:
        place = where.at(line)
        results = _results(row, annotated, notes, place)
        if results is not None:
            text = as_text(_data(row, place).get(column), place)
            yield line, _Task(place, text, results, others({**_data(row, place), **row}, [column]))


def _are_annotated(rows: Sequence[Row]) -> bool:
    return any(row.get(name) for row in rows for name in ANNOTATIONS)


def _results(row: Row, annotated: bool, notes: Notes, place: str) -> list[Mapping[str, Any]] | None:
    """Results of the annotation that counts; None if there is none."""
    names = ANNOTATIONS if annotated else (PREDICTIONS,)
    found = [one for name in names for one in _objects(row.get(name), name, place)]
    valid = [one for one in found if not one.get("was_cancelled")]
    if not valid:
        notes.add(CANCELLED if found else UNANNOTATED, place)
        return None
    if not annotated:
        notes.add(PREDICTED, place)
    if len(valid) > 1:
        notes.add(SEVERAL, place)
    best = next((one for one in valid if one.get("ground_truth")), valid[0])
    return _objects(best.get("result"), "result", place)


def _objects(value: Any, name: str, place: str) -> list[Mapping[str, Any]]:
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(item, Mapping) for item in value):
        raise UserError(f"{place}: {name} is {str(value)[:40]}; expected a list of objects, as Label Studio exports it")
    return value


def _spans_of(result: Mapping[str, Any], place: str, notes: Notes) -> list[Span]:
    value = result.get("value")
    if result.get("type") == HTML or (isinstance(value, Mapping) and HTML in value and "startOffset" in value):
        raise UserError(
            f"{place}: the spans are places in HTML (hypertextlabels); annotate plain text (the tag Text in the"
            " labelling interface)"
        )
    if not isinstance(value, Mapping) or not value.get(SPANS) or "start" not in value:
        if result.get("type") not in ("relation", None):
            notes.add(IGNORED, f"{place} {result.get('type')}")
        return []
    return shapes.read([{name: value.get(name) for name in ("start", "end", "text", SPANS)}], place)


def _choices(results: Sequence[Mapping[str, Any]] | None) -> list[str]:
    values = [result.get("value") for result in results or ()]
    found = [value.get(CHOICES) for value in values if isinstance(value, Mapping)]
    return [str(choice) for choices in found if isinstance(choices, list) for choice in choices]


def _data(row: Row, place: str) -> Row:
    found = row.get("data")
    if not isinstance(found, dict):
        raise UserError(f'{place}: the task has no data; expected {{"data": {{"text": ...}}, "annotations": [...]}}')
    return found


def _text_column(first: Sequence[Row], where: Places, data: Data) -> str:
    rows = [row["data"] for row in first if isinstance(row.get("data"), dict)]
    column = text_column(rows, data.token_column or data.text_column)
    if column is None:
        names = sorted({name for row in rows for name in row})
        setting = f"rename one in the data of the tasks to text: {listing(names)}" if names else "give them a text"
        raise UserError(f"{where}: it is not clear which field is the text of the tasks; {setting}")
    return column


def matches_labels(names: Sequence[str], rows: Sequence[Row], data: Data) -> bool:
    """Whether the rows are tasks."""
    return matches(names, rows, data)
