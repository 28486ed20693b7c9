"""Tag schemes: IOB1, IOB2 and BIOES in its spellings, detected over all the data and converted via spans.

Spans are read as conlleval reads them (the script of the CoNLL-2000 and CoNLL-2003 shared tasks): a tag continues an
entity only if one of its type is open, and begins a new one otherwise. So every sequence can be read; those that are
invalid in their scheme are corrected, and a data warning counts them.
"""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.data.labels import count
from pipeline.data.rows import Places, arrow_column, whole
from pipeline.errors import UserError, listing

if TYPE_CHECKING:
    from datasets import Dataset

TAG = re.compile(r"O|[BIESLUMW]-.+", re.DOTALL)
# BILOU, BMES and BMEWO are BIOES in other letters: Last, Unit, Middle, Word.
SPELLINGS = {"L": "E", "U": "S", "M": "I", "W": "S"}
OPEN, GOES_ON = "BI", "IE"
ROWS_PER_BATCH = 1000
SHOWN = 3

Span = tuple[str, int, int]
"""Type, first word, and the word after the last."""


@functools.lru_cache(maxsize=4096)
def split(tag: str) -> tuple[str, str]:
    """Prefix, in the letters of BIOES, and type of a tag; the type of O is empty."""
    prefix, _, kind = tag.partition("-")
    return SPELLINGS.get(prefix, prefix), kind


def spans(tags: Iterable[str]) -> list[Span]:
    """Entities of a sequence of tags of any scheme, in order."""
    found: list[Span] = []
    before, start, end = ("O", ""), 0, 0
    for end, tag in enumerate((*tags, "O")):  # the O after the end closes an entity that is open there
        prefix, kind = split(tag)
        goes_on = prefix in GOES_ON and before[0] in OPEN and kind == before[1]
        if before[0] != "O" and not goes_on:
            found.append((before[1], start, end))
        if not goes_on:
            start = end
        before = (prefix, kind)
    return found


def types(tags: Iterable[str]) -> set[str]:
    """Types of the entities in a set or sequence of tags."""
    return {split(tag)[1] for tag in tags if tag != "O"}


def write(entities: Iterable[Span], length: int, scheme: str) -> list[str]:
    """Tags of `length` words with these entities in `scheme`, iob2 or bioes."""
    tags = ["O"] * length
    for kind, start, end in entities:
        for place in range(start, end):
            tags[place] = f"{PREFIXES[scheme](place - start, end - start)}-{kind}"
    return tags


def convert(tags: Sequence[str], scheme: str) -> list[str]:
    """The same entities in `scheme`."""
    return write(spans(tags), len(tags), scheme)


# scheme -> prefix of a word by its place within an entity of some length
PREFIXES: dict[str, Callable[[int, int], str]] = {
    "iob2": lambda place, length: "I" if place else "B",
    "bioes": lambda place, length: "S" if length == 1 else "B" if place == 0 else "E" if place == length - 1 else "I",
}
NAMES = {"iob2": "IOB2", "bioes": "BIOES"}


def scheme_of(tags: Iterable[str]) -> str:
    """iob2 or bioes: which of them a set of tags, such as the labels of a model, belongs to."""
    return "bioes" if any(split(tag)[0] in "ES" for tag in tags) else "iob2"


def _joined(before: str, tag: str) -> bool:
    """Whether an entity of the tag's type is open before it."""
    return split(before)[0] in OPEN and split(before)[1] == split(tag)[1]


def _breaks_iob1(before: str, tag: str) -> bool:
    return split(tag)[0] == "B" and not _joined(before, tag)


def _breaks_iob2(before: str, tag: str) -> bool:
    return split(tag)[0] == "I" and not _joined(before, tag)


def _breaks_bioes(before: str, tag: str) -> bool:
    goes_on = split(tag)[0] in GOES_ON
    return not (goes_on and _joined(before, tag)) if split(before)[0] in OPEN else goes_on


BREAKS = {"IOB1": _breaks_iob1, "IOB2": _breaks_iob2}


def breaks(tags: Sequence[str], scheme: str) -> Iterator[tuple[int, str, str]]:
    """Place, tag and tag before it, for each pair that is invalid in `scheme`; the end counts as an O."""
    broken = BREAKS.get(scheme, _breaks_bioes)
    before = "O"
    for place, tag in enumerate((*tags, "O")):
        if broken(before, tag):
            yield min(place, len(tags) - 1), tag if place < len(tags) else "the end", before
        before = tag


@dataclass
class Detector:
    """Finds the scheme of data: from its prefixes, or if they are only B and I, the scheme with fewer invalid tags."""

    prefixes: set[str] = field(default_factory=set)
    broken: Counter[str] = field(default_factory=Counter)

    def add(self, tags: Sequence[str]) -> None:
        """Count a sequence."""
        self.prefixes |= {tag.partition("-")[0] for tag in set(tags)}
        for name in BREAKS:
            self.broken[name] += sum(1 for _ in breaks(tags, name))

    @property
    def scheme(self) -> str:
        """IOB1, IOB2, BIOES, BILOU, BMES or BMEWO."""
        for letters, name in (("LU", "BILOU"), ("W", "BMEWO"), ("M", "BMES"), ("ES", "BIOES")):
            if self.prefixes & set(letters):
                return name
        return min(("IOB2", "IOB1"), key=self.broken.__getitem__)


@dataclass
class Unified:
    """Splits whose tags are all of one scheme.

    Attributes:
        found: the scheme that the tags had.
        warnings: what was converted and corrected.
    """

    splits: dict[str, Dataset]
    found: str
    warnings: list[str]
    label_names: list[str] | None = None
    unlabelled: list[str] = field(default_factory=list)


def _named(
    splits: Mapping[str, Dataset],
    names: Mapping[str, Places],
    classes: Sequence[str] | None,
    given: Mapping[str, str],
    known: Sequence[str],
    warnings: list[str],
) -> tuple[dict[str, Dataset], list[str]]:
    """Splits whose tags all have names, and the splits without tags."""
    counts = {split: count(rows, "tags") for split, rows in splits.items()}
    unlabelled = [split for split, counted in counts.items() if set(counted) <= {"-1"}]
    ids: dict[str, str] = {}
    mapping: dict[str, str] = {}
    for tag in sorted(set().union(*(counted for split, counted in counts.items() if split not in unlabelled))):
        name = given.get(tag, tag)
        if name.isdecimal() and classes is not None and int(name) < len(classes):
            name = classes[int(name)]
        elif name.isdecimal() and classes is None and not given and int(name) < len(known):
            ids[name] = known[int(name)]
            name = ids[name]
        mapping[tag] = name
    if ids:
        pairs = [f"{number} = {ids[number]}" for number in sorted(ids, key=int)]
        warnings.append(f"the tags are read as ids of the model's labels: {listing(pairs)}")
    kept = {split: rows for split, rows in splits.items() if split not in unlabelled}
    for tag, name in mapping.items():
        if not TAG.fullmatch(name):
            raise UserError(_not_a_tag(tag, name, kept, names, classes, given))
    if all(tag == name for tag, name in mapping.items()):
        return kept, unlabelled
    keys, values = pa.array(list(mapping), pa.string()), pa.array(list(mapping.values()), pa.string())
    renamed = {}
    for split, rows in kept.items():
        parts = []
        for part in arrow_column(rows, "tags"):
            own = whole(part)
            parts.append(pa.ListArray.from_arrays(own.offsets, values.take(pc.index_in(own.values, keys))))
        renamed[split] = rows.remove_columns("tags").add_column("tags", pa.chunked_array(parts))
    return renamed, unlabelled


def _not_a_tag(
    tag: str,
    name: str,
    splits: Mapping[str, Dataset],
    names: Mapping[str, Places],
    classes: Sequence[str] | None,
    given: Mapping[str, str],
) -> str:
    at = ""
    for split, rows in splits.items():
        for row in rows:
            if tag in row["tags"] and not at:
                place = row["tags"].index(tag)
                lines = row["lines"]
                at = names[split].at(lines[place]) if lines else f"{names[split].at(row['line'])}: tag {place + 1}"
    if not name.isdecimal():
        return (
            f"{at}: {name!r} is not a tag; expected O, or B-, I-, E- or S- and a type, such as B-PER;"
            f" if the tags are in another column, set data.tag_column"
        )
    if classes is None and not given:
        return (
            f"{at}: the number {name} has no name; write tags as texts, such as B-PER, name the numbers with"
            " data.label_names (0=O 1=B-PER ...), or use a parquet file or a Hub dataset that names them"
        )
    known = f"for 0 to {len(classes) - 1}" if classes else f"for {listing([*given])}"
    return f"{at}: the number {name} has no name; there are only names {known}"


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
    """Detect the scheme of the column `tags` over all splits, and rewrite the column in `scheme`.

    Args:
        splits: with the columns tags, line and lines: the line of the row and, if known, of each of its words.
        names: split -> file, for the warnings.
        folder: for the Arrow files.
    """
    warnings: list[str] = []
    splits, unlabelled = _named(splits, names, classes, given, known, warnings)
    detector = Detector()
    for rows in splits.values():
        for table in _batches(rows.select_columns("tags")):
            for tags in table["tags"].to_pylist():
                detector.add(tags)
    found = detector.scheme
    invalid = _InvalidTags(found)
    unified = {
        split: _rewrite(rows, names[split], invalid, scheme, folder / f"{split}.unified.arrow")
        for split, rows in splits.items()
    }
    if found != NAMES[scheme]:
        warnings.append(f"tags are {found}; converted to {NAMES[scheme]}")
    in_order = list(dict.fromkeys(given.values())) or None
    if classes is not None:
        in_order = [given.get(str(number), name) for number, name in enumerate(classes)]
    return Unified(unified, found, [*warnings, *invalid.warnings()], in_order, unlabelled)


class _InvalidTags:
    """Counts tags that are invalid in a scheme, and remembers where the first of them are."""

    def __init__(self, scheme: str):
        self.scheme, self.count = scheme, 0
        self.places: list[str] = []

    def add(self, tags: Sequence[str], places: Places, line: int, lines: Sequence[int] | None) -> None:
        for place, tag, before in breaks(tags, self.scheme):
            self.count += 1
            if len(self.places) < SHOWN:
                self.places.append(f"{places.at(lines[place] if lines else line)} {tag} after {before}")

    def warnings(self) -> list[str]:
        if not self.count:
            return []
        more = ", ..." * (self.count > len(self.places))
        return [
            f"{self.count} tags are invalid in {self.scheme} and were read as conlleval reads them (a tag that"
            f" continues no entity begins one): {', '.join(self.places)}{more}"
        ]


def _batches(rows: Dataset) -> Iterator[pa.Table]:
    tables = rows.with_format("arrow")
    for start in range(0, len(rows), ROWS_PER_BATCH):
        yield tables[start : start + ROWS_PER_BATCH]


def _rewrite(rows: Dataset, places: Places, invalid: _InvalidTags, scheme: str, file: Path) -> Dataset:
    """`rows` with the column `tags` in `scheme` and without the column `lines`, in `file`."""
    from datasets import Dataset

    stream = None
    with pa.OSFile(str(file), "wb") as sink:
        for table in _batches(rows):
            columns = (table[column].to_pylist() for column in ("tags", "line", "lines"))
            converted = []
            for tags, line, lines in zip(*columns, strict=True):
                invalid.add(tags, places, line, lines)
                converted.append(convert(tags, scheme))
            place = table.schema.get_field_index("tags")
            table = table.set_column(place, table.schema.field(place), pa.array(converted, table.schema.types[place]))
            table = table.drop_columns("lines")
            stream = stream or pa.ipc.new_stream(sink, table.schema)
            stream.write_table(table)
        if stream:
            stream.close()
    return Dataset.from_file(str(file))
