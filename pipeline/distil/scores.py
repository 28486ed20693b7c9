"""How good a teacher is on the rows that its student is scored on, and what share of that the student reaches."""

from __future__ import annotations

import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from pipeline import run_folder
from pipeline.config.data import OF_TRAINED, Data
from pipeline.config.recipe import Recipe
from pipeline.config.serialization import read_json
from pipeline.data import prepare
from pipeline.data.encoding import encode
from pipeline.data.prepare import SCORED, Prepared
from pipeline.data.splits import DEFAULT_SHARE
from pipeline.distil.teacher import Teacher
from pipeline.errors import UserError, writing
from pipeline.tasks.base import Task
from pipeline.training.evaluation import evaluate
from pipeline.training.selection import Monitor

Scores = dict[str, dict[str, float]]
# Settings of the same data that decide which rows are in a split, besides `separate`.
SPLITTING = (
    *("subset", "revision", "streaming", "limit", "missing_labels"),
    *("validation_share", "test_share", "split_seed"),
)
# Settings that can differ although a teacher has been scored on the same texts and labels.
NOT_SCORED = ("source", "max_length", "tokenizer", "tokenizer_revision", *OF_TRAINED)


def of_teacher(
    teacher: Teacher, recipe: Recipe, task: Task, prepared: Prepared, monitor: Monitor, accelerator: Accelerator
) -> Scores:
    """Split -> the teacher's scores on the rows of validation and test.

    If its run was scored on the same rows, they are read from there.
    """
    found = _of_its_run(teacher, recipe.data, prepared) or _measured(teacher, recipe, task, prepared, accelerator)
    return {split: _numbers(scores) | {monitor.name: monitor.read(scores)} for split, scores in found.items()}


def share(student: dict[str, Any], teacher: Scores, monitor: Monitor) -> dict[str, float]:
    """Split -> what share of the teacher's score the student reaches; of a loss, of its inverse."""
    shares = {}
    for split in (split for split in teacher if split in student):
        own, theirs = (float(monitor.read(scores[split])) for scores in (student, teacher))
        if own > 0 and theirs > 0:
            shares[split] = theirs / own if monitor.lower_is_better else own / theirs
    return shares


def warnings(teacher: Teacher, data: Data, prepared: Prepared) -> list[str]:
    """A line if the teacher may have been trained on rows that the student is scored on."""
    its_run = _run_on(teacher, prepared)
    if its_run is None or _splitting(its_run.data, prepared) == _splitting(data, prepared):
        return []
    return [
        f"the teacher {teacher.name} was trained on other splits of the same data, so it may know rows of validation"
        " and test; its scores, and those of the student, may be too high"
    ]


def _run_on(teacher: Teacher, prepared: Prepared) -> Recipe | None:
    """The recipe of the teacher's run, if it has read the same data."""
    if teacher.run is None:
        return None
    try:
        metrics = json.loads((teacher.run / run_folder.METRICS).read_text(encoding="utf-8"))
        is_same = metrics["data"]["fingerprint"] == prepared.report["fingerprint"]
        return read_json(teacher.run / run_folder.RECIPE) if is_same else None
    except (OSError, ValueError, LookupError, UserError):
        return None


def _of_its_run(teacher: Teacher, data: Data, prepared: Prepared) -> dict[str, Any] | None:
    """The scores in the metrics.json of the teacher's run; None: there is none, or it has other rows."""
    its_run = _run_on(teacher, prepared)
    if teacher.run is None or its_run is None or _scored(its_run.data) != _scored(data):
        return None
    metrics = json.loads((teacher.run / run_folder.METRICS).read_text(encoding="utf-8"))
    return {split: metrics[split] for split in SCORED if split in metrics} or None


def _splitting(data: Data, prepared: Prepared) -> dict[str, Any]:
    """What decides which rows are in a split, with the defaults that settings have."""
    values = {name: getattr(data, name) for name in SPLITTING}
    shares = {name: values[name] or DEFAULT_SHARE for name in ("validation_share", "test_share")}
    return {**values, **shares, "running": replace(prepared.source, data=data).is_running_text}


def _scored(data: Data) -> dict[str, Any]:
    return {name: value for name, value in vars(data).items() if name not in NOT_SCORED}


def _numbers(scores: dict[str, Any]) -> dict[str, float]:
    """Those of the scores that are single numbers."""
    return {name: value for name, value in scores.items() if isinstance(value, float)}


def _measured(
    teacher: Teacher, recipe: Recipe, task: Task, prepared: Prepared, accelerator: Accelerator
) -> dict[str, Any]:
    loaded, found = teacher.loaded, {}
    tokenizer, size, running = loaded.tokenizer, recipe.train.batch_size, prepared.source.is_running_text
    with writing("TMPDIR", Path(tempfile.gettempdir())), tempfile.TemporaryDirectory() as folder:
        raw = prepare.raw_splits(prepared.source, task, Path(folder))
        for split in SCORED:
            file = Path(folder) / f"{split}-encoded.arrow"
            encode(raw[split], loaded.task, tokenizer, int(tokenizer.model_max_length), loaded.labels, file)
            rows = loaded.task.arrange(prepare.opened(file), loaded.model, tokenizer, size, running, training=False)
            scored = evaluate(loaded.model, loaded.task, rows, tokenizer, loaded.labels, size, accelerator)
            found[split] = scored.scores
    return found
