"""The progress of a run: counts and the best score, kept in a checkpoint as JSON."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path


@dataclass
class RunProgress:
    """The progress of a run. Its fields are those of a checkpoint's state.json.

    Attributes:
        step: updates done.
        epoch, position: epochs done, and updates done in the current one.
        scored: step of the last validation.
        best_score, best_step: of the best validation so far; higher is better.
        stale: validations since the best one.
        tokens: tokens trained on, without padding.
        busy_seconds: time spent in updates. seconds: the same with evaluation and saving.
        history_bytes: length of history.jsonl, which resuming cuts back to this length.
    """

    step: int = 0
    epoch: int = 0
    position: int = 0
    scored: int = 0
    best_score: float | None = None
    best_step: int | None = None
    stale: int = 0
    tokens: int = 0
    busy_seconds: float = 0.0
    seconds: float = 0.0
    history_bytes: int = 0

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self))


def read(file: Path) -> RunProgress:
    """The progress in `file`.

    Raises:
        ValueError: not an object with these fields, or one has a wrong type or is negative.
        OSError: the file cannot be read.
    """
    values = json.loads(file.read_text(encoding="utf-8"))
    kinds = {field.name: str(field.type) for field in dataclasses.fields(RunProgress)}
    if not isinstance(values, dict) or values.keys() != kinds.keys():
        raise ValueError(f"{file.name} must be an object with {', '.join(kinds)}")
    for name, kind in kinds.items():
        if not _is_valid(name, values[name], kind):
            raise ValueError(f"{file.name} has {name} {values[name]!r}; expected {kind}")
    return RunProgress(**values)


def _is_valid(name: str, value: object, kind: str) -> bool:
    if value is None:
        return "None" in kind
    if type(value) is int or (type(value) is float and "float" in kind):  # bool is a subclass of int
        return value >= 0 or name == "best_score"
    return False
