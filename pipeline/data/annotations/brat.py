"""brat's standoff: a folder of texts (.txt), each with a file of the same name (.ann) that holds its spans.

A line `T1<tab>PER 0 12<tab>Anselm Lindt` is a span; relations, events, attributes, references and notes are ignored. A
span in several pieces (`PER 0 3;8 12`) is read as one if only blanks are between them, and otherwise left out and
reported: tags cannot say that words in its middle do not belong to it.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from pathlib import Path

from pipeline.config.data import Data
from pipeline.config.files.split_names import in_order
from pipeline.data.annotations.conversion import Converter
from pipeline.data.annotations.notes import Notes
from pipeline.data.annotations.spans import Span
from pipeline.data.readers.common import NumberedRow, lines, text_of
from pipeline.errors import UserError, listing

TEXT, ANNOTATION = ".txt", ".ann"
SPAN = re.compile(r"(?P<id>T\S*)\t(?P<kind>\S+) (?P<pieces>\d+ \d+(?:;\d+ \d+)*)(?:\t(?P<text>.*))?")
IN_PIECES = "{} spans in several pieces were left out"
UNANNOTATED = "{} texts without an .ann file were left out"


def read(folder: Path, data: Data, warnings: list[str]) -> Iterator[NumberedRow]:
    """A row with `id` (the name of its files), `text`, `tokens` and `tags` for each text, numbered from 1.

    Raises:
        UserError: there is no text with annotations, a text is missing, or a line or span is malformed.
    """
    converter = Converter(str(folder), data)
    annotated, texts = _names(folder, ANNOTATION), _names(folder, TEXT)
    if missing := sorted(annotated - texts):
        names = listing([f"{name.relative_to(folder)}{TEXT}" for name in missing])
        raise UserError(f"{folder}: there are annotations without their texts; add {names}, or remove the {ANNOTATION}")
    if not annotated:
        raise UserError(f"{folder}: no {TEXT} file has an {ANNOTATION} file of the same name next to it")
    for name in sorted(texts - annotated):
        converter.notes.add(UNANNOTATED, f"{name.relative_to(folder)}{TEXT}")
    for number, name in enumerate(sorted(annotated, key=lambda name: in_order(str(name))), start=1):
        text = text_of(_with_suffix(name, TEXT), data)
        place = f"{name}{ANNOTATION}"
        spans = list(_spans(name, text, data, converter.notes))
        yield number, {"id": str(name.relative_to(folder)), **converter.row(place, text, spans)}
    warnings += converter.notes.lines()


def _names(folder: Path, suffix: str) -> set[Path]:
    """Files with this suffix, without it; hidden ones, such as those of a notebook's checkpoints, are left out."""
    found = (file.relative_to(folder) for file in folder.rglob(f"*{suffix}"))
    return {folder / file.with_suffix("") for file in found if not any(part.startswith(".") for part in file.parts)}


def _with_suffix(name: Path, suffix: str) -> Path:
    return name.with_name(name.name + suffix)


def _spans(name: Path, text: str, data: Data, notes: Notes) -> Iterator[Span]:
    for number, line in lines(_with_suffix(name, ANNOTATION), data):
        if not line.startswith("T"):
            continue
        place = f"{name}{ANNOTATION}:{number}"
        line = line.rstrip()
        found = SPAN.fullmatch(line)
        if found is None:
            raise UserError(
                f"{place}: {line[:60]!r} is no span; expected a name, a type with offsets, and the text, separated by"
                " tabs, as in T1<tab>PER 0 12<tab>Anselm Lindt"
            )
        pieces = [tuple(map(int, piece.split())) for piece in found["pieces"].split(";")]
        gaps = [text[left[1] : right[0]] for left, right in itertools.pairwise(pieces)]
        if any(gap.strip() for gap in gaps):
            notes.add(IN_PIECES, f"{place} {found['text'] or found['pieces']}")
        else:
            yield Span(pieces[0][0], pieces[-1][1], found["kind"], found["text"])
