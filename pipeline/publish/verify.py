"""A folder is loaded in a clean process that has never heard of this package, and has to answer as the run did."""

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
from pipeline.errors import UserError, shorten
from pipeline.publish import reference_outputs

SECONDS = 900

# -I keeps PYTHONPATH and the working folder out; an installed copy of this package is hidden.
STRANGER = f"""
import importlib.abc, json, os, sys

class Missing(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "pipeline":
            raise ModuleNotFoundError("No module named 'pipeline'", name="pipeline")

sys.meta_path.insert(0, Missing())
import transformers

transformers.logging.set_verbosity_error()

{inspect.getsource(reference_outputs.answers)}

asked = json.load(sys.stdin)
folder, kind = asked["folder"], getattr(transformers, "AutoModelFor" + asked["head"])
options = {{"trust_remote_code": asked["has_code"]}}
if asked["base"]:
    import peft

    names = dict(enumerate(asked["labels"]))
    named = {{"id2label": names, "label2id": {{name: index for index, name in names.items()}}}}
    named = {{}} if asked["head"] == "CausalLM" else named
    model = kind.from_pretrained(asked["base"], revision=asked["revision"], **named)
    model = peft.PeftModel.from_pretrained(model, folder)
else:
    model = kind.from_pretrained(folder, use_safetensors=True, **options)
tokenizer = transformers.AutoTokenizer.from_pretrained(folder, **options)
told = {{"answers": answers(model, tokenizer, asked["texts"], asked["classes"])}}
told["labels"] = [str(name) for _, name in sorted(model.config.id2label.items())]
print("\\nANSWERS" + json.dumps(told))
"""


def check(folder: Path, expected: dict[str, Any], has_code: bool) -> None:
    """Load `folder` with the Auto classes in a clean process and compare.

    Args:
        expected: what `answers.read` tells of the run.
        has_code: whether code of ours lies in the folder, which is run in that process.

    Raises:
        UserError: it does not load there, or answers otherwise.
    """
    asked = {
        "folder": str(folder.resolve()),
        "head": expected["head"],
        "texts": expected["texts"],
        "labels": expected["labels"],
        "classes": [answer["best"] for answer in expected["answers"]],
        "has_code": has_code,
        **_base_of(folder),
    }
    with tempfile.TemporaryDirectory() as elsewhere:
        told = _ask(asked, Path(elsewhere))
    found = reference_outputs.difference(expected["answers"], told["answers"])
    if found is None and expected["head"] != "CausalLM" and told["labels"] != expected["labels"]:
        found = f"its labels are {', '.join(told['labels'])}, in the run {', '.join(expected['labels'])}"
    if found:
        raise UserError(
            f"model: loaded in a clean process it does not answer as the run did: {found}; its files were changed"
            " since: run it again"
        )


def _base_of(folder: Path) -> dict[str, str | None]:
    """The model that an adapter adapts, and its commit; nothing for other folders."""
    if not (folder / paths.ADAPTER).is_file():
        return {"base": None, "revision": None}
    told = json.loads((folder / paths.ADAPTER).read_text(encoding="utf-8"))
    return {"base": told["base_model_name_or_path"], "revision": told.get("revision")}


def _ask(asked: dict[str, Any], elsewhere: Path) -> dict[str, Any]:
    environment = {**os.environ, "HF_MODULES_CACHE": str(elsewhere / "modules"), "TOKENIZERS_PARALLELISM": "false"}
    if not asked["base"]:
        environment["HF_HUB_OFFLINE"] = "1"  # all that it needs is in the folder
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-c", STRANGER],
            input=json.dumps(asked),
            capture_output=True,
            text=True,
            encoding="utf-8",
            cwd=elsewhere,
            env=environment,
            timeout=SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise UserError(f"model: a clean process has not loaded it in {SECONDS} seconds; try again") from error
    _, found, told = done.stdout.rpartition("\nANSWERS")
    if done.returncode or not found:
        last = [line for line in done.stderr.splitlines() if line.strip()] or ["it says nothing"]
        raise UserError(f"model: it does not load in a clean process without this package: {shorten(last[-1], 300)}")
    return dict(json.loads(told))
