"""Data sets of the Hub: a revision resolved to its commit, and the rows of its splits."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from typing import Any

import datasets
from huggingface_hub import HfApi, constants
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, HTTPError

from pipeline import online
from pipeline.errors import UserError, reason
from pipeline.recipe import Data

COMMIT = re.compile(r"[0-9a-f]{40}")
UNLABELLED = -1

# Rows with their numbers, and the names of the classes of each column that has some.
Loaded = tuple[Iterator[tuple[int, dict[str, Any]]], dict[str, list[str]]]


def resolve(data: Data) -> str:
    """The commit that data.revision, a tag, a branch or nothing, stands for.

    Raises:
        UserError: there is no such data set or revision, or no network to ask.
    """
    if data.revision and COMMIT.fullmatch(data.revision):
        return data.revision
    if constants.HF_HUB_OFFLINE:
        raise UserError(f"data.revision: offline, {data.source} needs the commit it was downloaded at (40 hex digits)")
    try:
        return str(HfApi().dataset_info(data.source, revision=data.revision).sha)
    except HfHubHTTPError as error:
        revision = f" at revision {data.revision}" if data.revision else ""
        raise UserError(
            f"data.source: the Hub has no data set {data.source}{revision}, or you may not read it; a local file or"
            " folder of that name is not here either"
        ) from error
    except (OSError, HFValidationError, HTTPError) as error:
        raise UserError(
            f"data.source: there is no file or folder {data.source} here, and the Hub cannot be reached to look for it"
        ) from error


def load(data: Data, commit: str | None) -> dict[str, Loaded]:
    """Split -> its rows, numbered from 1, and the names of the classes of columns of ClassLabels or lists of them.

    With data.streaming only the first data.limit rows of each split are downloaded.

    Raises:
        UserError: the data set cannot be loaded.
    """
    online.go_offline_if_unreachable()
    try:
        found = datasets.load_dataset(data.source, data.subset, revision=commit, streaming=data.streaming)
    except (ValueError, OSError, datasets.exceptions.DatasetsError, HTTPError) as error:
        raise UserError(f"data.source: {data.source} cannot be loaded: {reason(error)}") from error
    loaded: dict[str, Loaded] = {}
    for name, split in found.items():
        if name not in ("train", "validation", "test"):
            continue
        names = _class_names(split.features)
        rows = itertools.islice(split, data.limit) if data.streaming else iter(split)
        first = next(iter(split), None)
        if first is None or (names and all(_is_unlabelled(first[column]) for column in names)):
            continue  # benchmarks publish their test rows without labels
        loaded[name] = (enumerate(rows, start=1), names)
    if not loaded:
        raise UserError(f"data.source: {data.source} has no split train, validation or test with labels")
    return loaded


def _class_names(features: Any) -> dict[str, list[str]]:
    """Column -> names, of the columns that are a ClassLabel or lists of them."""
    kinds = {column: getattr(kind, "feature", kind) for column, kind in (features or {}).items()}
    return {column: kind.names for column, kind in kinds.items() if isinstance(kind, datasets.ClassLabel)}


def _is_unlabelled(value: Any) -> bool:
    return set(value if isinstance(value, list) else [value]) == {UNLABELLED}
