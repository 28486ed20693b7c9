"""The files of a Space: the program, its requirements, its card, this package, and models that are not on the Hub."""

from __future__ import annotations

import importlib.metadata
import json
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from huggingface_hub.constants import ENDPOINT

import pipeline
from pipeline import run_folder
from pipeline.config import paths
from pipeline.config.serialization import read_json
from pipeline.demo.contenders import titles
from pipeline.errors import UserError
from pipeline.publish import staging
from pipeline.publish.redact import redacted_recipe

DISTRIBUTION = "finetune-pipeline"
# In a Space that finetune has made.
MARK = "pipeline/demo/page.py"
MODELS = "models"
EXPORT = "export.json"
# File of a model -> the package that loading it takes, beside the usual ones.
EXTRAS = {paths.ADAPTER: "peft", EXPORT: "onnxruntime"}
SUFFIXES = (*staging.SUFFIXES, ".onnx", ".data")
APP = '''"""A page on which one text is answered by several models; made by `finetune demo --push`."""

from pipeline.demo import contenders, page

MODELS = {models}
REVISIONS = {revisions}

demo = page.build(contenders.load(MODELS, REVISIONS))
if __name__ == "__main__":
    page.launch(demo)
'''
CARD = """---
title: {title}
emoji: ⚖️
colorFrom: blue
colorTo: green
sdk: gradio
sdk_version: {gradio}
python_version: "{python}"
app_file: app.py
{models}---

# {name}

One text is answered by {count} side by side, with their scores and the time that each takes:

{listed}

Made by `finetune demo --push`.
"""


def write(names: Sequence[str], revisions: Mapping[str, str], repo_id: str, into: Path) -> None:
    """Write the files of the Space of the models called `names` into the empty folder `into`.

    Args:
        revisions: the commit of each that is on the Hub; the others are copied.

    Raises:
        UserError: a run has not finished, or could not be loaded elsewhere.
    """
    folders: dict[str, str] = {}
    for name, title in zip(names, titles(names), strict=True):
        if name not in revisions:
            folders[name] = f"{MODELS}/{title.strip('/').replace('/', '-')}"
            _copy_model(name, repo_id, into / folders[name])
    _copy_package(into / "pipeline")
    (into / "requirements.txt").write_text("\n".join(_requirements(into)) + "\n", encoding="utf-8")
    there = [folders.get(name, name) for name in names]
    app = APP.format(models=json.dumps(there, indent=4), revisions=json.dumps(dict(revisions), indent=4))
    (into / "app.py").write_text(app, encoding="utf-8")
    (into / staging.CARD).write_text(_card(repo_id, names, revisions), encoding="utf-8")


def _copy_model(name: str, repo_id: str, into: Path) -> None:
    """The files of a model, as a push of its run would upload them. Weights become links, which an upload follows."""
    into.mkdir(parents=True)
    folder = Path(run_folder.model_in(name))
    if (folder.parent / run_folder.METRICS).is_file() and not (folder / EXPORT).is_file():
        run = staging.open_run(name)
        staging.stage_files(run, run.card_data(repo_id=repo_id), into)
        return
    for file in sorted(folder.iterdir()):
        if not file.is_file() or file.suffix not in SUFFIXES:
            continue
        if file.name == run_folder.RECIPE:
            (into / file.name).write_text(redacted_recipe(read_json(file), {}).to_json(), encoding="utf-8")
        elif file.suffix == ".json":
            (into / file.name).write_bytes(staging.without_local_settings(file))
        else:
            (into / file.name).symlink_to(file.resolve())


def _copy_package(into: Path) -> None:
    shutil.copytree(Path(pipeline.__file__).parent, into, ignore=shutil.ignore_patterns("__pycache__"))


def _requirements(space: Path) -> list[str]:
    """What this package requires, in the versions that are installed here; gradio itself is a matter of the card."""
    try:
        lines = importlib.metadata.requires(DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError as error:
        raise UserError(f"push: {DISTRIBUTION} is imported, but not installed; pip install it") from error
    names = [re.match(r"[\w.-]+", line)[0] for line in lines if "extra ==" not in line]  # type: ignore[index]
    names += [package for file, package in EXTRAS.items() if any(space.glob(f"{MODELS}/*/{file}"))]
    return [f"{name}=={importlib.metadata.version(name).partition('+')[0]}" for name in sorted(set(names))]


def _card(repo_id: str, names: Sequence[str], revisions: Mapping[str, str]) -> str:
    name = repo_id.partition("/")[2]
    on_hub = [own for own in names if own in revisions]
    listed = [f"- [{own}]({ENDPOINT}/{own}) at `{revisions[own][:12]}`" for own in on_hub]
    listed += [f"- {title}" for own, title in zip(names, titles(names), strict=True) if own not in revisions]
    return CARD.format(
        title=json.dumps(name),
        gradio=importlib.metadata.version("gradio"),
        python=f"{sys.version_info.major}.{sys.version_info.minor}",
        models="models:\n" + "".join(f"  - {own}\n" for own in on_hub) if on_hub else "",
        name=name,
        count=f"{len(names)} model{'s' * (len(names) > 1)}",
        listed="\n".join(listed),
    )
