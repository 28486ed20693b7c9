"""Carves missing splits out of the training rows: seeded, stratified, without leaks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.config.data import Data
from pipeline.data import labels
from pipeline.data.rows import arrow_column, divide, whole
from pipeline.data.text_stats import LOOSE, digest_column, text_digests
from pipeline.errors import UserError, listing

if TYPE_CHECKING:
    from datasets import Dataset

DEFAULT_SHARE = 0.1


def limit(split: Dataset, rows: int | None, in_order: bool = False) -> Dataset:
    """At most `rows` rows, spread evenly over the split, or the first ones if their order matters (`in_order`)."""
    if rows is None or rows >= len(split):
        return split
    if in_order:
        return split.select(range(rows))
    return split.select(np.arange(rows) * len(split) // rows)


def require_train(splits: Mapping[str, Dataset], where: str) -> None:
    """Refuse a source without training rows."""
    if "train" not in splits:
        raise UserError(f"{where}: it has no training split, only {', '.join(splits)}")


def complete(
    splits: dict[str, Dataset],
    data: Data,
    stratify_by: str | None,
    where: str,
    warnings: list[str],
    in_order: bool = False,
    *,
    folder: Path,
) -> dict[str, Dataset]:
    """The three splits. Those that are missing are carved out of `train`, or cut off its end if order matters.

    Args:
        stratify_by: column whose shares the carved splits keep.
        where: the source, for messages.
        warnings: gets a line if labels are too rare to be carved.
        in_order: whether the rows must stay in order.
        folder: for the files of the splits.

    Raises:
        UserError: there is nothing to carve from, too little, or a share is set for a split that is there.
    """
    require_train(splits, where)
    shares = {"validation": data.validation_share, "test": data.test_share}
    for name, share in shares.items():
        if share is not None and name in splits:
            data.refuse(f"{name}_share", f"{where} already has a {name} split; remove this setting")
    missing = {name: share or DEFAULT_SHARE for name, share in shares.items() if name not in splits}
    if not missing:
        return splits
    train = splits["train"]
    reason = ""
    if in_order:
        parts = cut(len(train), list(missing.values()))
    else:
        texts = digest_column(train, LOOSE)
        if "text_pair" in train.column_names:  # a premise stays in one split with all of its hypotheses
            texts = text_digests(train)
        names, classes = coded(train, stratify_by) if stratify_by else (list[str](), None)
        parts = carve(texts, classes, list(missing.values()), data.split_seed)
        if classes is not None and (rare := [names[int(code)] for code in rare_classes(texts, classes, len(parts))]):
            rare_labels = f"labels with fewer than {len(parts)} different texts are in train only: {listing(rare)}"
            warnings.append(rare_labels)
            reason = f" ({rare_labels})"
    if any(len(part) == 0 for part in parts):
        hint = ", with a blank line after each sentence in a file of columns" if "tokens" in train.column_names else ""
        raise UserError(
            f"{where}: {len(train)} rows are too few to carve {' and '.join(missing)} from{reason}; add rows{hint}"
        )
    carved = divide(train, dict(zip(("train", *missing), parts, strict=True)), folder)
    ordered = {**splits, **carved}
    return {name: ordered[name] for name in ("train", "validation", "test")}


def cut(rows: int, shares: list[float]) -> list[np.ndarray]:
    """Row numbers of the beginning and, after it, of a part for each share, in the order of the rows."""
    sizes = [round(share * rows) for share in shares]
    return np.split(np.arange(rows), np.cumsum([rows - sum(sizes), *sizes[:-1]]))


def coded(rows: Dataset, column: str) -> tuple[list[str], np.ndarray]:
    """Distinct values of a column of strings, sorted, and the number of each row's value among them, (N,).

    Of a list of strings the rarest counts, so that it gets its share in each split; no string at all is a value, too.
    """
    counts = labels.count(rows, column)
    if pa.types.is_list(rows.features.arrow_schema.field(column).type):
        names = sorted(counts, key=lambda name: (counts[name], name))
        codes = [_first_of_each(part, names) for part in arrow_column(rows, column)]
        return [*names, "(none)"], np.concatenate(codes)
    names = sorted(counts)
    keys = pa.array(names, pa.string())
    codes = [pc.index_in(part, keys).to_numpy() for part in arrow_column(rows, column)]
    return names, np.concatenate(codes)


def _first_of_each(lists: pa.ChunkedArray | pa.Array, names: Sequence[str]) -> np.ndarray:
    """For each list the number of that string in it which comes first in `names`; their count for an empty list."""
    lists = whole(lists)
    codes = pc.index_in(pc.list_flatten(lists), pa.array(names, pa.string())).to_numpy(zero_copy_only=False)
    found = np.full(len(lists), len(names))
    np.minimum.at(found, pc.list_parent_indices(lists).to_numpy(), codes)
    return found


def carve(
    texts: np.ndarray, classes: Sequence[str] | np.ndarray | None, shares: list[float], seed: int
) -> list[np.ndarray]:
    """Row numbers of the rest, which is for training, and of a part for each share, ascending.

    Rows with the same text stay together, in the class of the first of them, so no part contains a row of another. Each
    part gets its share of each class, taken from a seeded permutation: the same on every machine. The remainder of
    rounding goes to the next class, so a part gets its share of the whole even if there are many small classes.

    The rest keeps at least one text of each class, and all texts of a class that has fewer than there are parts.

    Args:
        texts: (N,) a number for each distinct text.
        classes: (N,) strata, or None.
        shares: of the parts, each in (0, 1), together below 1.
    """
    first, group = _groups(texts)
    names = np.asarray(classes) if classes is not None else np.zeros(len(texts), dtype=int)
    of_rare = np.isin(names, rare_classes(texts, names, len(shares) + 1))
    kept = np.zeros(len(first), dtype=bool)
    kept[group[of_rare]] = True  # even if only a repetition of the text has the rare class
    part_of_group = np.zeros(len(first), dtype=int)
    generator = np.random.Generator(np.random.PCG64(seed))
    owed = np.zeros(len(shares))
    for name in np.unique(names[first]):
        members = np.flatnonzero(names[first] == name)
        members = members[np.argsort(first[members])]  # in the order of the file, which no hash decides
        members = generator.permutation(members)
        owed += np.asarray(shares) * len(members)
        free = members[~kept[members]]
        sizes = _sizes(owed, len(free) - 1)
        owed -= sizes
        taken = int(sizes.sum())
        part_of_group[free[:taken]] = np.repeat(np.arange(len(shares)) + 1, sizes)
    _give_back(part_of_group, names, group)
    parts = part_of_group[group]
    return [np.flatnonzero(parts == part) for part in range(len(shares) + 1)]


def _groups(texts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(G,) the first row of each of the G distinct texts, in the order of their numbers, and (N,) the text of each row.

    The same as np.unique returns, in half of its memory.
    """
    order = np.argsort(texts, kind="stable")
    ordered = texts[order]
    begins = np.ones(len(texts), dtype=bool)
    begins[1:] = ordered[1:] != ordered[:-1]
    del ordered
    group = np.empty(len(texts), dtype=np.int32)
    group[order] = np.cumsum(begins, dtype=np.int32) - 1
    return order[begins], group


def _sizes(owed: np.ndarray, room: int) -> np.ndarray:
    """(parts,) how many of up to `room` groups each part gets: what it is owed, rounded. If there are too few for all,
    earlier parts leave one to each later part that is owed any."""
    wanted = np.maximum(np.rint(owed).astype(int), 0)
    sizes = np.zeros_like(wanted)
    for part, count in enumerate(wanted):
        later = int((wanted[part + 1 :] > 0).sum())
        sizes[part] = max(0, min(count, room - later))
        room -= sizes[part]
    return sizes


def _give_back(part_of_group: np.ndarray, names: np.ndarray, group: np.ndarray) -> None:
    """Return a text to the rest (part 0) for each class that has none there.

    This is only needed if rows with the same text have different classes: `carve` counts such a text for the first.
    """
    for name in np.setdiff1d(names, names[part_of_group[group] == 0]):
        part_of_group[group[np.argmax(names == name)]] = 0


def rare_classes(texts: np.ndarray, classes: Sequence[str] | np.ndarray, parts: int) -> list[str]:
    """Classes that have fewer distinct texts than there are `parts`, sorted."""
    first, group = _groups(texts)
    names = np.unique(np.asarray(classes))
    # Each pair of a class and a text once: a pair is the number class * G + text, with G distinct texts.
    pairs = np.searchsorted(names, classes) * len(first) + group
    pairs.sort()
    is_new = np.ones(len(pairs), dtype=bool)
    is_new[1:] = pairs[1:] != pairs[:-1]
    texts_of_class = np.bincount(pairs[is_new] // max(len(first), 1), minlength=len(names))
    return names[texts_of_class < parts].tolist()
