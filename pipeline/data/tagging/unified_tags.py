"""Converts the tags of all splits to one scheme: O, or a prefix, a hyphen and a type, in IOB2 or BIOES."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import pyarrow as pa

from pipeline.data.rows import Places, arrow_batches, whole
from pipeline.data.tagging import tag_names
from pipeline.data.tagging.tag_codes import Coded, Coder, place_of
from pipeline.data.tagging.tag_names import Named, Source
from pipeline.data.tagging.tags import BREAKS, NAMES, scheme_in_data

if TYPE_CHECKING:
    from datasets import Dataset

SHOWN = 3


@dataclass
class Unified:
    """Splits whose tags are all of one scheme.

    Attributes:
        splits: those that have tags, without the column `lines`.
        found: the scheme that the tags had.
        warnings: how tags were read, and what was converted and corrected.
        label_names: tags in the order of their ids, if the source or data.label_names gives them.
        unlabelled: splits without tags, which were left out.
    """

    splits: dict[str, Dataset]
    found: str
    warnings: list[str]
    label_names: list[str] | None = None
    unlabelled: list[str] = field(default_factory=list)


def unify(
    splits: Mapping[str, Dataset],
    names: Mapping[str, Places],
    scheme: str,
    folder: Path,
    *,
    classes: Sequence[str] | None = None,
    given: Mapping[str, str] = MappingProxyType({}),
    known: Sequence[str] = (),
) -> Unified:
    """Detect the form and the scheme of the column `tags` over all splits, and rewrite the column in `scheme`.

    Args:
        splits: with the columns tags, line and lines: the place of the row and, if known, of each of its words.
        names: split -> places of its rows, for messages.
        scheme: iob2 or bioes.
        folder: for the Arrow files.
        classes: names of numbers, in the order of their ids, if the source has them.
        given: value in the data -> name, from data.label_names.
        known: labels of an existing model, in the order of their ids; new data may use these ids.

    Raises:
        UserError: something is not a tag; the message has its file and line.
    """
    unlabelled = tag_names.unlabelled(splits)
    labelled = {split: rows for split, rows in splits.items() if split not in unlabelled}
    named = tag_names.name(labelled, names, Source(classes, given, known))
    survey = _Survey(named)
    for split, rows in labelled.items():
        for table in arrow_batches(rows, ["tags", "line", "lines"]):
            survey.add(table, names[split])
    found = survey.scheme
    warnings = [*named.warnings, *survey.warnings()]
    if found != NAMES[scheme]:
        warnings.insert(len(named.warnings), f"tags are {found}; converted to {NAMES[scheme]}")
    if found == NAMES[scheme] and not survey.invalid[found].count and named.is_standard:
        unified = {split: rows.remove_columns("lines") for split, rows in labelled.items()}
    else:
        unified = {
            split: _rewrite(rows, named, scheme, folder / f"{split}.unified.arrow") for split, rows in labelled.items()
        }
    return Unified(unified, found, warnings, named.in_order, unlabelled)


class _Survey:
    """Which tags are invalid in each scheme that the data may have.

    Attributes:
        invalid: scheme -> its invalid tags.
    """

    def __init__(self, named: Named):
        self._coder = Coder(named.standard)
        if named.form.kind == "types":
            self.invalid = {"IO": _InvalidTags("IO")}
            return
        letters = {tag[0] for tag in named.standard.values()}
        chosen = {scheme_in_data(letters, {name: own == name for name in BREAKS}) for own in BREAKS}
        self.invalid = {scheme: _InvalidTags(scheme) for scheme in sorted(chosen)}

    def add(self, table: pa.Table, places: Places) -> None:
        """Count the tags of some rows."""
        coded = self._coder.read(table["tags"])
        for invalid in self.invalid.values():
            invalid.add(coded, table, places, self._coder.standard)

    @property
    def scheme(self) -> str:
        """The scheme with the fewest invalid tags; IOB2 if they tie."""
        return min(sorted(self.invalid, reverse=True), key=lambda scheme: self.invalid[scheme].count)

    def warnings(self) -> list[str]:
        return self.invalid[self.scheme].warnings()


class _InvalidTags:
    """Counts tags that are invalid in a scheme, and remembers where the first of them are."""

    def __init__(self, scheme: str):
        self.scheme, self.count = scheme, 0
        self.places: list[str] = []

    def add(self, coded: Coded, table: pa.Table, places: Places, standard: Mapping[str, str]) -> None:
        words, ends = coded.broken(self.scheme)
        self.count += len(words) + len(ends)
        room = SHOWN - len(self.places)
        if not room or not (len(words) or len(ends)):
            return
        # The end of a sentence comes after its last word.
        places_in_order = sorted(
            [(int(word), False) for word in words[:room]] + [(int(end), True) for end in ends[:room]]
        )
        values = whole(table["tags"]).flatten()
        for word, is_end in places_in_order[:room]:
            own, before = (standard[values[at].as_py()] for at in (word, word - (word > 0)))
            after = own if is_end else "O" if coded.first[word] else before
            self.places.append(f"{place_of(table, places, word)} {'the end' if is_end else own} after {after}")

    def warnings(self) -> list[str]:
        if not self.count:
            return []
        more = ", ..." * (self.count > len(self.places))
        return [
            f"{self.count} tags are invalid in {self.scheme} and were read as conlleval reads them (a tag that"
            f" continues no entity begins one): {', '.join(self.places)}{more}"
        ]


def _rewrite(rows: Dataset, named: Named, scheme: str, file: Path) -> Dataset:
    """`rows` with the column `tags` in `scheme` and without the column `lines`, in `file`."""
    from datasets import Dataset

    coder, stream = Coder(named.standard), None
    with pa.OSFile(str(file), "wb") as sink:
        for table in arrow_batches(rows, [name for name in rows.column_names if name != "lines"]):
            place = table.schema.get_field_index("tags")
            written = coder.write(coder.read(table["tags"]).written(scheme), table.schema.types[place])
            table = table.set_column(place, table.schema.field(place), written)
            stream = stream or pa.ipc.new_stream(sink, table.schema)
            stream.write_table(table)
        if stream:
            stream.close()
    return Dataset.from_file(str(file))
