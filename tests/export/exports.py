"""Exports made by hand, as `finetune export` writes them but without its checks, and an environment without torch."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import onnx

from pipeline import inference
from pipeline.export import runner_settings, transformer
from pipeline.export.recurrent.build import build
from pipeline.inference import Loaded
from pipeline.models.recurrent import RecurrentConfig

RUNNER = Path(runner_settings.__file__).with_name("runner.py")


def export(loaded: Loaded, folder: Path, recipe: Path | None = None) -> Path:
    """Write an export of `loaded` into the new folder `folder`."""
    folder.mkdir(parents=True)
    loaded.model.config.save_pretrained(folder)
    loaded.tokenizer.save_pretrained(folder)
    is_recurrent = isinstance(loaded.model.config, RecurrentConfig)
    graph = build(loaded.model, 18) if is_recurrent else transformer.build(loaded.model, loaded.tokenizer, 18)
    onnx.save(graph, folder / "model.onnx")
    (folder / "export.json").write_text(json.dumps(runner_settings.settings(loaded)), encoding="utf-8")
    shutil.copyfile(RUNNER, folder / "runner.py")
    if recipe:
        shutil.copyfile(recipe, folder / "recipe.json")
    return folder


def export_run(run: Path | str, folder: Path) -> Path:
    """Write an export of the model in the run folder `run`."""
    return export(inference.load(str(run)), folder, Path(run) / "recipe.json")


def bare_environment(folder: Path) -> Path:
    """A new folder that holds, as links, the three packages that runner.py imports, and nothing else."""
    folder.mkdir()
    for name in ("numpy", "onnxruntime", "tokenizers"):
        spec = importlib.util.find_spec(name)
        assert spec is not None
        assert spec.origin is not None
        package = Path(spec.origin).parent
        (folder / name).symlink_to(package)
        libraries = package.with_name(f"{name}.libs")
        if libraries.is_dir():  # of a Linux wheel, found by its place beside the package
            (folder / libraries.name).symlink_to(libraries)
    return folder


def python(environment: Path, *arguments: Any, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """Run Python with the packages in `environment` and no others."""
    variables = {"PYTHONPATH": str(environment), "PATH": os.environ["PATH"]}
    command = [sys.executable, "-S", *map(str, arguments)]  # -S: without site-packages
    return subprocess.run(command, input=stdin, capture_output=True, check=False, env=variables)


def answers(environment: Path, folder: Path, texts: list[Any], *options: str) -> list[dict[str, Any]]:
    """What runner.py in `folder` prints about `texts`, which it is given as JSON lines unless all are strings of one
    line."""
    is_plain = all(isinstance(text, str) and not set(text) & set("\r\n") for text in texts)
    lines = texts if is_plain else map(json.dumps, texts)
    done = python(
        environment,
        folder / "runner.py",
        *options,
        *([] if is_plain else ["--json"]),
        stdin="".join(f"{line}\n" for line in lines).encode(),
    )
    assert done.returncode == 0, done.stderr.decode()
    assert done.stderr == b""
    return [json.loads(line) for line in done.stdout.decode("utf-8").splitlines()]


def difference(one: Any, other: Any) -> float:
    """The largest difference of two numbers at the same place of two answers, which must agree in all else: keys, their
    order, and texts."""
    if isinstance(one, float):
        return abs(one - other)
    assert type(one) is type(other)
    if isinstance(one, dict):
        assert list(one) == list(other)
        return max((difference(one[key], other[key]) for key in one), default=0.0)
    if isinstance(one, list):
        assert len(one) == len(other)
        return max(map(difference, one, other), default=0.0)
    assert one == other
    return 0.0
