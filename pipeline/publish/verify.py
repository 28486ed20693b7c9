"""Load a saved model in a clean process without this package, and compare its outputs with those of the run."""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from pipeline.config import paths
from pipeline.config.task_specs import head_called
from pipeline.errors import UserError, shorten
from pipeline.publish import reference_outputs
from pipeline.publish.onnx_folder import OnnxExport

TIMEOUT_SECONDS = 900
MARKER = "OUTPUTS"  # begins the last line that the process prints


def _hiding(*packages: str) -> str:
    """The beginning of a program for which these packages are not installed."""
    return f"""
import importlib.abc, json, os, sys

class Hide(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {packages}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Hide())
"""


# `python -I` ignores PYTHONPATH and the working folder; an installed copy of this package is hidden.
PROGRAM = f"""
{_hiding("pipeline")}
import transformers

transformers.logging.set_verbosity_error()

{inspect.getsource(reference_outputs.compute_outputs)}

request = json.load(sys.stdin)
folder, auto_class = request["folder"], getattr(transformers, "AutoModelFor" + request["head"])
options = {{"trust_remote_code": request["has_code"]}}
if request["base"]:
    import peft

    names = dict(enumerate(request["labels"]))
    labels = {{"id2label": names, "label2id": {{name: index for index, name in names.items()}}}}
    labels = labels if request["has_labels"] else {{}}
    trusted = {{"trust_remote_code": request["base_is_trusted"]}}
    model = auto_class.from_pretrained(request["base"], revision=request["revision"], **labels, **trusted)
    model = peft.PeftModel.from_pretrained(model, folder)
else:
    model = auto_class.from_pretrained(folder, use_safetensors=True, **options)
tokenizer = transformers.AutoTokenizer.from_pretrained(folder, **options)
found = {{"outputs": compute_outputs(model, tokenizer, request["texts"], request["classes"])}}
found["labels"] = [str(name) for _, name in sorted(model.config.id2label.items())]
print("\\n{MARKER}" + json.dumps(found))
"""

EXPORT_PROGRAM = f"""
{_hiding("pipeline", "torch", "transformers")}
request = json.load(sys.stdin)
sys.path[:0] = [request["folder"], request["folder"] + "/onnx"]
import runner

found = {{"runner.py": runner.load()(request["texts"])}}
if request["has_handler"]:
    import handler

    found["handler.py"] = handler.EndpointHandler(request["folder"])({{"inputs": request["texts"]}})
print("\\n{MARKER}" + json.dumps(found))
"""


def verify_in_clean_process(
    folder: Path, expected: dict[str, Any], has_code: bool, base_is_trusted: bool = False
) -> None:
    """Load the model in `folder` with the Auto classes in a clean process, and compare its outputs.

    Args:
        expected: the result of `reference_outputs.read` for the run.
        has_code: whether modeling files are in the folder; the process runs them.
        base_is_trusted: of an adapter: whether the code of its base model may run.

    Raises:
        UserError: the model does not load there, or its outputs or labels differ.
    """
    has_labels = head_called(expected["head"]).has_labels
    request = {
        "folder": str(folder.resolve()),
        "head": expected["head"],
        "texts": expected["texts"],
        "labels": expected["labels"],
        "has_labels": has_labels,
        "classes": [answer["best"] for answer in expected["answers"]],
        "has_code": has_code,
        "base_is_trusted": base_is_trusted,
        **_base_of(folder),
    }
    with tempfile.TemporaryDirectory() as elsewhere:
        found = _run_program(request, Path(elsewhere))
    difference = reference_outputs.first_difference(expected["answers"], found["outputs"])
    if difference is None and has_labels and found["labels"] != expected["labels"]:
        difference = f"its labels are {', '.join(found['labels'])} instead of {', '.join(expected['labels'])}"
    if difference:
        raise UserError(
            f"model: loaded in a clean process, its outputs differ from those of its run: {difference}; its files have"
            " changed since then; run it again"
        )


def _base_of(folder: Path) -> dict[str, str | None]:
    """The base model of an adapter and its commit; both None for a whole model."""
    if not (folder / paths.ADAPTER).is_file():
        return {"base": None, "revision": None}
    config = json.loads((folder / paths.ADAPTER).read_text(encoding="utf-8"))
    return {"base": config["base_model_name_or_path"], "revision": config.get("revision")}


def verify_export_in_clean_process(folder: Path, export: OnnxExport) -> None:
    """Run the export in `folder`/onnx in a clean process without this package, torch and transformers, and compare its
    answers; those of its handler for Inference Endpoints as well, if there is one.

    Raises:
        UserError: it does not run there, or answers otherwise.
    """
    has_handler = (folder / "handler.py").is_file()
    request = {"folder": str(folder.resolve()), "texts": export.texts, "has_handler": has_handler, "base": None}
    with tempfile.TemporaryDirectory() as elsewhere:
        found = _run_program(request, Path(elsewhere), EXPORT_PROGRAM)
    for name, answers in found.items():
        if answers != export.answers:
            raise UserError(f"model: in a clean process, {name} of its export answers otherwise; export it again")


def _run_program(request: dict[str, Any], elsewhere: Path, program: str = PROGRAM) -> dict[str, Any]:
    environment = {**os.environ, "HF_MODULES_CACHE": str(elsewhere / "modules"), "TOKENIZERS_PARALLELISM": "false"}
    if not request["base"]:
        environment["HF_HUB_OFFLINE"] = "1"  # everything that the model needs is in the folder
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-c", program],
            input=json.dumps(request),
            capture_output=True,
            text=True,
            encoding="utf-8",
            cwd=elsewhere,
            env=environment,
            timeout=TIMEOUT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise UserError(
            f"model: it did not load in a clean process within {TIMEOUT_SECONDS} seconds; try again"
        ) from error
    _, marker, found = done.stdout.rpartition(f"\n{MARKER}")
    if done.returncode or not marker:
        last = [line for line in done.stderr.splitlines() if line.strip()] or ["no error message"]
        raise UserError(f"model: it does not load in a clean process without this package: {shorten(last[-1], 300)}")
    return dict(json.loads(found))
