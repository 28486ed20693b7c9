"""spaCy's JSON of paragraphs, its categories, and DocBin.

A pair such as ["Ann left", {"entities": [[0, 3, "PER"]]}] is a row with the field `text` when it is read as JSON, and
`span_rows` reads it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.config.data import Data
from pipeline.data.annotations.conversion import others
from pipeline.data.annotations.notes import Notes
from pipeline.data.readers.common import NumberedRow, Row
from pipeline.data.rows import Places
from pipeline.errors import UserError, reason

MISSING = "-"  # the tag of a word whose entity is not known
UNKNOWN = "{} words without a tag (-) count as no entity"


def matches(names: Sequence[str], rows: Sequence[Row], data: Data) -> bool:
    """Whether the rows are documents of the JSON of spaCy 2: paragraphs of sentences of tokens."""
    return "paragraphs" in names and isinstance(rows[0].get("paragraphs"), list)


def made_of(first: Sequence[Row], where: Places, data: Data) -> dict[str, str]:
    """What the columns of the rows are made of, for the user."""
    return {"tokens": "paragraphs (orth)", "tags": "paragraphs (ner)"}


def convert(
    rows: Iterator[NumberedRow], first: Sequence[Row], where: Places, data: Data, warnings: list[str]
) -> Iterator[NumberedRow]:
    """A row for each sentence, with the tags of the file (BILUO); its line is the number of the document.

    Raises:
        UserError: a document is malformed.
    """
    notes = Notes(str(where))
    for number, row in rows:
        place = where.at(number)
        try:
            tokens_of = [
                [(str(token["orth"]), str(token.get("ner") or MISSING)) for token in sentence["tokens"]]
                for paragraph in row["paragraphs"]
                for sentence in paragraph["sentences"]
            ]
        except (KeyError, TypeError) as error:
            raise UserError(
                f"{place}: expected paragraphs of sentences of tokens with orth and ner, as spaCy 2 writes them"
            ) from error
        for tokens in tokens_of:
            yield number, {**others(row), **_sentence(tokens, notes, place)}
    warnings += notes.lines()


def _sentence(tokens: Sequence[tuple[str, str]], notes: Notes, place: str) -> Row:
    """Blanks are tokens in spaCy, but no words."""
    words = [(word, tag) for word, tag in tokens if word.strip()]
    for word, tag in words:
        if tag == MISSING:
            notes.add(UNKNOWN, f"{place} {word}")
    tags = ["O" if tag == MISSING else tag for _, tag in words]
    return {"tokens": [word for word, _ in words], "tags": tags}


def matches_labels(names: Sequence[str], rows: Sequence[Row], data: Data) -> bool:
    """Whether the rows have a text and a score for each category."""
    return "text" in names and any(isinstance(row.get("cats"), Mapping) for row in rows)


def labels_made_of(first: Sequence[Row], where: Places, data: Data) -> dict[str, str]:
    """What the columns of the rows are made of, for the user."""
    return {"text": "text", "label": "cats"}


def convert_labels(
    rows: Iterator[NumberedRow], first: Sequence[Row], where: Places, data: Data, warnings: list[str]
) -> Iterator[NumberedRow]:
    """Rows with `text` and `label`: the category whose score is 1, or a list of them where a row has several or none.

    Raises:
        UserError: a score is neither 0 nor 1.
    """
    several = any(_count(row) != 1 for row in first if row.get("cats"))
    for line, row in rows:
        found = _categories(row, where.at(line))
        if len(found) > 1 and not several:
            raise UserError(f"{where.at(line)}: {len(found)} categories, but the rows before have one; keep one")
        label = found if several else (*found, None)[0]
        yield line, {**others(row), "text": row.get("text"), "label": label}


def _count(row: Row) -> int:
    scores = row["cats"]
    return sum(score == 1 for score in scores.values()) if isinstance(scores, Mapping) else 1


def _categories(row: Row, place: str) -> list[str]:
    scores = row.get("cats") or {}
    if not isinstance(scores, Mapping):
        raise UserError(f'{place}: expected an object of categories, such as "cats": {{"POSITIVE": 1, "NEGATIVE": 0}}')
    if unclear := [name for name, score in scores.items() if score not in (0, 1, None)]:
        raise UserError(
            f"{place}: the category {unclear[0]!r} has the score {scores[unclear[0]]!r:.20}; expected 0 or 1"
        )
    return [name for name, score in scores.items() if score]


def read(file: Path, data: Data, warnings: list[str]) -> Iterator[NumberedRow]:
    """Documents of a DocBin (.spacy), numbered from 1, as rows with `text`, `tokens`, `tags` and `cats`.

    Raises:
        UserError: spaCy is not installed, or cannot read the file.
    """
    try:
        import spacy
        from spacy.tokens import DocBin
    except ImportError as error:
        raise UserError(
            f"{file}: only spaCy can read this file (DocBin); run `pip install spacy`, or write the texts and entities"
            f" to a .jsonl file, such as {json.dumps({'text': 'Ann left', 'entities': [[0, 3, 'PER']]})}"
        ) from error
    try:
        documents = list(DocBin().from_disk(file).get_docs(spacy.blank("xx").vocab))
    except Exception as error:  # msgpack, zlib and spaCy raise many kinds for bytes that are no DocBin
        raise UserError(f"{file}: spaCy {spacy.__version__} cannot read this file: {reason(error)}") from error
    notes = Notes(str(file))
    for number, document in enumerate(documents, start=1):
        tokens = [(token.text, _tag(token)) for token in document]
        row = {"text": document.text, **_sentence(tokens, notes, f"{file}:{number}")}
        yield number, {**row, "cats": dict(document.cats)} if document.cats else row
    warnings += notes.lines()


def _tag(token: Any) -> str:
    if not token.ent_iob_:
        return MISSING
    return "O" if token.ent_iob_ == "O" else f"{token.ent_iob_}-{token.ent_type_}"
