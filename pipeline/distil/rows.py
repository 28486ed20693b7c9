"""The training rows of a student: those of the data and those without labels, each with its teacher's answer."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from accelerate import Accelerator

from pipeline import storage
from pipeline.config.recipe import Recipe
from pipeline.data import fingerprints, source_rows
from pipeline.data.encoding import ROWS_PER_BATCH, encode
from pipeline.data.new_rows import Content
from pipeline.data.prepare import SCORED, Prepared, cache_root, opened
from pipeline.data.rows import whole
from pipeline.distil import answers, augment, unlabelled
from pipeline.distil.answers import Questions
from pipeline.distil.drawing import Unlabelled
from pipeline.distil.teacher import Teacher
from pipeline.errors import writing
from pipeline.tasks.base import Task
from pipeline.tasks.teacher_hooks import Student
from pipeline.training.loss import TEACHER

if TYPE_CHECKING:
    from datasets import Dataset

FOLDER, TRAIN = "distilled", "train.arrow"


@dataclass(frozen=True)
class Texts:
    """What a teacher is to answer.

    Attributes:
        labelled: the training rows of the data.
        others: the texts without labels; None: there are none.
        masked: whether these have `augment.MASK` in place of masked words.
    """

    labelled: Sequence[Content]
    others: Unlabelled | None
    masked: bool

    def questions(self, teacher: Teacher, task: Task, student: Student) -> list[Questions]:
        """The training rows and, if there are any, the other texts: each set is answered and kept by itself."""
        found = [Questions(f"{len(self.labelled):,} training rows", self.labelled, teacher, task, student)]
        if self.others is not None:
            own = self.others.contents
            if self.masked:
                own = list(augment.written_for(own, teacher.loaded.tokenizer))
            found.append(Questions(f"{len(own):,} texts without labels", own, teacher, task, student))
        return found


def labelled(prepared: Prepared, teacher: Teacher, task: Task, student: Student) -> Questions:
    """The training rows, for the teacher."""
    contents = source_rows.contents(prepared.texts["train"])
    return Questions(f"{len(contents):,} training rows", contents, teacher, task, student)


def texts_for(recipe: Recipe, task: Task, prepared: Prepared) -> Texts:
    """The texts that the teacher of `recipe` is to answer; all seeds of the training have the same.

    Raises:
        UserError: a source of texts without labels cannot be read, or nothing is left of it.
    """
    distil = recipe.distil
    assert distil is not None
    labelled, seed = source_rows.contents(prepared.texts["train"]), recipe.data.split_seed
    scored = (content for split in SCORED for content in source_rows.contents(prepared.texts[split]))
    others = None
    if distil.sources:
        own = {"data": recipe.data, "tokenizer": prepared.tokenizer, "trained": labelled}
        others = unlabelled.read(distil.sources, task, scored, distil.limit, seed, **own)
    elif distil.augment is not None:
        others = augment.make(labelled, scored, distil.limit, seed)
    return Texts(labelled, others, masked=distil.augment is not None)


def with_answers(
    prepared: Prepared, task: Task, texts: Texts, teacher: Teacher, student: Student, accelerator: Accelerator
) -> Prepared:
    """`prepared` with the other texts behind the rows of train, each with the teacher's answer; see
    `TeacherHooks.with_answers`.

    Raises:
        UserError: the teacher does not suit the student, or the disk is full.
    """
    questions = texts.questions(teacher, task, student)
    found = [answers.ask(question, accelerator) for question in questions]
    # The keys of the questions hold the code of this module and of all that it uses.
    parts = [prepared.texts["train"].parent.name, *(question.key for question in questions)]
    target = cache_root() / FOLDER / hashlib.sha256(" ".join(parts).encode()).hexdigest()[:32]

    def fill(folder: Path) -> None:
        tables = _encoded(prepared, task, texts, student, folder)
        pairs = zip(tables, found, strict=True)
        _write(folder / TRAIN, [task.with_answers(table, own, student) for table, own in pairs])

    with accelerator.main_process_first(), writing("FINETUNE_CACHE", cache_root()):
        if storage.damage(target) is not None:
            is_whole = lambda folder: storage.damage(folder) is None  # noqa: E731
            storage.publish_folder(target, fill, manifest=True, keep_existing=is_whole)
    rows = {**prepared.fingerprints.rows, "train": fingerprints.of_file(target / TRAIN)}
    return replace(
        prepared,
        splits={**prepared.splits, "train": opened(target / TRAIN)},
        fingerprints=replace(prepared.fingerprints, rows=rows),
    )


def unanswered(prepared: Prepared, task: Task, texts: Texts, student: Student, folder: Path) -> Prepared:
    """`prepared` with the other texts behind the rows of train, in a file in `folder`: what is trained on, but for the
    answers."""
    _write(folder / TRAIN, _encoded(prepared, task, texts, student, folder))
    return replace(prepared, splits={**prepared.splits, "train": opened(folder / TRAIN)})


def _encoded(prepared: Prepared, task: Task, texts: Texts, student: Student, folder: Path) -> list[pa.Table]:
    """The rows of train and, if there are any, those of the other texts, as the student reads them."""
    tables = [prepared.splits["train"].with_format("arrow")[:]]
    if texts.others is not None:
        contents, file = texts.others.contents, folder / "others.arrow"
        if texts.masked:
            contents = list(augment.written_for(contents, student.tokenizer))
        length = int(student.tokenizer.model_max_length)
        encode(_dataset(contents), task, student.tokenizer, length, student.labels, file)
        tables.append(opened(file).with_format("arrow")[:])
    return tables


def _dataset(contents: Sequence[Content]) -> Dataset:
    from datasets import Dataset

    return Dataset(pa.table(_roles(contents)))


def _roles(contents: Sequence[Content]) -> dict[str, Any]:
    if isinstance(contents[0], str):
        return {"text": contents}
    if isinstance(contents[0], tuple):
        return dict(zip(("text", "text_pair"), map(list, zip(*contents, strict=True)), strict=True))
    return {"tokens": contents}


def _write(file: Path, tables: Sequence[pa.Table]) -> None:
    """The rows of all tables, which have the columns of the first one, numbered from 0."""
    schema, number = tables[0].schema, 0
    if TEACHER in schema.names:
        schema = schema.set(schema.get_field_index(TEACHER), pa.field(TEACHER, pa.list_(pa.float32())))
    with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_stream(sink, schema) as stream:
        for table in tables:
            for start in range(0, len(table), ROWS_PER_BATCH):
                part = table.slice(start, ROWS_PER_BATCH)
                columns = {"id": pa.array(np.arange(number, number + len(part)))}
                if TEACHER in schema.names:
                    columns[TEACHER] = _lists(part[TEACHER])
                for name, column in columns.items():
                    part = part.set_column(part.schema.get_field_index(name), name, column)
                stream.write_table(part.select(schema.names).cast(schema).combine_chunks())
                number += len(part)


def _lists(column: pa.ChunkedArray) -> pa.ListArray:
    """The answers to a batch of rows, as every reader of rows knows lists: with offsets of 32 bits."""
    answers = whole(column)
    offsets = answers.offsets.to_numpy()
    return pa.ListArray.from_arrays(pa.array((offsets - offsets[0]).astype(np.int32)), answers.flatten())
