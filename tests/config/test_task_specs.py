"""The table of tasks is true of settings, heads and pipelines."""

from __future__ import annotations

import dataclasses

import pytest

from pipeline.config.data import Data
from pipeline.config.models import MODELS, ModelSettings
from pipeline.config.task_specs import HEADS, TASKS, head_called
from pipeline.config.training import Train


def names_of(section: type) -> set[str]:
    return {field.name for field in dataclasses.fields(section)}


@pytest.mark.parametrize("task", TASKS)
def test_the_settings_of_a_task_exist(task):
    kinds = {kind.__name__: names_of(kind) for kind in MODELS.values() if issubclass(kind, ModelSettings)}
    sections = {"data": names_of(Data), "train": names_of(Train), "model": set().union(*kinds.values()), **kinds}
    for setting in TASKS[task].settings:
        section, _, name = setting.partition(".")
        assert name in sections[section]


@pytest.mark.parametrize("task", TASKS)
def test_the_head_and_the_pipeline_of_a_task_are_those_of_transformers(task):
    import transformers
    from transformers.pipelines import SUPPORTED_TASKS

    spec = TASKS[task]
    auto = getattr(transformers, f"AutoModelFor{spec.head}")
    assert spec.snippet is None or spec.snippet.generates == (spec.tag not in SUPPORTED_TASKS)
    assert spec.snippet is None or spec.snippet.generates or auto in SUPPORTED_TASKS[spec.tag]["pt"]


def test_peft_knows_the_heads_by_these_names():
    peft = pytest.importorskip("peft")
    assert {head.peft for head in HEADS.values()} < {kind.value for kind in peft.TaskType}


def test_a_head_that_is_not_in_the_table_has_labels():
    head = head_called("MultipleChoice")
    assert (head.has_labels, head.architectures, head.peft) == (True, ("ForMultipleChoice",), None)
