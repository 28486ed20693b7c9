"""Checks of the data: what makes training meaningless is refused, other problems are reported as warnings."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.data import labels
from pipeline.data.rows import Places, arrow_column
from pipeline.data.tagging import tag_codes, tags
from pipeline.data.text_stats import BLANK, EXACT, LOOSE, digest_column
from pipeline.errors import UserError, listing

if TYPE_CHECKING:
    from datasets import Dataset

SHOWN = 5
# If there are more classes than this, and more than half as many as rows, they are texts, ids or measurements.
MANY_CLASSES = 20


def label_set(names: Sequence[str] | None, splits: Mapping[str, Dataset]) -> list[str]:
    """Names of the classes in the order of their ids: that of `names`, or numerical, or alphabetical.

    Args:
        names: of the classes, if the source has them.

    Raises:
        UserError: there is only one label, or nearly every row has its own.
    """
    counts = {split: labels.count(rows, "label") for split, rows in splits.items()}
    found = set().union(*counts.values())
    _check_labels(found, counts["train"])
    return in_order(found, names)


def in_order(found: set[str], names: Sequence[str] | None) -> list[str]:
    """The labels in the order of `names`, if that lists them all, or by size if all are numbers, or alphabetically."""
    if names and found <= set(names):
        return list(names)
    return sorted(found, key=_by_size_or_alphabet(found))


def entity_types(names: Sequence[str] | None, splits: Mapping[str, Dataset]) -> list[str]:
    """Types of the entities in the order of their tags in `names`, or alphabetically.

    Args:
        names: of the tags, if the source has them.

    Raises:
        UserError: there is no entity in train.
    """
    found = {split: tags.types(labels.count(rows, "tags")) for split, rows in splits.items()}
    if not found["train"]:
        raise UserError("data: no word of train is tagged as part of an entity; is data.tag_column the right column?")
    named = [tags.split(tag)[1] for tag in names or () if tags.TAG.fullmatch(tag) and tag != "O"]
    everywhere = set().union(*found.values())
    return list(dict.fromkeys(named)) if everywhere <= set(named) else sorted(everywhere)


def _check_labels(found: set[str], train: Counter[str]) -> None:
    rows = sum(train.values())
    if len(found) > MANY_CLASSES and len(found) > rows / 2:
        raise UserError(
            f"data.label_column: {len(found)} different labels in {rows} rows, such as {sorted(found)[0][:40]!r}:"
            " these are not classes; name the column of the labels"
        )
    if len(train) < 2:
        raise UserError(
            f"data: every row of train has the label {next(iter(train))!r}; at least two classes are needed"
        )


def _by_size_or_alphabet(found: set[str]) -> Any:
    """Sorts by number if all labels are numbers, and otherwise by alphabet; labels that tie, such as 1 and 01, too."""
    try:
        numbers = {label: float(label) for label in found}
    except ValueError:
        return str
    if not all(map(math.isfinite, numbers.values())):  # NaN has no place in an order
        return str
    return lambda label: (numbers[label], label)


def report(
    splits: Mapping[str, Dataset], names: Mapping[str, Places], empty: Mapping[str, list[int]]
) -> dict[str, Any]:
    """Counts, and under `notes` a line for each warning; JSON-serializable, `data` in metrics.json.

    Args:
        splits: with the columns text and line, and label or tags if the task has them.
        names: split -> file.
        empty: split -> lines that were left out because they have no text, or no target.
    """
    exact = {split: _digests(rows, EXACT) for split, rows in splits.items()}
    loose = {split: _digests(rows, LOOSE) for split, rows in splits.items()}
    counts = {split: _count_classes(rows) for split, rows in splits.items() if _has_classes(rows)}
    counted: dict[str, Any] = {
        "rows": {split: len(rows) for split, rows in splits.items()},
        "empty": {split: len(lines) for split, lines in empty.items()},
        "duplicates": {split: _repeated(numbers) for split, numbers in exact.items()},
        "shared_with_train": {
            split: {"exact": _shared(exact, split), "normalised": _shared(loose, split)}
            for split in splits
            if split != "train"
        },
        "labels": {split: dict(sorted(count.items())) for split, count in counts.items()},
    }
    counted["notes"] = [*_empty_warnings(splits, names, empty), *_row_warnings(counted), *_label_warnings(counts)]
    return counted


def _has_classes(rows: Dataset) -> bool:
    """Whether the rows have labels or tags, and these are not numbers."""
    features = rows.features
    return "tags" in features or ("label" in features and getattr(features["label"], "dtype", None) != "float64")


def _count_classes(rows: Dataset) -> Counter[str]:
    """How often each label occurs, or entities of each type."""
    if "label" in rows.column_names:
        return labels.count(rows, "label")
    return tag_codes.count_types(arrow_column(rows, "tags"))


def _digests(rows: Dataset, column: str) -> np.ndarray:
    """Digests of texts that are not blank: blank lines, if they count at all, are not repetitions."""
    found = digest_column(rows, column)
    return found[found != BLANK]


def _repeated(numbers: np.ndarray) -> int:
    """How many of them occurred before."""
    return int(np.count_nonzero(np.diff(np.sort(numbers)) == 0))


def _shared(numbers: Mapping[str, np.ndarray], split: str) -> int:
    known = np.sort(numbers["train"])
    places = np.searchsorted(known, numbers[split])
    return int((known[np.minimum(places, len(known) - 1)] == numbers[split]).sum()) if len(known) else 0


def _empty_warnings(
    splits: Mapping[str, Dataset], names: Mapping[str, Places], empty: Mapping[str, list[int]]
) -> list[str]:
    translated = any("target" in rows.column_names for rows in splits.values())
    missing = "text or target" if translated else "text"
    return [
        f"{names[split]}: {len(lines)} rows without {missing} were left out ({_lines(names[split], lines[:SHOWN])}"
        f"{', ...' * (len(lines) > SHOWN)})"
        for split, lines in empty.items()
        if lines
    ]


def _lines(places: Places, lines: Sequence[int]) -> str:
    if len(places.parts) > 1:
        return ", ".join(map(places.at, lines))
    return f"line {', '.join(map(str, lines))}"


def _row_warnings(counted: Mapping[str, Any]) -> list[str]:
    warnings = [
        f"{count} rows of {split} repeat another row" for split, count in counted["duplicates"].items() if count
    ]
    for split, shared in counted["shared_with_train"].items():
        if shared["normalised"]:
            warnings.append(
                f"{shared['normalised']} of {counted['rows'][split]} rows of {split} are also in train"
                f" ({shared['exact']} of them verbatim), so its scores will be too high"
            )
    return warnings


def _label_warnings(counts: Mapping[str, Counter[str]]) -> list[str]:
    warnings = []
    for split, count in counts.items():
        unseen = sorted(set(count) - set(counts["train"]))
        absent = sorted(set(counts["train"]) - set(count))
        if unseen:
            warnings.append(f"{split} has labels that are not in train: {listing(unseen)}")
        if absent:
            warnings.append(f"{split} has no row with the label {listing(absent)}")
    folded = Counter(label.casefold() for label in set().union(*counts.values())) if counts else {}
    if doubled := [label for label, spellings in folded.items() if spellings > 1]:
        warnings.append(f"labels that differ only in case count as different classes: {listing(sorted(doubled))}")
    return warnings
