"""Names of classes that `datasets` notes in the metadata of Arrow and Parquet files and in dataset_info.json."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

# What holds the kind of the items of a list, in the versions of datasets: {"feature": ..., "_type": "List"} (or
# Sequence, LargeList), and [...] up to version 3.
LISTS = ("List", "LargeList", "Sequence", "FixedSizeList")


def in_metadata(metadata: Mapping[bytes, bytes] | None) -> dict[str, list[str]]:
    """Column -> names of its classes, from the metadata of a schema.

    Raises:
        ValueError: they are not JSON.
    """
    noted = json.loads((metadata or {}).get(b"huggingface", b"{}"))
    return in_features(noted.get("info", {}).get("features") if isinstance(noted, dict) else None)


def in_features(features: Any) -> dict[str, list[str]]:
    """Column -> names of its classes, from features as `datasets` writes them; also of columns of lists of labels."""
    found = {}
    for column, kind in features.items() if isinstance(features, dict) else ():
        names = _names(kind)
        if names:
            found[str(column)] = names
    return found


def _names(kind: Any) -> list[str] | None:
    if isinstance(kind, list):
        return _names(kind[0]) if len(kind) == 1 else None
    if not isinstance(kind, dict):
        return None
    if kind.get("_type") == "ClassLabel":
        names = kind.get("names")
        return [str(name) for name in names] if isinstance(names, list) else None
    return _names(kind.get("feature")) if kind.get("_type") in LISTS else None
