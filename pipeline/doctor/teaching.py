"""What a teacher will cost before its student can be trained, and the rows that it will have answered then."""

from __future__ import annotations

from pathlib import Path

from accelerate import Accelerator
from transformers import PreTrainedModel

from pipeline import run_folder
from pipeline.config.loading import teachers_recipe
from pipeline.config.recipe import Recipe
from pipeline.data.prepare import Prepared
from pipeline.distil import preparation, rows, teacher, unlabelled
from pipeline.distil.answers import BATCH
from pipeline.doctor.durations import duration
from pipeline.doctor.labelling import seconds_to_answer
from pipeline.tasks.base import Task
from pipeline.tasks.teacher_hooks import Student


def plan(
    recipe: Recipe, task: Task, model: PreTrainedModel, prepared: Prepared, accelerator: Accelerator, folder: Path
) -> tuple[Prepared, dict[str, str]]:
    """`prepared` with the rows that the student will be trained on, in a file in `folder`, and lines for the doctor.

    Args:
        model: the student.

    Raises:
        UserError: the teacher does not suit the student, or there are no texts without labels.
    """
    assert recipe.distil is not None
    preparation.refuse_unused(recipe.distil, task)
    student = Student(prepared.labels, prepared.tokenizer, model.config)
    texts = rows.texts_for(recipe, task, prepared)
    lines = {"teacher": _teacher(recipe, task, texts, student, accelerator)}
    if texts.others is not None:
        lines["no labels"] = unlabelled.described(texts.others.report)
    return rows.unanswered(prepared, task, texts, student, folder), lines


def _teacher(recipe: Recipe, task: Task, texts: rows.Texts, student: Student, accelerator: Accelerator) -> str:
    """Its name and how long its answers will take."""
    assert recipe.distil is not None
    maker = teachers_recipe(recipe)
    if maker is not None and not run_folder.is_finished(maker.folder):
        return f"{maker.folder}, which is trained first; see finetune doctor {recipe.distil.teacher}"
    found = teacher.find(recipe, accelerator)
    found.check(task, student)
    unasked = [question for question in texts.questions(found, task, student) if not question.are_answered]
    if not unasked:
        return f"{found.name}; its answers are in the cache"
    times = [seconds_to_answer(question.contents, question.answer, BATCH) for question in unasked]
    found.forget()
    left = [question.unanswered / len(question.contents) for question in unasked]
    seconds = sum(share * own for share, (own, _) in zip(left, times, strict=True)) / accelerator.num_processes
    timed, texts_left = sum(count for _, count in times), sum(question.unanswered for question in unasked)
    return (
        f"{found.name}, in {unasked[0].precision}; about {duration(seconds)} for its answers to {texts_left:,} texts,"
        f" from {timed} timed ones"
    )
