"""Loads a recipe from its file and command-line flags, and refuses it if files that it names are missing."""

from __future__ import annotations

import importlib.util
import os
import sys
import traceback
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import tyro

from pipeline.config import offline, paths, references, sources
from pipeline.config.data import TRAINED_TOKENIZERS
from pipeline.config.distil import UNLABELLED, named_for_texts
from pipeline.config.models import Pretrained, Recurrent
from pipeline.config.recipe import Recipe
from pipeline.config.serialization import read_json
from pipeline.errors import UserError, reason, suggest

# Files of recipes and studies that are being imported: `main` must not run then.
loading: list[Path] = []

T = TypeVar("T")


def load_recipe(name: str) -> Recipe:
    """The recipe in a .json file, or the value called `recipe` in a .py file.

    Raises:
        UserError: there is no such file, running it fails, or it contains no recipe.
    """
    file = paths.local(name, "recipe")
    if file.suffix not in (".py", ".json"):
        raise UserError(f"{name}: not a recipe; it must be a .py or .json file")
    if not file.is_file():
        raise UserError(f"{name}: no such file{nearby(file)}")
    return offline.at_home(read_json(file), file) if file.suffix == ".json" else from_python(file, Recipe, "recipe")


def from_python(file: Path, kind: type[T], name: str) -> T:
    """The value called `name`, of type `kind`, in a .py file.

    Raises:
        UserError: running the file fails, or it contains no such value.
    """
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(file.parent.resolve()))  # so that a recipe can import its siblings
    loading.append(file)
    try:
        with warnings.catch_warnings():  # stderr is for errors
            warnings.simplefilter("ignore")
            spec.loader.exec_module(module)
    except UserError as error:
        raise UserError(f"{file}: {error}") from error
    except SystemExit as error:
        raise UserError(f"{_place(file, error)}: the {name} exits; call main(recipe) at the end of the file") from error
    except Exception as error:  # a recipe is the user's own code, and so are its mistakes
        raise UserError(f"{_place(file, error)}: {reason(error)}") from error
    finally:
        loading.remove(file)
    found = getattr(module, name, None)
    if not isinstance(found, kind):
        raise UserError(f"{file}: no {name} in it; assign {name} = {kind.__name__}(...)")
    return found


def _place(file: Path, error: BaseException) -> str:
    """file:line of the recipe at which `error` was raised."""
    if isinstance(error, SyntaxError):
        return f"{file}:{error.lineno or 1}"
    own = [
        frame.lineno
        for frame in traceback.extract_tb(error.__traceback__)
        if Path(frame.filename).resolve() == file.resolve()
    ]
    return f"{file}:{own[-1]}" if own else str(file)


def override(recipe: Recipe, arguments: Sequence[str], program: str) -> Recipe:
    """`recipe` with the settings in `arguments`; the parser exits with code 2 if it refuses a name or value.

    Raises:
        UserError: a flag belongs to a section that the recipe does not have.
    """
    if recipe.distil is None and any(argument.startswith("--distil.") for argument in arguments):
        raise UserError(
            "distil: the recipe has no teacher, so flags cannot change its settings; set distil in the file"
        )
    # Flags cannot change the kind of model: --model.* are the settings of the recipe's own kind only.
    return tyro.cli(Recipe, default=recipe, args=list(arguments), prog=program, config=(tyro.conf.AvoidSubcommands,))


def check_paths(recipe: Recipe) -> None:
    """Check the files and folders that `recipe` names, before torch is imported.

    Raises:
        UserError: one is missing, or a setting does not apply to it.
    """
    sources.resolve(recipe.data, recipe.task)
    check_names(recipe)


def check_names(recipe: Recipe) -> None:
    """Check what `recipe` names besides its data.

    Raises:
        UserError: a file or folder is missing, or a setting does not apply to it.
    """
    if recipe.data.tokenizer not in (None, *TRAINED_TOKENIZERS):
        folder = paths.saved_tokenizer(str(recipe.data.tokenizer), "data.tokenizer")
        if folder and recipe.data.tokenizer_revision:
            recipe.data.refuse(
                "tokenizer_revision", f"{folder} is a local folder without revisions; remove this setting"
            )
    references.check_trust(recipe)
    if isinstance(recipe.model, Pretrained):
        folder = paths.saved_model(recipe.model.checkpoint, "model.checkpoint")
        if folder and recipe.model.revision:
            recipe.model.refuse("revision", f"{folder} is a local folder without revisions; remove this setting")
    if isinstance(recipe.model, Recurrent) and recipe.model.vectors:
        paths.vectors(recipe.model.vectors, "model.vectors")
    if recipe.optim.average is not None and _uses_deepspeed(os.environ):
        recipe.optim.refuse("average", "DeepSpeed is not supported; start the run with ddp.yaml or fsdp.yaml")
    _check_teacher(recipe)


def _uses_deepspeed(environment: Mapping[str, str]) -> bool:
    """Whether the launcher asks for DeepSpeed."""
    return environment.get("ACCELERATE_USE_DEEPSPEED", "false").lower() in ("1", "true", "yes", "on")


def teachers_recipe(recipe: Recipe) -> Recipe | None:
    """The recipe whose run leaves the teacher of `recipe`; None: distil.teacher names no recipe.

    Raises:
        UserError: there is no such file, or it contains no recipe of the same task.
    """
    if recipe.distil is None or not references.is_recipe(recipe.distil.teacher):
        return None
    try:
        found = load_recipe(recipe.distil.teacher)
    except UserError as error:
        raise UserError(f"distil.teacher: {error}") from error
    if found.task != recipe.task:
        recipe.distil.refuse("teacher", f"{recipe.distil.teacher} is for the task {found.task}, not {recipe.task}")
    return found


def _check_teacher(recipe: Recipe) -> None:
    """Check what the teacher and the sources of unlabelled texts name."""
    distil = recipe.distil
    if distil is None:
        return
    is_local = references.is_recipe(distil.teacher)
    if is_local:
        _refuse_circle(recipe)
    else:
        folder = paths.saved_model(distil.teacher, "distil.teacher", adapters=True)
        is_local = folder is not None
        if folder and folder.resolve() == (recipe.folder / paths.MODEL).resolve():
            distil.refuse("teacher", f"{distil.teacher} is the folder of this run; name another one")
    if distil.revision and is_local:
        distil.refuse("revision", f"{distil.teacher} is on this machine and has no revisions; remove this setting")
    for source in distil.sources:
        try:
            sources.resolve(source, recipe.task)
        except UserError as error:
            message = named_for_texts(str(error))
            raise UserError(message if UNLABELLED in message else f"{UNLABELLED}: {message}") from error


def _refuse_circle(recipe: Recipe) -> None:
    """Refuse a recipe whose run would be needed to train its own teacher."""
    folders, maker = {recipe.folder}, teachers_recipe(recipe)
    while maker is not None:
        if maker.folder in folders:
            teacher = recipe.distil.teacher if recipe.distil else ""
            raise UserError(f"distil.teacher: the run of {teacher} would need its own model; name another teacher")
        folders.add(maker.folder)
        maker = teachers_recipe(maker)


def nearby(file: Path) -> str:
    """A hint for a missing `file`: the most similar name in its folder, or all names there."""
    names = [path.name for path in file.parent.glob(f"*{file.suffix}")] if file.parent.is_dir() else []
    return suggest(file.name, names) if names else ""
