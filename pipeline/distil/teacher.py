"""The teacher: its run is finished first if it has to be; then it is found, and loaded once it is needed."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from pipeline import inference, locks, run_folder
from pipeline.config import paths
from pipeline.config.distil import Distil
from pipeline.config.loading import teachers_recipe
from pipeline.config.recipe import Recipe
from pipeline.errors import UserError, reason
from pipeline.hub import download
from pipeline.inference import Loaded
from pipeline.models import checkpoints
from pipeline.tasks.base import Task
from pipeline.tasks.teacher_hooks import Student
from pipeline.training.hardware import has_fast_bf16

# Files beside a model that do not change its answers.
UNREAD = {"README.md", run_folder.RECIPE}


def train_first(recipe: Recipe, train: Callable[[Recipe], Any], accelerator: Accelerator) -> None:
    """Finish the run that leaves the teacher of `recipe`, if a recipe names it and it has not finished.

    If several runs need the same teacher at once, one trains it and the others wait.

    Args:
        train: the function that runs a recipe.

    Raises:
        UserError: the teacher's recipe is refused.
    """
    maker = teachers_recipe(recipe)
    if maker is None or recipe.distil is None:
        return
    lock = maker.folder.with_name(f".{maker.folder.name}.lock")
    if accelerator.is_main_process and locks.is_held(lock):
        print(f"teacher: another run is training {recipe.distil.teacher}; waiting for it", flush=True)
    with locks.held(lock) if accelerator.is_main_process else contextlib.nullcontext():
        accelerator.wait_for_everyone()
        if run_folder.is_finished(maker.folder):
            return
        if accelerator.is_main_process:
            print(f"teacher: there is no finished run in {maker.folder}; training {recipe.distil.teacher}", flush=True)
        try:
            train(maker)
        except UserError as error:
            raise UserError(f"distil.teacher: {recipe.distil.teacher}: {error}") from error


@dataclass(frozen=True)
class Teacher:
    """A teacher that has been found.

    Attributes:
        settings: the section of the recipe that names it.
        folder: the folder of the model.
        name: what people call it: the folder of its run, or its Hub id.
        device: the device on which it answers.
    """

    settings: Distil
    folder: Path
    name: str
    device: str

    @functools.cached_property
    def loaded(self) -> Loaded:
        """The model.

        Raises:
            UserError: it cannot be loaded.
        """
        trusted, pickled = self.settings.trust_remote_code, self.settings.allow_pickle
        try:
            return inference.load(str(self.folder), trust_remote_code=trusted, allow_pickle=pickled, device=self.device)
        except UserError as error:
            problem = str(error).removeprefix("model: ").replace(str(self.folder), self.name)
            raise UserError(f"distil.teacher: {problem}") from error

    def check(self, task: Task, student: Student) -> None:
        """Load the teacher, and refuse it if it cannot answer for this student.

        Raises:
            UserError: as above.
        """
        loaded = self.loaded  # what it raises names the teacher already
        try:
            task.check_teacher(loaded, student)
        except UserError as error:
            raise UserError(str(error).replace("distil.teacher:", f"distil.teacher: {self.name}:", 1)) from error

    def forget(self) -> None:
        """Let the memory of the model be used for others."""
        self.__dict__.pop("loaded", None)

    @functools.cached_property
    def fingerprint(self) -> str:
        """Changes with the weights, the configuration and the tokenizer; of an adapter also with its base model.

        Raises:
            UserError: the base model cannot be found.
        """
        digest, base = hashlib.blake2b(digest_size=16), self._base()
        _add_files(digest, self.folder)
        if base is not None:
            digest.update(b"base\n")
            _add_files(digest, base)
        return digest.hexdigest()

    def _base(self) -> Path | None:
        """The folder of the base model, if the teacher is an adapter."""
        file = self.folder / paths.ADAPTER
        if not file.is_file():
            return None
        try:
            config = json.loads(file.read_text(encoding="utf-8"))
            base, revision = str(config["base_model_name_or_path"]), config.get("revision")
        except (OSError, ValueError, AttributeError, LookupError, TypeError) as error:
            problem = f"holds an adapter that cannot be read: {reason(error)}"
            raise UserError(f"distil.teacher: {self.name} {problem}") from error
        return checkpoints.locate(base, "distil.teacher", revision, self.settings.allow_pickle)

    @property
    def precision(self) -> str:
        """bf16 where the hardware computes in it, else fp32."""
        return "bf16" if has_fast_bf16(torch.device(self.device)) else "fp32"

    @property
    def run(self) -> Path | None:
        """The folder of the run that has left it, if it is one."""
        folder = self.folder.parent
        return folder if self.folder.name == run_folder.MODEL and run_folder.is_finished(folder) else None


def _add_files(digest: Any, folder: Path) -> None:
    """Add the files of a model to a hash."""
    for file in sorted(folder.iterdir()):
        if file.is_file() and file.name not in UNREAD:
            digest.update(f"{file.name} {file.stat().st_size}\n".encode())
            with file.open("rb") as stream:
                while chunk := stream.read(1 << 20):
                    digest.update(chunk)


def find(recipe: Recipe, accelerator: Accelerator) -> Teacher:
    """The teacher of `recipe`; one on the Hub is downloaded.

    Raises:
        UserError: it does not exist, or the run that leaves it has not finished.
    """
    distil, maker = recipe.distil, teachers_recipe(recipe)
    assert distil is not None
    device = str(accelerator.device)
    if maker is not None:
        if not run_folder.is_finished(maker.folder):
            distil.refuse("teacher", f"its run has not finished; first: finetune run {distil.teacher}")
        return Teacher(distil, maker.folder / run_folder.MODEL, str(maker.folder), device)
    folder = paths.saved_model(distil.teacher, "distil.teacher", adapters=True)
    if folder is not None:
        return Teacher(distil, folder, distil.teacher, device)
    with accelerator.local_main_process_first():
        folder = download.snapshot(distil.teacher, distil.revision, "distil.teacher", distil.allow_pickle)
    return Teacher(distil, folder, distil.teacher, device)
