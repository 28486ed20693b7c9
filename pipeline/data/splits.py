"""Splits that a source does not have are carved out of its training rows: seeded, stratified, without leaks."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from datasets import Dataset

from pipeline.config.data import Data
from pipeline.data.text_stats import digests
from pipeline.errors import UserError

DEFAULT_SHARE = 0.1


def limit(split: Dataset, rows: int | None, in_order: bool = False) -> Dataset:
    """At most `rows` rows, spread evenly over the split; the first ones if they have to stay `in_order`."""
    if rows is None or rows >= len(split):
        return split
    if in_order:
        return split.select(range(rows))
    return split.select(np.arange(rows) * len(split) // rows)


def require_train(splits: Mapping[str, Dataset], where: str) -> None:
    """Refuse a source that holds nothing to train on."""
    if "train" not in splits:
        raise UserError(f"{where}: it has no training split, only {', '.join(splits)}")


def complete(
    splits: dict[str, Dataset], data: Data, stratify_by: str | None, where: str, in_order: bool = False
) -> dict[str, Dataset]:
    """The three splits; those that are missing are carved out of `train`: if its rows have to stay `in_order`, its
    end.

    Raises:
        UserError: there is nothing to carve from, too little, or a share is set for a split that is there.
    """
    require_train(splits, where)
    shares = {"validation": data.validation_share, "test": data.test_share}
    for name, share in shares.items():
        if share is not None and name in splits:
            data.refuse(f"{name}_share", f"{where} has a {name} split of its own; remove this setting")
    missing = {name: share or DEFAULT_SHARE for name, share in shares.items() if name not in splits}
    if not missing:
        return splits
    train = splits["train"]
    if in_order:
        parts = cut(len(train), list(missing.values()))
    else:
        classes = train[stratify_by] if stratify_by else None
        parts = carve(digests(train["text"]), classes, list(missing.values()), data.split_seed)
    if any(len(part) == 0 for part in parts):
        hint = ", with a blank line behind each sentence in a file of columns" if "tokens" in train.column_names else ""
        raise UserError(f"{where}: {len(train)} rows are too few to carve {' and '.join(missing)} from; add rows{hint}")
    carved = dict(zip(("train", *missing), (train.select(part) for part in parts), strict=True))
    ordered = {**splits, **carved}
    return {name: ordered[name] for name in ("train", "validation", "test")}


def cut(rows: int, shares: list[float]) -> list[np.ndarray]:
    """Row numbers of the beginning and, behind it, of a part for each share, as the rows stand."""
    sizes = [round(share * rows) for share in shares]
    return np.split(np.arange(rows), np.cumsum([rows - sum(sizes), *sizes[:-1]]))


def carve(texts: np.ndarray, classes: list[str] | None, shares: list[float], seed: int) -> list[np.ndarray]:
    """Row numbers of the rest and of a part for each share, ascending.

    Rows of equal text stay together, so that no part knows a row of another. Of each class every part gets its share,
    taken from a seeded permutation: the same on every machine. What rounding leaves over goes to the next class, so
    that many small classes also give a part its share of the whole.

    Args:
        texts: (N,) a number for each distinct text.
        classes: (N,) strata, or None.
        shares: of the parts, each in (0, 1), together below 1.
    """
    _, first, group = np.unique(texts, return_index=True, return_inverse=True)
    names = np.asarray(classes)[first] if classes is not None else np.zeros(len(first), dtype=int)
    part_of_group = np.zeros(len(first), dtype=int)
    generator = np.random.Generator(np.random.PCG64(seed))
    owed = [0.0] * len(shares)
    for name in np.unique(names):
        members = np.flatnonzero(names == name)
        members = members[np.argsort(first[members])]  # in the order of the file, which no hash decides
        members = generator.permutation(members)
        taken = 0
        for part, share in enumerate(shares):
            owed[part] += share * len(members)
            count = min(round(owed[part]), len(members) - taken)
            owed[part] -= count
            part_of_group[members[taken : taken + count]] = part + 1
            taken += count
    parts = part_of_group[group]
    return [np.flatnonzero(parts == part) for part in range(len(shares) + 1)]
