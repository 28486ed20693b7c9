"""The rows of a sample as files that every side reads: the same splits, the same words."""

from __future__ import annotations

import json
import random
import tempfile
from pathlib import Path
from typing import Any

from pipeline import Recipe


def write_rows(recipe: Recipe, most: int | None, folder: Path) -> int:
    """Write a file for each split, and return the number of training rows.

    Args:
        most: training rows, drawn at random; None: all.
    """
    from pipeline.data.prepare import raw_splits
    from pipeline.data.sources import locate
    from pipeline.tasks.base import load_task

    with tempfile.TemporaryDirectory() as work:
        raw = raw_splits(locate(recipe.data), load_task(recipe.task), Path(work))
        splits = {split: [_row(row) for row in rows] for split, rows in raw.items()}
    if most is not None:
        splits["train"] = random.Random(0).sample(splits["train"], most)
    for split, rows in splits.items():
        (folder / f"{split}.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return len(splits["train"])


def _row(row: dict[str, Any]) -> dict[str, Any]:
    if "tokens" in row:
        return {"tokens": row["tokens"], "tags": row["tags"]}
    return {"text": row["text"].lower(), "label": row["label"]}
