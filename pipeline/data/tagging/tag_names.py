"""The names of tags: of numbers, and of tags that are written in another form than B-PER, decided over all of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.config.tag_forms import UNNAMED, Form, form_of
from pipeline.data.labels import count
from pipeline.data.rows import Places, arrow_batches, whole
from pipeline.data.tagging.tag_codes import place_of
from pipeline.data.tagging.tags import types
from pipeline.errors import UserError, listing

if TYPE_CHECKING:
    from datasets import Dataset

# The tag of words that have none, in rows that a benchmark does not publish.
NO_TAG = "-1"


@dataclass(frozen=True)
class Source:
    """What gives names to tags.

    Attributes:
        classes: names of numbers, in the order of their ids, if the source has them.
        given: value in the data -> name, from data.label_names; takes precedence over `classes`.
        known: labels of an existing model, in the order of their ids.
    """

    classes: Sequence[str] | None = None
    given: Mapping[str, str] = field(default_factory=dict)
    known: Sequence[str] = ()

    def name_of(self, tag: str) -> str:
        """The name of `tag`, which is `tag` itself without outer blanks if nothing names it."""
        tag = self.given.get(tag, tag.strip())
        if not tag.isdecimal():
            return tag
        if self.classes is not None:
            tag = self.classes[int(tag)] if int(tag) < len(self.classes) else tag
            return self.given.get(tag, tag)
        return self.known[int(tag)] if not self.given and int(tag) < len(self.known) else tag

    def unnamed(self, number: str) -> str:
        """Why a number is no tag, and what to do."""
        if self.classes is None and not self.given:
            return (
                f"the number {number} has no name; write tags as texts, such as B-PER, name the numbers with"
                " data.label_names (0=O 1=B-PER ...), or use a parquet file or a Hub dataset that names them"
            )
        names = f"for 0 to {len(self.classes) - 1}" if self.classes else f"for {listing([*self.given])}"
        return f"the number {number} has no name; there are only names {names}"


@dataclass(frozen=True)
class Named:
    """Tags as O, or a prefix, a hyphen and a type.

    Attributes:
        standard: tag in the data -> this tag.
        form: of the tags in the data.
        in_order: this tag for each number, if the source or data.label_names gives numbers their names.
        warnings: how the tags are read.
    """

    standard: dict[str, str]
    form: Form
    in_order: list[str] | None
    warnings: list[str]

    @property
    def is_standard(self) -> bool:
        """Whether all tags are already written so."""
        return all(tag == own for tag, own in self.standard.items())


def unlabelled(splits: Mapping[str, Dataset]) -> list[str]:
    """Splits whose words have no tags."""
    return [split for split, rows in splits.items() if set(count(rows, "tags")) <= {NO_TAG}]


def name(splits: Mapping[str, Dataset], names: Mapping[str, Places], source: Source) -> Named:
    """The standard tag of each distinct tag of all splits.

    Args:
        splits: with the columns tags, line and lines; see `unified_tags.unify`.
        names: split -> places of its rows.

    Raises:
        UserError: something is not a tag; the message has its file and line.
    """
    counts: Counter[str] = Counter()
    for rows in splits.values():
        counts.update(count(rows, "tags"))
    named = {tag: source.name_of(tag) for tag in counts}
    by_name: Counter[str] = Counter()
    for tag, own in counts.items():
        by_name[named[tag]] += own
    form = form_of(by_name)
    if form is None:
        raise UserError(_refusal(splits, names, set(by_name), named, source))
    form = Form(form.kind, form.outside, _type_of_unnamed(source.known))
    standard = {tag: form.standard(own) for tag, own in named.items()}
    bad = {named[tag] for tag, own in standard.items() if own is None}
    if bad:
        raise UserError(_refusal(splits, names, bad, named, source))
    found = {tag: own for tag, own in standard.items() if own is not None}
    return Named(found, form, _in_order(source, form), [*_ids(named, source), *_spellings(named, found, form)])


def _type_of_unnamed(known: Sequence[str]) -> str:
    """The type of tags without one: that of the model if it knows a single type."""
    own = types(label for label in known if label != "O" and "-" in label)
    return next(iter(own)) if len(own) == 1 else UNNAMED


def _in_order(source: Source, form: Form) -> list[str] | None:
    names = list(dict.fromkeys(source.given.values()))
    if source.classes is not None:
        names = [source.given.get(str(number), own) for number, own in enumerate(source.classes)]
    return [form.standard(own) or own for own in names] or None


def _ids(named: Mapping[str, str], source: Source) -> list[str]:
    """A line if numbers are read as ids of a model's labels."""
    if source.classes is not None or source.given:
        return []
    numbers = sorted((tag for tag, own in named.items() if tag.isdecimal() and own != tag), key=int)
    pairs = [f"{number} = {named[number]}" for number in numbers]
    return [f"the tags are read as ids of the model's labels: {listing(pairs)}"] if pairs else []


def _spellings(named: Mapping[str, str], standard: Mapping[str, str], form: Form) -> list[str]:
    """How tags are read that are not written as in B-PER."""
    if form.kind == "types" and len(form.outside) < len(standard):
        lines = ["tags are types without B- or I-: words of one type in a row are one entity"]
    elif form.kind == "letters" and len(form.outside) < len(standard):
        letters = sorted({own for own in named.values() if own not in form.outside})
        lines = [
            f"tags have no type ({', '.join(letters)}), so their entities are of the type {form.unnamed}; to name it,"
            f" set data.label_names ({' '.join(f'{letter}={letter.upper()}-PER' for letter in letters)})"
        ]
    else:
        lines = []
    plain = form.kind in ("prefix", "suffix")
    other = {named[tag]: own for tag, own in standard.items() if own != named[tag] and (plain or own == "O")}
    pairs = [f"{tag} = {own}" for tag, own in sorted(other.items())]
    return [*lines, *([f"tags are read as {listing(pairs)}"] if pairs else [])]


def _refusal(
    splits: Mapping[str, Dataset],
    names: Mapping[str, Places],
    bad: set[str],
    named: Mapping[str, str],
    source: Source,
) -> str:
    """Which tag is none, where the first one of its kind is, and what to do.

    Args:
        bad: names that are no tags.
        named: tag -> name.
    """
    numbers = {own for own in bad if own.isdecimal()}
    wrong = [tag for tag, own in named.items() if own in (numbers or bad)]
    place, tag = next(found for split, rows in splits.items() if (found := _first(rows, names[split], wrong)))
    if numbers:
        return f"{place}: {source.unnamed(named[tag])}"
    return (
        f"{place}: {named[tag]!r} is not a tag; expected O, or B-, I-, E- or S- and a type, such as B-PER; if it stands"
        " for O or another tag, set data.label_names; if the tags are in another column, set data.tag_column"
    )


def _first(rows: Dataset, places: Places, wrong: Sequence[str]) -> tuple[str, str] | None:
    """Where the first of some tags is, and which one it is."""
    for table in arrow_batches(rows, ["tags", "line", "lines"]):
        column = whole(table["tags"])
        values = column.flatten()
        found = np.flatnonzero(pc.is_in(values, pa.array(wrong, values.type)).to_numpy(zero_copy_only=False))
        if len(found):
            return place_of(table, places, int(found[0])), values[int(found[0])].as_py()
    return None
