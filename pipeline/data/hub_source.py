"""Hub datasets: resolving a revision to its commit, and reading the rows of the splits."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from huggingface_hub import constants
from huggingface_hub.errors import HTTPError

from pipeline.config.data import Data
from pipeline.config.files.split_names import SPLITS, UNLABELLED, assigned
from pipeline.data.readers.record_batches import decoded
from pipeline.data.rows import ROWS_PER_BATCH, RowBatch, batches
from pipeline.errors import UserError, listing, reason
from pipeline.hub import download

if TYPE_CHECKING:
    import datasets

# Rows, numbered from 1, and the names of the classes of each column that has some.
Loaded = tuple[Iterator[RowBatch], dict[str, list[str]]]


def resolve(data: Data) -> str:
    """The commit of data.revision (a tag, a branch, or None for main).

    Raises:
        UserError: there is no such dataset or revision, or the Hub cannot be reached.
    """
    return download.resolve(data.source, data.revision, "data.source", "dataset")


def load(
    data: Data, commit: str | None, warnings: list[str] | None = None, unlabelled: bool = False
) -> dict[str, Loaded]:
    """Split -> its rows, numbered from 1, and the names of the classes of columns of ClassLabels or lists of them.

    With data.streaming only the first data.limit rows of each split are downloaded.

    Args:
        warnings: gets a line if the dataset has more splits.
        unlabelled: whether splits whose names say that nobody has labelled them are read as well, such as unsupervised.

    Raises:
        UserError: the dataset cannot be loaded.
    """
    import datasets

    download.go_offline_if_unreachable()
    try:
        if constants.HF_HUB_OFFLINE and not data.streaming and commit:
            found = _fetched(data, commit)
        else:
            found = datasets.load_dataset(data.source, data.subset, revision=commit, streaming=data.streaming)
    except UserError:
        raise
    except (ValueError, OSError, datasets.exceptions.DatasetsError, HTTPError) as error:
        raise UserError(f"data.source: {data.source} cannot be loaded: {reason(error)}") from error
    name_of = {split: name for name, split in assigned(found).items() if split}
    if unlabelled:
        name_of |= {name: name for name in found if name.lower() in UNLABELLED}
    loaded = {
        split: (_rows(found[name_of[split]], data), _class_names(found[name_of[split]].features))
        for split in {**dict.fromkeys(SPLITS), **name_of}
        if split in name_of and next(iter(found[name_of[split]]), None) is not None
    }
    if not loaded:
        raise UserError(f"data.source: {data.source} has no split train, validation or test with rows")
    unused = [f"the split {name}" for name in found if name not in name_of.values()]
    if unused and warnings is not None:
        warnings.append(f"in {data.source}, not used: {listing(unused)}")
    return loaded


def _rows(split: Any, data: Data) -> Iterator[RowBatch]:
    if data.streaming:
        yield from batches(enumerate(itertools.islice(split, data.limit), start=1))
        return
    start = 1
    for table in split.with_format("arrow").iter(batch_size=ROWS_PER_BATCH):
        columns = {name: decoded(Path(data.source), table[name].combine_chunks(), start) for name in table.column_names}
        yield RowBatch(np.arange(start, start + len(table)), columns)
        start += len(table)


def _fetched(data: Data, commit: str) -> datasets.DatasetDict:
    """What an earlier load has cached of this commit: offline, `load_dataset` would use the newest of all commits.

    Raises:
        UserError: nothing of it is cached.
    """
    import datasets
    from datasets.naming import camelcase_to_snakecase
    from datasets.packaged_modules.cache.cache import Cache

    owner, _, name = data.source.rpartition("/")
    root = Path(datasets.config.HF_DATASETS_CACHE) / "___".join(filter(None, (owner, camelcase_to_snakecase(name))))
    found = [folder for folder in sorted(root.glob(f"{data.subset or '*'}/*/{commit}")) if folder.is_dir()]
    if data.subset is None and len(found) > 1:
        found = [folder for folder in found if folder.parts[-3] == "default"] or found[:1]
    if not found:
        raise UserError(
            f"data.source: {data.source} at {commit} is not in the local cache, and the Hub cannot be reached; run"
            " `finetune fetch RECIPE` on a machine with network"
        )
    config, version, _ = found[0].parts[-3:]
    builder = Cache(dataset_name=name, repo_id=data.source, config_name=config, version=version, hash=commit)
    return builder.as_dataset()


def _class_names(features: Any) -> dict[str, list[str]]:
    """Column -> names, of the columns that are a ClassLabel or lists of them."""
    import datasets

    kinds = {column: getattr(kind, "feature", kind) for column, kind in (features or {}).items()}
    return {column: kind.names for column, kind in kinds.items() if isinstance(kind, datasets.ClassLabel)}
