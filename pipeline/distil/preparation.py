"""From a recipe with a teacher to the rows that its student is trained on: the only module that a run needs."""

from __future__ import annotations

from dataclasses import replace

from accelerate import Accelerator
from accelerate.utils.memory import clear_device_cache
from transformers import PreTrainedModel

from pipeline.config.distil import Distil
from pipeline.config.recipe import Recipe
from pipeline.data.prepare import Prepared, is_running
from pipeline.distil import rows, scores, teacher, unlabelled
from pipeline.tasks.base import Task
from pipeline.tasks.teacher_hooks import Student
from pipeline.training import selection


def with_teacher(
    recipe: Recipe, task: Task, model: PreTrainedModel, prepared: Prepared, accelerator: Accelerator
) -> Prepared:
    """`prepared` with training rows that a teacher has answered, and with what metrics.json will say about it.

    Args:
        model: the student.

    Raises:
        UserError: the teacher cannot be found or does not suit the student, or there are no texts without labels.
    """
    assert recipe.distil is not None
    refuse_unused(recipe.distil, task)
    if is_running(prepared.source, task):
        recipe.distil.refuse(
            "teacher",
            "it answers each row alone, and those of the data are lines of one text; set data.separate to True if they"
            " are texts of their own, or remove the teacher",
        )
    found = teacher.find(recipe, accelerator)
    student = Student(prepared.labels, prepared.tokenizer, model.config)
    first = rows.labelled(prepared, found, task, student)
    if not first.are_answered:  # before any other text is read
        found.check(task, student)
    texts = rows.texts_for(recipe, task, prepared)
    if accelerator.is_main_process:
        print(f"teacher: {found.name}, in {first.precision}", flush=True)
        if texts.others is not None:
            for line in (*texts.others.report.get("notes", ()), unlabelled.described(texts.others.report)):
                print(f"texts without labels: {line}", flush=True)
    answered = rows.with_answers(prepared, task, texts, found, student, accelerator)
    monitor = selection.choose(recipe.train, task, prepared.labels)
    report = {
        "teacher": found.name,
        "fingerprint": found.fingerprint,
        "precision": first.precision,
        "scores": scores.of_teacher(found, recipe, task, prepared, monitor, accelerator),
        "rows": {"labelled": len(texts.labelled), "unlabelled": len(texts.others.contents) if texts.others else 0},
        **({"texts": texts.others.report} if texts.others else {}),
    }
    found.forget()
    clear_device_cache(garbage_collection=True)
    notes = [*prepared.report["notes"], *scores.warnings(found, recipe.data, prepared)]
    return replace(answered, report={**prepared.report, "notes": notes, "distil": report})


def refuse_unused(settings: Distil, task: Task) -> None:
    """Refuse settings that the task, for labels of this kind, would ignore.

    Raises:
        UserError: as above.
    """
    for name, why in task.unused_of_distil.items():
        if getattr(settings, name) != getattr(Distil, name):
            settings.refuse(name, f"{why}; remove this setting")
