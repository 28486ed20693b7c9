"""The folder that leaves: the saved model, its recipe and metrics without this machine's paths, and the card."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline import run_folder
from pipeline.config import paths
from pipeline.config.recipe import Recipe
from pipeline.config.serialization import read_json
from pipeline.errors import UserError, reason
from pipeline.publish import reference_outputs, snippets
from pipeline.publish.card import card
from pipeline.publish.card_data import Facts
from pipeline.publish.redact import public, without_folders

CARD = "README.md"
WEIGHTS = ".safetensors"
# What a saved model consists of; anything else in its folder stays here.
SUFFIXES = (WEIGHTS, ".json", ".txt", ".model", ".py", ".bpe", ".jinja", ".tiktoken")
# What a tokenizer's settings tell of how this machine has loaded it.
OF_THIS_MACHINE = ("is_local", "local_files_only", "name_or_path")


@dataclass(frozen=True)
class Run:
    """A finished run and the model that it has saved."""

    folder: Path
    model: Path
    recipe: Recipe
    metrics: dict[str, Any]

    @property
    def has_code(self) -> bool:
        return any(self.model.glob("*.py"))

    @property
    def labels(self) -> list[str]:
        return labels_in(self.model)


def labels_in(model: Path) -> list[str]:
    """Names of the classes in the folder of a saved model or adapter, in the order of their ids."""
    for file, read in ((model / "labels.json", dict), (model / "config.json", lambda told: told.get("id2label", {}))):
        if file.is_file():
            names = read(json.loads(file.read_text(encoding="utf-8")))
            return [str(names[key]) for key in sorted(names, key=int)]
    return []


def open_run(name: str) -> Run:
    """The finished run whose folder, or the model in it, is called `name`.

    Raises:
        UserError: it is not there, has not finished, or is another kind of folder.
    """
    folder = paths.local(name, "model")
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "is not there"
        raise UserError(f"model: {name} {what}; give the folder of a finished run, such as runs/mine")
    if folder.name == run_folder.MODEL and (folder.parent / run_folder.RECIPE).is_file():
        folder = folder.parent
    elif not (folder / run_folder.MODEL).is_dir() and folder.resolve().name == run_folder.MODEL:
        folder = folder.resolve().parent
    if not (folder / run_folder.RECIPE).is_file() or (folder / "config.json").is_file():
        kind = "the folder of a model alone" if (folder / "config.json").is_file() else "not the folder of a run"
        raise UserError(
            f"model: {name} is {kind}, without the metrics that a card is made of; give the folder of a run, or upload"
            " it as it is: hf upload REPO_ID FOLDER"
        )
    if not (folder / run_folder.METRICS).is_file() or not (folder / run_folder.MODEL).is_dir():
        raise UserError(f"model: the run in {name} has not finished; continue it by the same command, then push")
    try:
        metrics = json.loads((folder / run_folder.METRICS).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{folder / run_folder.METRICS}: not JSON: {reason(error)}") from error
    if not isinstance(metrics, dict) or not isinstance(metrics.get("train"), dict):
        raise UserError(f"{folder / run_folder.METRICS}: it lacks the figures of a run; run it again")
    run = Run(folder, folder / run_folder.MODEL, read_json(folder / run_folder.RECIPE), metrics)
    paths.saved_model(str(run.model), "model", adapters=True)
    try:
        card(Facts(run.recipe, run.metrics, run.has_code, run.labels))
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise UserError(
            f"model: {folder} has figures or labels that are none ({reason(error)}); run it again"
        ) from error
    _check_base(run)
    return run


def _check_base(run: Run) -> None:
    """An adapter is nothing without its base, which others have to find."""
    model: Any = run.recipe.model
    if snippets.is_adapter(run.recipe) and "model.checkpoint" not in run.metrics.get("revisions", {}):
        raise UserError(
            f"model: {run.model} is an adapter of {model.checkpoint}, which is a folder of this machine; push the base"
            " and train on it by its id, or run it with model.lora.merge True"
        )


def stage(run: Run, facts: Facts, into: Path) -> list[str]:
    """Put what is pushed of `run` into the folder `into`.

    Returns:
        Notes on what was left out or kept as it is.
    """
    left = []
    for file in sorted(run.model.iterdir()):
        if file.name in (CARD, run_folder.RECIPE):
            continue
        if not file.is_file() or file.suffix not in SUFFIXES or file.name.startswith("."):
            left.append(file.name)
        elif file.suffix == WEIGHTS:
            (into / file.name).symlink_to(file.resolve())
        else:
            (into / file.name).write_bytes(_without_machine(file))
    recipe = public(run.recipe, run.metrics)
    (into / run_folder.RECIPE).write_text(recipe.to_json(), encoding="utf-8")
    metrics = json.dumps(without_folders(run.metrics), indent=2, ensure_ascii=False) + "\n"
    (into / run_folder.METRICS).write_text(metrics, encoding="utf-8")
    text, notes = _card(run, facts)
    (into / CARD).write_text(text, encoding="utf-8")
    return [*notes, *([f"left out, as no part of a model: {', '.join(left)}"] if left else [])]


def _without_machine(file: Path) -> bytes:
    if file.name != "tokenizer_config.json":
        return file.read_bytes()
    told = json.loads(file.read_text(encoding="utf-8"))
    told = {name: value for name, value in told.items() if name not in OF_THIS_MACHINE}
    return (json.dumps(told, indent=2, ensure_ascii=False) + "\n").encode()


def _card(run: Run, facts: Facts) -> tuple[str, list[str]]:
    """The card made anew, unless somebody has written in the one that the run has left."""
    file = run.model / CARD
    text = file.read_text(encoding="utf-8") if file.is_file() else ""
    if text and reference_outputs.digest(text) != reference_outputs.read(run.folder)["card"]:
        return text, [f"{CARD} was edited by hand and is pushed as it is"]
    return card(facts), []
