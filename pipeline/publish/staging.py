"""The folder that is uploaded: the saved model, its recipe and metrics without local paths, and the card."""

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
from pipeline.publish.card_data import CardData
from pipeline.publish.redact import redacted_recipe, without_folders

CARD = "README.md"
WEIGHTS = ".safetensors"
# The files of a saved model; others in its folder are not uploaded.
SUFFIXES = (WEIGHTS, ".json", ".txt", ".model", ".py", ".bpe", ".jinja", ".tiktoken")
# Settings in tokenizer_config.json that say how it was loaded on this machine.
LOCAL_TOKENIZER_SETTINGS = ("is_local", "local_files_only", "name_or_path")


@dataclass(frozen=True)
class FinishedRun:
    """A finished run: its folder, the folder of its model, its recipe and its metrics."""

    folder: Path
    model: Path
    recipe: Recipe
    metrics: dict[str, Any]

    @property
    def has_code(self) -> bool:
        return any(self.model.glob("*.py"))

    def card_data(self, **published: Any) -> CardData:
        """What its card is made from; `published` is what is known of the repository alone."""
        labels, has_pieces = labels_in(self.model), has_word_pieces(self.model)
        return CardData(self.recipe, self.metrics, self.has_code, labels, has_word_pieces=has_pieces, **published)


def labels_in(model: Path) -> list[str]:
    """Names of the classes in the folder of a saved model or adapter, in the order of their ids."""
    for file, read in (
        (model / "labels.json", dict),
        (model / "config.json", lambda config: config.get("id2label", {})),
    ):
        if file.is_file():
            names = read(json.loads(file.read_text(encoding="utf-8")))
            return [str(names[key]) for key in sorted(names, key=int)]
    return []


def has_word_pieces(model: Path) -> bool:
    """Whether the tokenizer in the folder of a model marks the pieces of a word after its first, as BERT's (##)."""
    file = model / "tokenizer.json"
    parts = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    return bool(parts.get("model", {}).get("continuing_subword_prefix"))


def open_run(name: str) -> FinishedRun:
    """The finished run in the folder `name`, as `read_run` finds it, if it can be pushed.

    Raises:
        UserError: there is no such run, or it is an adapter of a model that is not on the Hub.
    """
    run = read_run(name, "push")
    _check_base(run)
    return run


def read_run(name: str, then: str) -> FinishedRun:
    """The finished run in the folder `name`, which may also be the `model` folder in it.

    Args:
        then: what is to be done with it, for messages: push or export.

    Raises:
        UserError: there is no such folder, it is not a run folder, or the run has not finished.
    """
    folder = _folder_of_run(name, then)
    if not (folder / run_folder.METRICS).is_file() or not (folder / run_folder.MODEL).is_dir():
        raise UserError(f"model: the run in {name} has not finished; resume it with the same command, then {then}")
    metrics = _read_metrics(folder / run_folder.METRICS)
    run = FinishedRun(folder, folder / run_folder.MODEL, read_json(folder / run_folder.RECIPE), metrics)
    paths.saved_model(str(run.model), "model", adapters=True)
    try:
        card(run.card_data())
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise UserError(
            f"model: {folder} has invalid metrics or labels, from which no card can be made ({reason(error)}); run it"
            " again"
        ) from error
    return run


def _folder_of_run(name: str, then: str) -> Path:
    folder = paths.local(name, "model")
    if not folder.is_dir():
        problem = "is a file" if folder.exists() else "does not exist"
        raise UserError(f"model: {name} {problem}; give the folder of a finished run, such as runs/mine")
    if folder.name == run_folder.MODEL and (folder.parent / run_folder.RECIPE).is_file():
        folder = folder.parent
    elif not (folder / run_folder.MODEL).is_dir() and folder.resolve().name == run_folder.MODEL:
        folder = folder.resolve().parent
    is_model = (folder / "config.json").is_file()
    if is_model or not (folder / run_folder.RECIPE).is_file():
        kind = "the folder of a model" if is_model else "not the folder of a run"
        instead = ", or upload it as it is: hf upload REPO_ID FOLDER" if then == "push" else ""
        raise UserError(f"model: {name} is {kind}, without the metrics for a card; give the folder of a run{instead}")
    return folder


def _read_metrics(file: Path) -> dict[str, Any]:
    try:
        metrics = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{file}: not JSON: {reason(error)}") from error
    if not isinstance(metrics, dict) or not isinstance(metrics.get("train"), dict):
        raise UserError(f"{file}: not the metrics of a run; run it again")
    return metrics


def _check_base(run: FinishedRun) -> None:
    """Refuse an adapter whose base model is a local folder: nobody else could load it."""
    model: Any = run.recipe.model
    if snippets.is_adapter(run.recipe) and "model.checkpoint" not in run.metrics.get("revisions", {}):
        raise UserError(
            f"model: {run.model} is an adapter of {model.checkpoint}, which is a local folder; push the base model and"
            " train on it by its Hub id, or run with model.lora.merge True"
        )


def stage_files(run: FinishedRun, card_data: CardData, into: Path) -> list[str]:
    """Put the files of `run` that are uploaded into the empty folder `into`.

    Returns:
        Messages for the user: which files were left out, and whether the card was kept as it was.
    """
    left_out = []
    for file in sorted(run.model.iterdir()):
        if file.name in (CARD, run_folder.RECIPE):
            continue
        if not file.is_file() or file.suffix not in SUFFIXES or file.name.startswith("."):
            left_out.append(file.name)
        elif file.suffix == WEIGHTS:
            (into / file.name).symlink_to(file.resolve())
        else:
            (into / file.name).write_bytes(without_local_settings(file))
    recipe = redacted_recipe(run.recipe, run.metrics)
    (into / run_folder.RECIPE).write_text(recipe.to_json(), encoding="utf-8")
    metrics = json.dumps(without_folders(run.metrics), indent=2, ensure_ascii=False) + "\n"
    (into / run_folder.METRICS).write_text(metrics, encoding="utf-8")
    edited = _edited_card(run)
    (into / CARD).write_text(edited or card(card_data), encoding="utf-8")
    messages = [f"{CARD} was edited by hand and is pushed as it is"] if edited else []
    return messages + ([f"left out files that are not part of a model: {', '.join(left_out)}"] if left_out else [])


def without_local_settings(file: Path) -> bytes:
    """The contents of `file`; of a tokenizer's configuration, without what is about this machine."""
    if file.name != "tokenizer_config.json":
        return file.read_bytes()
    config = json.loads(file.read_text(encoding="utf-8"))
    config = {name: value for name, value in config.items() if name not in LOCAL_TOKENIZER_SETTINGS}
    return (json.dumps(config, indent=2, ensure_ascii=False) + "\n").encode()


def _edited_card(run: FinishedRun) -> str | None:
    """The card in the run's folder, if it has been edited since the run."""
    file = run.model / CARD
    text = file.read_text(encoding="utf-8") if file.is_file() else ""
    is_edited = text and reference_outputs.card_hash(text) != reference_outputs.read(run.folder)["card"]
    return text if is_edited else None
