"""Prodigy's JSON lines: spans, a label or choices, and the annotator's answer to the question.

Only accepted rows are read; rejected and ignored ones are counted. If the question is always about the same label, the
rejected texts are those that do not have it. Spans refer to Prodigy's own tokens, which are kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pipeline.config.data import Data
from pipeline.data.annotations import shapes
from pipeline.data.annotations.conversion import Converter, as_text, others
from pipeline.data.annotations.notes import Notes
from pipeline.data.annotations.own_words import own_words
from pipeline.data.readers.common import NumberedRow, Row
from pipeline.data.rows import Places
from pipeline.errors import UserError

ACCEPT, ANSWERS = "accept", ("accept", "reject", "ignore")
# Columns that Prodigy adds to every row, so that a column called answer may be something else without them.
OWN_COLUMNS = ("_input_hash", "_task_hash", "_view_id", "_session_id")
LEFT_OUT = {
    "reject": "{} rejected rows were left out: they say what a text is not",
    "ignore": "{} ignored rows were left out",
}
OPPOSITE = "all rows are about one label, so {} rejected rows have the label "
ONE_QUESTION = "{} rows are answers about a single span (_is_binary): the rest of their texts counts as no entity"


def matches(names: Sequence[str], rows: Sequence[Row], data: Data) -> bool:
    """Whether the rows have spans and an answer or Prodigy's own columns."""
    return "text" in names and bool({"spans", "tokens"} & {*names}) and _is_prodigy(names, rows)


def matches_labels(names: Sequence[str], rows: Sequence[Row], data: Data) -> bool:
    """Whether the rows have a label or choices, and an answer or Prodigy's own columns."""
    return "text" in names and bool({"label", "options", "accept"} & {*names}) and _is_prodigy(names, rows)


def _is_prodigy(names: Sequence[str], rows: Sequence[Row]) -> bool:
    if "answer" in names and {row.get("answer") for row in rows if isinstance(row.get("answer"), str)} <= {*ANSWERS}:
        return any(row.get("answer") for row in rows)
    return bool({*OWN_COLUMNS} & {*names})


def made_of(first: Sequence[Row], where: Places, data: Data) -> dict[str, str]:
    """What the columns of the rows are made of, for the user."""
    return {"tokens": "text", "tags": "spans"}


def convert(
    rows: Iterator[NumberedRow], first: Sequence[Row], where: Places, data: Data, warnings: list[str]
) -> Iterator[NumberedRow]:
    """Accepted rows with `text`, `tokens` and `tags`.

    Raises:
        UserError: a row is malformed.
    """
    converter = Converter(str(where), data)
    for line, row in _accepted(rows, where, converter.notes):
        place = where.at(line)
        text = as_text(row.get("text"), place)
        if row.get("_is_binary"):
            converter.notes.add(ONE_QUESTION, place)
        spans = shapes.read(row.get("spans"), place)
        words = own_words(row.get("tokens"), text, place, converter.notes)
        yield line, {**_others(row), **converter.row(place, text, spans, words)}
    warnings += converter.notes.lines()


def labels_made_of(first: Sequence[Row], where: Places, data: Data) -> dict[str, str]:
    """What the columns of the rows are made of, for the user."""
    return {"text": "text", "label": "accept" if any(isinstance(row.get("accept"), list) for row in first) else "label"}


def convert_labels(
    rows: Iterator[NumberedRow], first: Sequence[Row], where: Places, data: Data, warnings: list[str]
) -> Iterator[NumberedRow]:
    """Accepted rows with `text` and `label`: the label, the choice, or the list of choices where several are allowed.

    Raises:
        UserError: a row is malformed.
    """
    notes = Notes(str(where))
    several = any(_is_multiple(row) for row in first)
    only = _only_label(first)
    if only is not None:
        rows = _with_opposite(rows, only, where, notes)
    for line, row in _accepted(rows, where, notes):
        place = where.at(line)
        label = _label(row, several, place)
        yield line, {**_others(row), "text": as_text(row.get("text"), place), "label": label}
    warnings += notes.lines()


def _accepted(rows: Iterator[NumberedRow], where: Places, notes: Notes) -> Iterator[NumberedRow]:
    for line, row in rows:
        answer = row.get("answer") or ACCEPT
        if answer not in ANSWERS:
            raise UserError(f"{where.at(line)}: the answer is {answer!r:.40}; expected accept, reject or ignore")
        if answer == ACCEPT:
            yield line, row
        else:
            notes.add(LEFT_OUT[answer], where.at(line))


def _only_label(rows: Sequence[Row]) -> str | None:
    """The label that all questions are about, if some of its rows are rejected."""
    labels, answers = ([row.get(name) for row in rows] for name in ("label", "answer"))
    is_choice = any(isinstance(row.get("accept"), list) for row in rows)
    if is_choice or ACCEPT not in answers or "reject" not in answers or not isinstance(labels[0], str):
        return None
    return labels[0] if labels.count(labels[0]) == len(labels) else None


def _with_opposite(rows: Iterator[NumberedRow], only: str, where: Places, notes: Notes) -> Iterator[NumberedRow]:
    """`rows`, the rejected ones with the opposite of the label `only`."""
    for line, row in rows:
        if row.get("label") not in (only, None):
            raise UserError(
                f"{where.at(line)}: the label {row['label']!r}, but the rows before ask about {only!r} only"
            )
        if row.get("answer") == "reject":
            notes.add(OPPOSITE + repr(f"not {only}").replace("{", "{{").replace("}", "}}"), where.at(line))
            row = {**row, "label": f"not {only}", "answer": ACCEPT}
        yield line, row


def _is_multiple(row: Row) -> bool:
    """Whether several choices are allowed: Prodigy's choice_style, or a row with several."""
    config = row.get("config")
    style = config.get("choice_style") if isinstance(config, dict) else None
    accepted = row.get("accept")
    return style == "multiple" or (isinstance(accepted, list) and len(accepted) > 1)


def _label(row: Row, several: bool, place: str) -> object:
    accepted = row.get("accept")
    if not isinstance(accepted, list):
        return [row["label"]] if several and row.get("label") else row.get("label")
    if several:
        return accepted
    if len(accepted) > 1:
        raise UserError(f"{place}: {len(accepted)} choices, but the rows before have one; keep one")
    return accepted[0] if accepted else None


def _others(row: Row) -> Row:
    return {name: value for name, value in others(row, ["answer"]).items() if not str(name).startswith("_")}
