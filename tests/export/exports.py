"""Exports for tests, made by hand: what `finetune export` writes, without its checks."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import onnx

from pipeline import inference
from pipeline.export import runner_settings
from pipeline.export.recurrent.build import build
from pipeline.inference import Loaded

RUNNER = Path(runner_settings.__file__).with_name("runner.py")


def export(loaded: Loaded, folder: Path, recipe: Path | None = None) -> Path:
    """Write an export of `loaded` into the new folder `folder`."""
    folder.mkdir(parents=True)
    loaded.model.config.save_pretrained(folder)
    loaded.tokenizer.save_pretrained(folder)
    onnx.save(build(loaded.model, 18), folder / "model.onnx")
    (folder / "export.json").write_text(json.dumps(runner_settings.settings(loaded)), encoding="utf-8")
    shutil.copyfile(RUNNER, folder / "runner.py")
    if recipe:
        shutil.copyfile(recipe, folder / "recipe.json")
    return folder


def export_run(run: Path | str, folder: Path) -> Path:
    """Write an export of the model in the run folder `run`."""
    return export(inference.load(str(run)), folder, Path(run) / "recipe.json")
