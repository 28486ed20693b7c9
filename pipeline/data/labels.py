"""Cleans the labels of all splits at once: their names, spellings that look the same, and rows that have none.

Everything is decided over the distinct labels, which are few.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.config.data import Data
from pipeline.data.rows import Places, arrow_column, divide, whole
from pipeline.errors import UserError, listing, suggest

if TYPE_CHECKING:
    from datasets import Dataset

SHOWN = 5
# The label of rows whose labels a benchmark does not publish (GLUE), or on which annotators did not agree (SNLI).
NO_LABEL = "-1"
# The same in the files of SNLI and MultiNLI.
DASH = "-"
# It may also be a class, as in -1, 0, 1 for negative, neutral, positive; then it is more common than this.
RARE = 0.1
VARIATION_SELECTORS = {"\ufe0e", "\ufe0f"}


@dataclass
class Cleaned:
    """Splits whose rows all have a label.

    Attributes:
        splits: those that have labels; the column `label` holds names.
        label_names: names of the classes in the order of their ids, if the source or data.label_names gives them.
        unlabelled: splits without labels, which were left out.
        warnings: what a user should know about the labels.
    """

    splits: dict[str, Dataset]
    label_names: list[str] | None = None
    unlabelled: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def clean(
    splits: Mapping[str, Dataset],
    names: Mapping[str, Places],
    classes: Sequence[str] | None,
    data: Data,
    folder: Path,
    known: Sequence[str] = (),
) -> Cleaned:
    """Give labels their names, and leave out rows and splits without labels.

    Args:
        splits: the column `label` holds strings, lists of strings or numbers; a null is a missing label.
        names: split -> places of its rows, for messages.
        classes: names of the classes in the order of their ids, if the source has them.
        data: label_names and missing_labels.
        folder: for the files of splits that lose rows.
        known: labels of an existing model, in the order of their ids; new data may use these ids.

    Raises:
        UserError: data.label_names is set and has no name for a label.
    """
    counts = {split: count(rows, "label") for split, rows in splits.items()}
    cleaned = Cleaned({})
    naming = _Naming(classes, data, known, counts, cleaned.warnings)
    cleaned.label_names = naming.in_order
    for split, rows in splits.items():
        if set(counts[split]) <= {NO_LABEL} and not naming.has_class(NO_LABEL):
            cleaned.unlabelled.append(split)
            continue
        named = _renamed(rows, naming, names[split])
        labelled = _labelled(named)
        missing = len(named) - len(labelled)
        if missing == len(named):
            cleaned.unlabelled.append(split)
            continue
        if missing:
            cleaned.warnings.append(_missing_warning(split, named, labelled, names[split]))
            named = divide(named, {f"labelled-{split}": labelled}, folder)[f"labelled-{split}"]
        cleaned.splits[split] = named
    if "train" in cleaned.splits:
        _refuse_other_labels(cleaned, {split: naming.named(counts[split]) for split in cleaned.splits}, names)
    return cleaned


def count(rows: Dataset, column: str) -> Counter[str]:
    """How often each value of a column occurs, or each element of its lists; nulls are not counted."""
    counts: Counter[str] = Counter()
    for values in arrow_column(rows, column):
        flat = pc.list_flatten(values) if pa.types.is_list(values.type) else values
        for pair in pc.value_counts(pc.drop_null(flat)).to_pylist():
            counts[pair["values"]] += pair["counts"]
    return counts


def _refuse_other_labels(cleaned: Cleaned, known: Mapping[str, set[str]], names: Mapping[str, Places]) -> None:
    """Refuse a split that shares no label with the training split, such as ids beside names or a mark for "unknown"."""
    for split, own in known.items():
        if own and len(known["train"]) > 1 and not own & known["train"]:
            raise UserError(
                f"{names[split]}: no label of {split} ({listing(sorted(own))}) is one of train"
                f" ({listing(sorted(known['train']))}); if they mean the same, say which is which with"
                f" data.label_names {min(own)}=NAME ...; if they mean that there is no label, name them in"
                " data.missing_labels"
            )


def spelling_key(label: str) -> str:
    """Equal for labels that look the same: in composed form (NFC), without invisible marks and outer blanks."""
    composed = unicodedata.normalize("NFC", label)
    return " ".join("".join(c for c in composed if not _is_invisible(c)).split())


def _is_invisible(character: str) -> bool:
    return unicodedata.category(character) == "Cf" or character in VARIATION_SELECTORS


class _Naming:
    """The name of each distinct label, None for those that mean that there is none."""

    def __init__(
        self,
        classes: Sequence[str] | None,
        data: Data,
        known: Sequence[str],
        counts: Mapping[str, Counter[str]],
        warnings: list[str],
    ):
        self.classes, self.known, self.given = classes, known, data.names_of_labels
        self.missing = {mark.strip().lower() for mark in data.missing_labels or ()}
        everywhere: Counter[str] = Counter()
        for own in counts.values():
            # A split that has nothing but -1 is unlabelled, and says nothing of the others.
            everywhere.update(own if set(own) != {NO_LABEL} else {NO_LABEL: 0})
        if any(isinstance(label, float) for label in everywhere):  # numbers have no names
            self.names: dict[str, str | None] = {label: label for label in everywhere}
            return
        self._ids = self._ids_of_known(everywhere)
        if self._ids:
            pairs = [f"{number} = {name}" for number, name in self._ids.items() if number in everywhere]
            warnings.append(f"the labels are read as ids of the model's labels: {listing(pairs)}")
        self.names = {label: self._name(label) for label in everywhere}
        self._leave_out_minus_one(everywhere, warnings)
        self._leave_out_dash(warnings)
        self._join_twins(everywhere, warnings)

    def named(self, found: Iterable[str]) -> set[str]:
        """The names of the labels in `found`, if they are not numbers."""
        return {name for label in found if isinstance(name := self.names[label], str)}

    def has_class(self, label: str) -> bool:
        """Whether data.label_names or the model has a class for a label."""
        return label in self.given or label in self.known

    def _ids_of_known(self, everywhere: Mapping[str, int]) -> dict[str, str]:
        """Id -> name of the model's labels, if every label is such an id and none is a name."""
        ids = {str(number): name for number, name in enumerate(self.known)}
        found = {label for label in everywhere if label.lower() not in self.missing and label != NO_LABEL}
        if self.classes is not None or self.given or not found or not found <= ids.keys() - set(self.known):
            return {}
        return ids

    def _name(self, label: str) -> str | None:
        if label in self.given:
            return self.given[label]
        if label.strip().lower() in self.missing or (label == NO_LABEL and (self.classes is not None or self._ids)):
            return None
        if self.classes is not None and label.isdecimal() and int(label) < len(self.classes):
            return self.given.get(self.classes[int(label)], self.classes[int(label)])
        return self._ids.get(label, label)

    def _leave_out_minus_one(self, everywhere: Counter[str], warnings: list[str]) -> None:
        """-1 beside the ids 0, 1, ... is no class if it is rare."""
        if self.names.get(NO_LABEL) != NO_LABEL or NO_LABEL in self.known:
            return
        others = [label for label, name in self.names.items() if name is not None and label != NO_LABEL]
        are_ids = len(others) > 1 and {str(number) for number in range(len(others))} == set(others)
        are_names = not any(_is_number(label) for label in others)
        share = everywhere[NO_LABEL] / max(sum(everywhere.values()), 1)
        if are_names or (are_ids and share < RARE):
            self.names[NO_LABEL] = None
            if share:
                warnings.append(
                    "the label -1 is read as no label, as in SNLI and GLUE; if it is a class, name it with"
                    " data.label_names -1=NAME"
                )
        elif are_ids:
            warnings.append(
                f"the label -1 is read as a class, as {share:.0%} of the rows have it; if it means that a row has no"
                " label, set data.missing_labels to -1"
            )

    def _leave_out_dash(self, warnings: list[str]) -> None:
        """- beside names is no class, unlike beside + or numbers."""
        if self.names.get(DASH) != DASH or DASH in self.known:
            return
        others = [label for label, name in self.names.items() if name is not None and label != DASH]
        if len(others) > 1 and all(any(map(str.isalpha, label)) for label in others):
            self.names[DASH] = None
            warnings.append(
                "the label - is read as no label, as in SNLI and MultiNLI; if it is a class, name it with"
                " data.label_names -=NAME"
            )

    def _join_twins(self, everywhere: Counter[str], warnings: list[str]) -> None:
        """Give labels that look the same one name: the model's, or the most common spelling."""
        common: dict[str, Counter[str]] = {}
        for label, name in self.names.items():
            if name is not None:
                common.setdefault(spelling_key(name), Counter())[name] += everywhere[label]
        of_model = {spelling_key(name): name for name in self.known}
        joined = []
        best = {}
        for key, spellings in common.items():
            usual = min(spellings, key=lambda name: (-spellings[name], name))
            best[key] = of_model.get(key) or unicodedata.normalize("NFC", _trimmed(usual)) or usual
            if len(spellings) > 1:
                joined.append(best[key])
        self.names = {label: name if name is None else best[spelling_key(name)] for label, name in self.names.items()}
        if joined:
            warnings.append(
                "labels that differ only in invisible marks, blanks or Unicode form count as one:"
                f" {listing(sorted(joined))}"
            )

    @property
    def in_order(self) -> list[str] | None:
        """Names in the order of their ids, if there is one: that of the source, else that of data.label_names."""
        if self.classes is None:
            return list(dict.fromkeys(self.given.values())) or None
        return [self.given.get(str(number), name) for number, name in enumerate(self.classes)]

    def check(self, label: str) -> str | None:
        """What is wrong with a label, if data.label_names is set and does not name it."""
        allowed = {*(self.classes or ()), *self.given.values(), *self.known}
        name = self.names[label]
        if not self.given or name is None or name in allowed:
            return None
        near = suggest(name, allowed)
        hint = near if "did you mean" in near else f"; names are given for {listing(sorted(self.given))}"
        return f"the label {name!r} has no name{hint}"


def _is_number(label: str) -> bool:
    try:
        float(label)
    except ValueError:
        return False
    return True


def _trimmed(name: str) -> str:
    """A name without blanks and invisible marks at its ends."""
    inner = [index for index, own in enumerate(name) if not (own.isspace() or unicodedata.category(own) == "Cf")]
    return name[inner[0] : inner[-1] + 1] if inner else name


def _renamed(rows: Dataset, naming: _Naming, places: Places) -> Dataset:
    """`rows` with the names of labels; unchanged if all have theirs."""
    for label in naming.names:
        if (trouble := naming.check(label)) and (place := _first_place(rows, label)) is not None:
            raise UserError(f"{places.at(place)}: {trouble}")
    if all(label == name for label, name in naming.names.items()):
        return rows
    keys = pa.array(list(naming.names), pa.string())
    names = pa.array(list(naming.names.values()), pa.string())
    parts = [_mapped(part, lambda flat: names.take(pc.index_in(flat, keys))) for part in arrow_column(rows, "label")]
    return rows.remove_columns("label").add_column("label", pa.chunked_array(parts))


def _mapped(column: pa.Array | pa.ChunkedArray, rename: Callable[[pa.Array], pa.Array]) -> pa.Array:
    column = whole(column)
    if not pa.types.is_list(column.type):
        return rename(column)
    # A list whose labels are all missing has no label at all; one that was empty says that no label applies.
    lists = [
        None if own is None or (own and not any(own)) else [name for name in dict.fromkeys(own) if name is not None]
        for own in pa.ListArray.from_arrays(column.offsets, rename(column.values), mask=column.is_null()).to_pylist()
    ]
    return pa.array(lists, column.type)


def _first_place(rows: Dataset, label: str) -> int | None:
    for labels, places in zip(arrow_column(rows, "label"), arrow_column(rows, "line"), strict=True):
        for own, place in zip(labels.to_pylist(), places.to_pylist(), strict=True):
            if own == label or (isinstance(own, list) and label in own):
                return place
    return None


def _labelled(rows: Dataset) -> np.ndarray:
    """Numbers of the rows that have a label."""
    valid = [pc.is_valid(part).to_numpy(zero_copy_only=False) for part in arrow_column(rows, "label")]
    return np.flatnonzero(np.concatenate(valid)) if valid else np.zeros(0, dtype=np.int64)


def _missing_warning(split: str, rows: Dataset, labelled: np.ndarray, places: Places) -> str:
    missing = np.setdiff1d(np.arange(len(rows)), labelled)
    shown = ", ".join(places.at(place) for place in rows.select(missing[:SHOWN])["line"])
    more = ", ..." * (len(missing) > SHOWN)
    return f"{len(missing)} rows of {split} have no label and were left out ({shown}{more})"
