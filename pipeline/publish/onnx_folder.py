"""The export of a run in the folder onnx/ of its repository, where tools on the Hub look for it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline import run_folder
from pipeline.publish.staging import without_local_settings

ONNX = "onnx"
# These belong at the top of a repository: Inference Endpoints look for them there.
OF_ENDPOINTS = ("handler.py", "requirements.txt")


@dataclass(frozen=True)
class OnnxExport:
    """An export that is pushed.

    Attributes:
        folder: what `finetune export` has made.
        texts: strings, lists of two or lists of words.
        answers: what the export answers to them, in the form of JSON.
    """

    folder: Path
    texts: list[Any]
    answers: list[dict[str, Any]]


def stage(export: OnnxExport, into: Path) -> None:
    """Put the files of `export` into the staged folder `into`: the program for Inference Endpoints at its top, all
    others in onnx/. The recipe is there already, without local paths."""
    (into / ONNX).mkdir()
    for file in sorted(export.folder.iterdir()):
        target = into / file.name if file.name in OF_ENDPOINTS else into / ONNX / file.name
        if ".onnx" in file.suffixes:
            target.symlink_to(file.resolve())
        elif file.name != run_folder.RECIPE:
            target.write_bytes(without_local_settings(file))


def as_json(answers: Any) -> Any:
    """What a program that prints `answers` as JSON says."""
    return json.loads(json.dumps(answers))
