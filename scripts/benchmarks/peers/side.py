"""What all sides share: the recipe, the rows, and the clock that waits for the other side.

It runs in environments that have none of our requirements, so it imports the standard library only.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

Settings = dict[str, Any]
Rows = list[dict[str, Any]]


class Passes:
    """Reports lines of JSON to the process that has started this one, through the pipe that it has named. Standard
    output is left to libraries that print."""

    def __init__(self) -> None:
        self._reports = os.fdopen(int(sys.argv[2]), "w", encoding="utf-8")
        self._started = 0.0

    def ready(self, *packages: str) -> None:
        """Report the versions of `packages`: all that comes before the first pass is done."""
        self._report(", ".join(f"{name} {importlib.metadata.version(name)}" for name in packages))

    def begin(self) -> None:
        """Wait for the other side, which costs no CPU time, and start the clock."""
        if not sys.stdin.readline():
            raise SystemExit("the benchmark has ended")
        self._started = time.process_time()

    def end(self) -> None:
        """Report the CPU seconds of this pass, of all threads."""
        self._report(time.process_time() - self._started)

    def score(self, value: float) -> None:
        """Report the score on the test split after all passes."""
        self._report(float(value))

    def _report(self, value: object) -> None:
        print(json.dumps(value), file=self._reports, flush=True)


def read_recipe() -> Settings:
    """The settings of both sides: our recipe, in the file that this process was started with."""
    settings: Settings = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    return settings


def read_rows(settings: Settings, split: str) -> Rows:
    """The rows of a split: `text` and `label`, or `tokens` and `tags`."""
    with (Path(settings["data"]["source"]) / f"{split}.jsonl").open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def known_words(settings: Settings, rows: Rows) -> list[str]:
    """The words that occur in `rows` as often as our tokenizer wants, most frequent first."""
    counts = Counter(word for row in rows for word in row["text"].split())
    return [word for word, count in counts.most_common() if count >= settings["data"]["min_frequency"]]


def spans(tags: list[str]) -> list[tuple[int, int, str]]:
    """Start, end and type of each entity of BIO tags."""
    found: list[tuple[int, int, str]] = []
    for place, tag in enumerate(tags):
        if tag.startswith("B-"):
            found.append((place, place + 1, tag[2:]))
        elif tag.startswith("I-"):
            start, _, kind = found[-1]
            found[-1] = (start, place + 1, kind)
    return found
