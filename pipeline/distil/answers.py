"""What a teacher says about texts, kept on disk: each text is answered once, on one of all processes.

The texts are sorted by length and cut into chunks of whole batches, so an answer does not depend on the number of
processes. Each chunk is a file of its own until all are there: what a killed run has answered is not answered again.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.metadata
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from accelerate import Accelerator

from pipeline import inference, locks, storage
from pipeline.data.prepare import cache_root, files_of
from pipeline.distil.progress import Progress
from pipeline.distil.teacher import Teacher
from pipeline.errors import writing
from pipeline.tasks.base import Task
from pipeline.tasks.teacher_hooks import Student

# Texts in a forward pass, and in a file while the others are still to be answered.
BATCH, CHUNK = 64, 1024
FOLDER, FILE = "answers", "answers.arrow"
# Beside inference.py, these read texts, build a teacher, run it and write down what it says.
PACKAGE, CODE = Path(inference.__file__).parent, ("data", "models", "tasks", "distil")


@dataclass(frozen=True)
class Questions:
    """Texts for a teacher.

    Attributes:
        what: a few words for the display that say which texts these are.
        contents: the texts in the form in which `Task.predict` gets them.
        student: the model that will learn from the answers.
    """

    what: str
    contents: Sequence[Any]
    teacher: Teacher
    task: Task
    student: Student

    @property
    def precision(self) -> str:
        """That of the teacher; fp32 for texts, as beams that are rounded more coarsely find other ones."""
        return "fp32" if self.task.answers_are_texts else self.teacher.precision

    @property
    def schema(self) -> pa.Schema:
        """Of the files. The answers of a language model to 100 MB of text are more numbers than offsets of 32 bits can
        count."""
        kind = pa.large_string() if self.task.answers_are_texts else pa.large_list(pa.float32())
        return pa.schema([("answer", kind)])

    @functools.cached_property
    def key(self) -> str:
        """Hash of all that the answers depend on."""
        texts = hashlib.blake2b(digest_size=16)
        for content in self.contents:
            texts.update(json.dumps(content).encode() + b"\n")
        parts = {
            "teacher": self.teacher.fingerprint,
            "precision": self.precision,
            "task": [self.task.name, self.task.problem_type, self.task.reads_pairs],
            "student": self.task.answers_for(self.student),
            "texts": texts.hexdigest(),
            "batch": [BATCH, CHUNK],
            "code": sorted(hashlib.sha256(file.read_bytes()).hexdigest() for file in _code(self.task)),
            "versions": [_version(name) for name in ("torch", "transformers", "tokenizers", "peft")],
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]

    @property
    def folder(self) -> Path:
        """Where the answers are once all texts have been answered."""
        return cache_root() / FOLDER / self.key

    @property
    def are_answered(self) -> bool:
        """Whether the answers are there and undamaged."""
        return storage.damage(self.folder) is None

    @functools.cached_property
    def chunks(self) -> list[tuple[Path, np.ndarray]]:
        """The file and the texts of each chunk, the longest first: what does not fit into memory fails at once."""
        sizes = [len(content) if isinstance(content, str) else sum(map(len, content)) for content in self.contents]
        order = np.argsort(-np.array(sizes), kind="stable")
        folder = self.folder.with_name(f"{storage.ASIDE}{self.key}")
        starts = range(0, len(order), CHUNK)
        return [(folder / f"{start // CHUNK:06d}.arrow", order[start : start + CHUNK]) for start in starts]

    @property
    def unanswered(self) -> int:
        """The number of texts that are still to be answered."""
        if self.are_answered:
            return 0
        return sum(len(rows) for file, rows in self.chunks if not _is_whole(file, len(rows)))

    def answer(self, contents: Sequence[Any]) -> list[Any]:
        """The answers to some of the texts: texts, or flat arrays from one forward pass or, of long texts, a few."""
        device = torch.device(self.teacher.device)
        autocast = torch.autocast(device.type, torch.bfloat16, enabled=self.precision == "bf16")
        with torch.inference_mode(), autocast:
            found = self.task.teacher_answers(contents, self.teacher.loaded, self.student)
        if self.task.answers_are_texts:
            return [*found]
        return [np.asarray(answer, np.float32).ravel() for answer in found]


def _code(task: Task) -> set[Path]:
    """The modules that an answer depends on. Every one in their folders, imported or not: all processes must arrive at
    the same key."""
    inside = (file for name in CODE for file in (PACKAGE / name).rglob("*.py"))
    return {*files_of(task), PACKAGE / "inference.py", *inside}


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:  # peft is an extra
        return None


def ask(questions: Questions, accelerator: Accelerator) -> pa.ChunkedArray:
    """The answers in the order of the texts: from the cache, or by asking the teacher on all processes.

    If several runs ask the same at once, one lets the teacher answer and the others wait.

    Raises:
        UserError: the teacher cannot be loaded or does not suit the student, or the disk is full.
    """
    file = questions.folder.with_suffix(".lock")
    if accelerator.is_main_process and locks.is_held(file):
        print(f"teacher: another run asks it about the same {questions.what}; waiting for its answers", flush=True)
    lock = locks.held(file) if accelerator.is_main_process else contextlib.nullcontext()
    with writing("FINETUNE_CACHE", cache_root()), lock:
        accelerator.wait_for_everyone()
        if not _on_all(questions.are_answered, accelerator):
            questions.teacher.check(questions.task, questions.student)
            _answer_share(questions, accelerator)
            # A node with a cache of its own answers what it lacks while the main process's lock is elsewhere: of its
            # processes, one does so, and the others find the answers.
            with accelerator.main_process_first(), locks.held(file.with_suffix(".joining")):
                if not questions.are_answered:
                    _join(questions)
    return _read(questions.folder / FILE)


def _on_all(flag: bool, accelerator: Accelerator) -> bool:
    """Whether `flag` is set on all processes: nodes may have caches of their own."""
    if accelerator.num_processes == 1:
        return flag
    return float(accelerator.reduce(torch.tensor(float(not flag), device=accelerator.device), "sum")) == 0.0


def _answer_share(questions: Questions, accelerator: Accelerator) -> None:
    """Answer this process's chunks that are not there yet."""
    count, process = accelerator.num_processes, accelerator.process_index
    missing = [(file, rows) for file, rows in questions.chunks[process::count] if not _is_whole(file, len(rows))]
    total = count * sum(len(rows) for _, rows in missing)  # the other processes have about as many
    with Progress(f"teacher: {questions.what}", total, accelerator.is_main_process) as progress:
        for file, rows in missing:
            _answer_chunk(questions, file, rows, lambda done: progress.advance(count * done))


def _answer_chunk(
    questions: Questions, file: Path, rows: np.ndarray, advance: Callable[[int], None] = lambda done: None
) -> None:
    found: list[Any] = []
    for start in range(0, len(rows), BATCH):
        batch = rows[start : start + BATCH]
        found += questions.answer([questions.contents[row] for row in batch])
        advance(len(batch))
    file.parent.mkdir(parents=True, exist_ok=True)
    with storage.published(file) as aside:
        _write(aside, questions.schema, [_column(found)])


def _column(answers: Sequence[Any]) -> pa.Array:
    """Texts, or flat arrays, as `Questions.schema` has them."""
    if isinstance(answers[0], str):
        return pa.array(answers, pa.large_string())
    offsets = np.concatenate([[0], np.cumsum([len(answer) for answer in answers])]).astype(np.int64)
    return pa.LargeListArray.from_arrays(pa.array(offsets), pa.array(np.concatenate(answers)))


def _join(questions: Questions) -> None:
    """Put the chunks together. A node with a cache of its own first answers those of the others."""
    for file, rows in questions.chunks:
        if not _is_whole(file, len(rows)):
            _answer_chunk(questions, file, rows)
    storage.publish_folder(
        questions.folder,
        lambda folder: _write(folder / FILE, questions.schema, _in_order(questions)),
        manifest=True,
        keep_existing=lambda _: questions.are_answered,
    )
    storage.discard(questions.chunks[0][0].parent)


def _in_order(questions: Questions) -> Iterator[pa.Array]:
    """The answers in the order of the texts, a few at a time: only these are in memory."""
    found = [_read(file).chunk(0) for file, _ in questions.chunks]
    order = np.concatenate([rows for _, rows in questions.chunks])
    places = np.argsort(order).tolist()
    for start in range(0, len(places), CHUNK):
        parts = (divmod(place, CHUNK) for place in places[start : start + CHUNK])
        yield pa.concat_arrays([found[chunk].slice(place, 1) for chunk, place in parts])


def _is_whole(file: Path, count: int) -> bool:
    """Whether `file` has the answers to `count` texts."""
    try:
        return len(_read(file)) == count
    except (OSError, pa.ArrowInvalid):
        return False


def _write(file: Path, schema: pa.Schema, batches: Iterable[pa.Array]) -> None:
    with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        for answers in batches:
            writer.write_batch(pa.RecordBatch.from_arrays([answers], schema=schema))


def _read(file: Path) -> pa.ChunkedArray:
    """The answers in a file, which are read from the disk when they are used."""
    with pa.memory_map(str(file)) as source, pa.ipc.open_file(source) as opened:
        return opened.read_all().column("answer")
