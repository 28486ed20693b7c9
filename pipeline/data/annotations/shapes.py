"""The shapes in which spans are written in JSON, a table's cell or a nested column: lists, objects, or both."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pipeline.data.annotations.spans import Span
from pipeline.errors import UserError, shorten

# Names of the fields of a span, in lower case and without underscores.
STARTS = ("start", "startoffset", "beginoffset", "begin", "startchar", "startidx", "startindex", "offset")
ENDS = ("end", "endoffset", "endchar", "endidx", "endindex")
LENGTHS = ("length",)
KINDS = ("label", "labels", "type", "entitytype", "entitygroup", "tag", "category", "class", "entity")
TEXTS = ("text", "word", "mention", "entitytext", "surface", "entity")
LONGEST_QUOTE = 60


class NotSpans(ValueError):
    """A value is not a list of spans."""


def spans_in(value: Any) -> list[Span]:
    """The spans that `value` holds: none, if it is None or empty.

    A span is a list of start, end and type; or an object whose fields have usual names for these, for the text that it
    covers, and for a length in place of the end. Spans are a list; an object of lists, as Arrow stores a list of
    objects; or, as in CLUENER, an object of types with the texts of their entities and lists of [start, last]. The
    value may be written as a string, in JSON or as Python prints it.

    Raises:
        NotSpans: it has none of these shapes.
    """
    if value is None or value != value or (isinstance(value, (str, list, dict)) and not value):
        return []
    if isinstance(value, str):
        value = _parsed(value)
    if isinstance(value, Mapping):
        return list(_by_type(value) if _is_by_type(value) else _of_lists(value))
    if not isinstance(value, (list, tuple)):
        raise NotSpans
    return [span for item in value for span in _of_item(item)]


def have(value: Any) -> bool:
    """Whether `value` is spans, or none."""
    try:
        spans_in(value)
    except NotSpans:
        return False
    return True


def read(value: Any, place: str) -> list[Span]:
    """`spans_in`, with a line for the user.

    Raises:
        UserError: `value`, at `place`, has none of the shapes.
    """
    try:
        return spans_in(value)
    except NotSpans as error:
        found = shorten(json.dumps(value, ensure_ascii=False, default=str), LONGEST_QUOTE)
        raise UserError(
            f'{place}: expected a list of spans, such as [0, 5, "PER"] or {{"start": 0, "end": 5, "label": "PER"}},'
            f" found {found}"
        ) from error


def _parsed(text: str) -> Any:
    if not text.strip():
        return []
    if text.lstrip()[:1] not in "[{":
        raise NotSpans
    try:
        return json.loads(text)
    except ValueError:
        try:
            return ast.literal_eval(text.strip())
        except (ValueError, SyntaxError, RecursionError, MemoryError) as error:
            raise NotSpans from error


def _of_item(item: Any) -> Iterator[Span]:
    if isinstance(item, (list, tuple)):
        if len(item) < 3:
            raise NotSpans
        yield Span(offset(item[0]), offset(item[1]), _kind(item[2]))
    elif isinstance(item, Mapping):
        yield from _of_object(item)
    else:
        raise NotSpans


def _of_object(item: Mapping[str, Any]) -> Iterator[Span]:
    fields = {plain(name): value for name, value in item.items()}
    kind_field = _first(KINDS, fields)
    kinds = fields[kind_field]
    if isinstance(fields.get("points"), list):  # DataTurks: several places of one type
        for point in fields["points"]:
            yield from _of_object({**point, "label": kinds})
        return
    start = offset(fields[_first(STARTS, fields)])
    length = next((fields[name] for name in LENGTHS if fields.get(name) is not None), None)
    end = start + offset(length) if not set(ENDS) & set(fields) else offset(fields[_first(ENDS, fields)])
    texts = (fields.get(name) for name in TEXTS if name != kind_field)
    text = next((text for text in texts if isinstance(text, str)), None)
    for kind in kinds if isinstance(kinds, (list, tuple)) else [kinds]:
        yield Span(start, end, _kind(kind), text)


def plain(name: object) -> str:
    """A name in lower case and without underscores, hyphens and blanks."""
    return str(name).lower().replace("_", "").replace("-", "").replace(" ", "")


def _of_lists(value: Mapping[str, Any]) -> Iterator[Span]:
    lists = {name: items for name, items in value.items() if isinstance(items, (list, tuple))}
    if len({len(items) for items in lists.values()}) != 1:
        raise NotSpans
    for items in zip(*lists.values(), strict=True):
        yield from _of_object(dict(zip(lists, items, strict=True)))


def _is_by_type(value: Mapping[str, Any]) -> bool:
    return all(isinstance(entities, Mapping) for entities in value.values())


def _by_type(value: Mapping[str, Any]) -> Iterator[Span]:
    for kind, entities in value.items():
        for text, places in (entities or {}).items():
            if not isinstance(places, list):
                raise NotSpans
            for place in places:
                if not isinstance(place, (list, tuple)) or len(place) != 2:
                    raise NotSpans
                yield Span(offset(place[0]), offset(place[1]), kind, text)


def _first(names: Sequence[str], fields: Mapping[str, Any]) -> str:
    found = next((name for name in names if fields.get(name) is not None), None)
    if found is None:
        raise NotSpans
    return found


def offset(value: Any) -> int:
    """A whole number, also if it is a text or, as in a column with missing values, a float.

    Raises:
        NotSpans: it is something else.
    """
    if isinstance(value, str) and value.strip().isdecimal():
        return int(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not float(value).is_integer():
        raise NotSpans
    return int(value)


def _kind(value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str) or not value.strip():
        raise NotSpans
    return value.strip()
