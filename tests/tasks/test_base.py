"""The base class of tasks: its defaults, and what is refused as a task."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from conftest import ROOT

from pipeline.config.task_specs import TASKS
from pipeline.errors import UserError
from pipeline.tasks.base import Task, load_task


@pytest.mark.parametrize("name", TASKS)
def test_a_built_in_task_agrees_with_its_row(name):
    task = load_task(name)
    assert (task.name, task.head) == (name, TASKS[name].head)
    assert task.generates == (name == "translation")


class Named(Task):
    name, head = "named", "CausalLM"

    def encode(self, rows, tokenizer, max_length, labels):
        return rows


class Complete(Named):
    monitor = "loss"
    columns = {"text": ("text",)}  # noqa: RUF012
    scored_with = ("words",)

    def collate(self, rows, tokenizer):
        return {}, 0

    def outcome(self, outputs, batch):
        return {}

    def score(self, outcome, labels):
        return {}

    def predict(self, texts, model, tokenizer, labels):
        return []


class WithArguments(Complete):
    def __init__(self, size):
        self.size = size


def test_a_third_party_task_needs_no_optional_member():
    task = load_task(f"{__name__}:Complete")
    assert (task.lower_is_better, task.running_text, task.stratify_by) == (False, False, None)
    assert task.labels(None, {}) == []
    assert task.concern({}) is None
    assert (task.generates, task.generate(None, {}, None)) == (False, {})


def test_rows_are_by_default_the_outcome_of_each_row():
    outcome = {
        "nll": np.array([1.0, 2.0]),
        "guesses": (np.array([7, 8, 9]), np.array([2, 1])),
        "written": np.array(["a b", ""], dtype=object),
        "words": 12.0,
    }
    assert list(Complete().rows(outcome, [])) == [
        {"id": 0, "nll": 1.0, "guesses": [7, 8], "written": "a b"},
        {"id": 1, "nll": 2.0, "guesses": [9], "written": ""},
    ]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("os:getcwd", "task: os:getcwd is not a task; it must be a subclass of pipeline.tasks.base.Task"),
        ("pathlib:Path", "task: pathlib:Path is not a task; it must be a subclass of pipeline.tasks.base.Task"),
        (f"{__name__}:Named", f"task: {__name__}:Named lacks monitor, columns, collate, outcome, predict, score"),
        (f"{__name__}:WithArguments", f"task: cannot create '{__name__}:WithArguments': "),
        (f"{__name__}:Missing", f"task: cannot load '{__name__}:Missing': "),
        ("no.such:Task", "task: cannot load 'no.such:Task': No module named 'no'"),
    ],
)
def test_what_is_not_a_task_is_refused(name, message):
    with pytest.raises(UserError) as refusal:
        load_task(name)
    assert str(refusal.value).startswith(message)


def test_tasks_import_no_metric_before_they_score():
    """`finetune predict` needs none, and importing the libraries takes a second."""
    modules = ", ".join(spec.path.partition(":")[0] for spec in TASKS.values())
    known = "from transformers import AutoModel; known = set(sys.modules)"  # transformers 5.20 imports scikit-learn
    code = (
        f"import sys; {known}; import {modules}; sys.exit(len({{'evaluate', 'sklearn'}} & (set(sys.modules) - known)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


COLLATE = """
import warnings
import numpy as np
import pyarrow as pa
from types import SimpleNamespace
from pipeline.data.gathering import Table
from pipeline.tasks.base import load_task

warnings.simplefilter("error")
rows = pa.table({"length": [2, 1], "input_ids": [[5, 6], [7]], "label": [0, 1], "labels": [[0, 1], [2]]})
for name in ("sentiment", "ner"):
    (batch,) = Table(rows).take([np.arange(2)])
    print(load_task(name).collate(batch, SimpleNamespace(pad_token_id=0))[0]["attention_mask"].tolist())
"""


def test_batches_are_made_without_a_warning():
    """In a process of its own: torch warns of read-only memory once, and other tests may have made it do so."""
    done = subprocess.run([sys.executable, "-c", COLLATE], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("[[1, 1], [1, 0]]\n" * 2, "")
