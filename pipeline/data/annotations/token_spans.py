"""Rows of tokens with spans of tokens: GLiNER's `tokenized_text` and `ner`, and `tokens` with `entities` or `spans`.

The last token of a span is part of it for GLiNER. For others it is, or the end is the place after it: a file in which
some span would be empty, or end after the last token, if read the other way is read the right way; a span's own text
decides otherwise. If nothing decides, the file is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pipeline.config.data import Data
from pipeline.data.annotations import shapes
from pipeline.data.annotations.conversion import others
from pipeline.data.annotations.notes import Notes
from pipeline.data.annotations.spans import Span, Tagger
from pipeline.data.readers.common import NumberedRow, Row
from pipeline.data.rows import Places
from pipeline.errors import UserError

# Column of the tokens -> column of the spans -> whether a span's end is its last token, if the tool is known.
GLINER = ("tokenized_text", "ner")
OTHERS = tuple((tokens, spans) for tokens in ("tokens", "words") for spans in ("entities", "spans", "ner", "ents"))


def matches(names: Sequence[str], rows: Sequence[Row], data: Data) -> bool:
    """Whether there is a column of tokens and one of spans."""
    return _columns(rows) is not None


def made_of(first: Sequence[Row], where: Places, data: Data) -> dict[str, str]:
    """What the columns of the rows are made of, for the user."""
    return dict(zip(("tokens", "tags"), _columns(first) or (), strict=False))


def convert(
    rows: Iterator[NumberedRow], first: Sequence[Row], where: Places, data: Data, warnings: list[str]
) -> Iterator[NumberedRow]:
    """Rows with `tokens` and `tags`.

    Raises:
        UserError: a span is not one of tokens, or overlaps another one.
    """
    found = _columns(first)
    assert found is not None, "matches comes first"
    tokens_column, spans_column = found
    beyond = int(found == GLINER or _end_is_last(first, found, where))
    notes = Notes(str(where))
    tagger = Tagger(notes, data.overlaps == "longest")
    for line, row in rows:
        place = where.at(line)
        tokens = row.get(tokens_column)
        if not isinstance(tokens, list) or not all(isinstance(token, str) for token in tokens):
            raise UserError(f"{place}: {tokens_column} is not a list of words")
        spans = [span._replace(end=span.end + beyond) for span in shapes.read(row.get(spans_column), place)]
        yield line, {**others(row, found), "tokens": tokens, "tags": _tags(tagger, place, tokens, spans, data)}
    warnings += notes.lines()


def _tags(tagger: Tagger, place: str, tokens: list[str], spans: Sequence[Span], data: Data) -> list[str]:
    """Tags of `tokens`: spans of tokens are made spans of characters of a text in which blanks are between them."""
    starts = [0]
    for token in tokens:
        starts.append(starts[-1] + len(token) + 1)
    words = [(start, start + len(token)) for start, token in zip(starts, tokens, strict=False)]
    moved = []
    for span in spans:
        if not 0 <= span.start < span.end <= len(tokens):
            raise UserError(
                f"{place}: the span {span.start} to {span.end - 1} ({span.kind}) is not one of the {len(tokens)}"
                " tokens, which are counted from 0; correct or remove it"
            )
        kind = data.names_of_labels.get(span.kind, span.kind)
        moved.append(Span(words[span.start][0], words[span.end - 1][1], kind))
    return tagger.tag(place, " ".join(tokens), moved, words).tags


def _columns(rows: Sequence[Row]) -> tuple[str, str] | None:
    for tokens, spans in (GLINER, *OTHERS):
        filled = [row for row in rows if row.get(tokens) and row.get(spans)]
        fits = filled and all(_is_words(row[tokens]) and _is_spans(row[spans]) for row in filled)
        if fits and not (_have_texts(filled) and _are_beyond(filled, tokens, spans)):
            return tokens, spans
    return None


def _have_texts(rows: Sequence[Row]) -> bool:
    return all(isinstance(row.get("text"), str) for row in rows)


def _are_beyond(rows: Sequence[Row], tokens: str, spans: str) -> bool:
    """Whether some span ends behind the last token, so that spans count the characters of a text."""
    return any(span.end > len(row[tokens]) for row in rows for span in shapes.spans_in(row[spans]))


def _is_words(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(token, str) for token in value)


def _is_spans(value: Any) -> bool:
    return isinstance(value, (list, Mapping)) and shapes.have(value)


def _end_is_last(rows: Sequence[Row], columns: tuple[str, str], where: Places) -> bool:
    """Whether the end of a span is its last token."""
    tokens_column, spans_column = columns
    votes = {vote for row in rows for vote in _votes(row.get(tokens_column) or [], row.get(spans_column))}
    if len(votes) == 1:
        return votes.pop()
    found = "some ends are" if votes else "it is not clear whether ends are"
    raise UserError(
        f"{where}: {found} the last token of a span or the place after it; give the entities as"
        " tags, one for each token"
    )


def _votes(tokens: Sequence[str], value: Any) -> Iterator[bool]:
    """For each span that only one reading fits, whether its end is its last token."""
    for span in shapes.spans_in(value):
        if span.start == span.end:
            yield True
        elif span.end == len(tokens):
            yield False
        elif span.text:
            joined = "".join(span.text.split())
            if joined == "".join("".join(tokens[span.start : span.end]).split()):
                yield False
            elif joined == "".join("".join(tokens[span.start : span.end + 1]).split()):
                yield True
