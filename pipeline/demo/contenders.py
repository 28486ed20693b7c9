"""The models of a demo: loaded, of one task, and each with the time that its answer takes."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pipeline import inference, run_folder
from pipeline.config import paths
from pipeline.errors import UserError
from pipeline.inference import Loaded
from pipeline.tasks.base import Task


@dataclass(frozen=True)
class Contender:
    """A model under the name that the page shows."""

    name: str
    loaded: Loaded

    @property
    def task(self) -> Task:
        return self.loaded.task

    def answer(self, content: Any) -> tuple[dict[str, Any], float]:
        """What `finetune predict` prints for a text or a pair of texts, and the seconds that it has taken."""
        started = time.perf_counter()
        (answer,) = inference.answers(self.loaded, [content])
        return answer, time.perf_counter() - started


def load(names: Sequence[str], revisions: Mapping[str, str] = MappingProxyType({})) -> list[Contender]:
    """The models called `names`: folders of runs, models or exports, or Hub ids.

    Args:
        revisions: the commits of Hub ids; of those that are not in it, the newest.

    Raises:
        UserError: one cannot be loaded, or they do not answer the same question.
    """
    contenders: list[Contender] = []
    for name, title in zip(names, titles(names), strict=True):
        loaded = inference.load(name, revisions.get(name))
        contender = Contender(title, loaded)
        if contenders and (own := _question(contender)) != (first := _question(contenders[0])):
            raise UserError(f"runs: {names[0]} {first}, but {name} {own}; a demo compares answers to one question")
        contender.answer(("first", "text") if loaded.task.reads_pairs else "first text")  # takes longer than all others
        contenders.append(contender)
    return contenders


def titles(names: Sequence[str]) -> list[str]:
    """The last parts of folders and Hub ids; the whole names if two would be called the same."""
    last = [_last_part(name) for name in names]
    return last if len(set(last)) == len(names) else list(names)


def _last_part(name: str) -> str:
    path = Path(name).expanduser()
    return paths.last_part(str(path.parent if path.name == run_folder.MODEL else path))


def _question(contender: Contender) -> str:
    """What a model answers, for a message."""
    task = contender.task
    kind = f" with {task.problem_type}" if task.problem_type else ""
    return f"is for {task.name}{kind}{' of pairs of texts' if task.reads_pairs else ''}"
