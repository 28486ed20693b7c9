"""What the documents say: their commands run, their paths are there, their tables name what exists."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT
from hub_server import REAL_HUB

README = (ROOT / "README.md").read_text(encoding="utf-8")
RECIPES = (ROOT / "recipes/README.md").read_text(encoding="utf-8")
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
HUB = re.findall(r"^```sh\n(.*?)^```", README.partition("## On the Hub")[2], re.MULTILINE | re.DOTALL)[0]
# Shortens a run: what is tested is that the command works, and the figures are held by the slow test.
SHORT = ["--data.limit", "200", "--train.max-steps", "2"]
REVIEWS = "text,label\n" + "".join(f"a funny film {n},good\nan empty mess {n},bad\n" for n in range(40))


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def workplace(tmp_path_factory) -> Path:
    """A folder as a reader would have it: the recipes, data of their own, and the commands on the path."""
    folder = tmp_path_factory.mktemp("reader")
    shutil.copytree(ROOT / "recipes", folder / "recipes")
    for name in ("reviews.csv", "new_reviews.csv"):
        (folder / name).write_text(REVIEWS)
    return folder


def run(command: str | list, folder: Path, says_nothing_on_stderr: bool = True, **environment: str) -> str:
    """What `command` prints; it has to succeed. Our own commands keep stderr clean; transformers shows bars there."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        command,
        cwd=folder,
        shell=isinstance(command, str),
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), **environment},
    )
    assert done.returncode == 0, f"{command}\n{done.stderr}"
    assert done.stderr == "" or not says_nothing_on_stderr
    return done.stdout


def test_every_make_target_that_is_named_exists_and_ci_runs_the_documented_ones():
    makefile = (ROOT / "Makefile").read_text()
    named = re.findall(r"\bmake ([a-z-]+)", README + CONTRIBUTING)
    assert named
    for target in named:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"make {target}"
    ci = (ROOT / ".ci/run").read_text()
    assert "make check" in ci
    assert "make test" in ci


def test_the_commands_of_the_readme_run_in_their_order(workplace):
    own = [block for block in blocks("sh") if block != HUB]  # that needs a Hub
    lines = [line for block in own for line in block.splitlines() if not line.startswith(("make ", ". "))]
    assert len(lines) == 9
    for line in lines:
        launched = line.startswith(("torchrun", "accelerate"))  # these tell of themselves on stderr
        trains = launched or line.startswith(("finetune run", "python recipes"))
        printed = run(f"{line} {' '.join(SHORT)}" if trains else line, workplace, not launched)
        if "predict" in line:
            assert set(json.loads(printed)) == {"text", "label", "score", "scores"}
        if "compare" in line:
            assert "bigru" in printed
            assert "sentiment-lstm" in printed
    assert json.loads((workplace / "scores.json").read_text())["accuracy"] > 0.0
    for name in ("two", "cpu"):
        assert json.loads((workplace / f"runs/{name}/metrics.json").read_text())["train"]["processes"] == 2
    left = {file.name for file in (workplace / "runs/mine").iterdir()}
    tree = next(block for block in blocks("text") if block.startswith("runs/mine/"))
    assert left == set(re.findall(r"^  ([\w.]+)/?  ", tree, re.MULTILINE))


@pytest.mark.skipif(REAL_HUB, reason="nobody is alice there")
def test_the_commands_for_the_hub_run_in_their_order(workplace, server):
    finished(workplace)
    server.reset()
    lines = [line for line in HUB.splitlines() if line]
    assert len(lines) == 5
    for line in lines:
        trains = "finetune run" in line
        run(f"{line} {' '.join(SHORT)}" if trains else line, workplace, HF_TOKEN="hf_of_alice", HF_HUB_OFFLINE="0")
    files = server.repos["models", "alice/reviews"].files
    assert {"README.md", "recipe.json", "metrics.json", "model.safetensors"} <= files.keys()
    assert server.repos["models", "alice/reviews"].private
    assert (workplace / "runs/gathered/metrics.json").is_file()


def finished(workplace: Path) -> None:
    """The run that the README makes first."""
    if not (workplace / "runs/mine").is_dir():
        run(["finetune", "run", "recipes/sentiment_bilstm.py", "--data.source", "reviews.csv", "--train.output-dir",
             "runs/mine", *SHORT], workplace)  # fmt: skip


def test_the_python_of_the_readme_runs_as_it_stands(workplace):
    finished(workplace)
    own, small, load, build, push = blocks("python")
    assert "Hub(push=True" in run([sys.executable, "-c", push + "print(recipe)"], workplace)
    assert 0.0 <= float(run([sys.executable, "-c", own], workplace).split()[-1]) <= 1.0
    assert "rank=8" in run([sys.executable, "-c", small + "print(recipe)"], workplace)
    assert re.search(r"'label': '(good|bad)'", run([sys.executable, "-c", load], workplace, False))
    assert "torch.Size([1, 3, 32]) torch.Size([1, 32])" in run([sys.executable, "-c", build], workplace)


def test_the_tree_names_what_is_there_and_all_of_it():
    tree = next(block for block in blocks("text") if block.startswith("pipeline/"))
    folders: list[str] = []
    named = set()
    for line in tree.splitlines():
        indent, name = re.match(r"( *)(\S+)", line).groups()
        folders = folders[: len(indent) // 2]
        path = "/".join([*folders, name.rstrip("/")])
        assert (ROOT / path).exists(), path
        named.add(path)
        if name.endswith("/"):
            folders.append(name.rstrip("/"))
    modules = {f"pipeline/{file.name}" for file in (ROOT / "pipeline").iterdir() if not file.name.startswith("__")}
    assert modules <= named
    for script in (ROOT / "scripts").glob("*.py"):
        assert script.name in tree


def test_links_and_files_that_the_documents_name_are_there():
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", README + CONTRIBUTING):
        assert (ROOT / target).exists(), target
    for name in re.findall(r"`((?:models|tests|data|tasks)/[\w/]+\.py)`", CONTRIBUTING):
        assert (ROOT / name).exists() or (ROOT / "pipeline" / name).exists(), name


def rows(document: str) -> dict[str, list[str]]:
    """Rows of the tables of recipes: name of the recipe -> its cells."""
    table = [[cell.strip() for cell in line.strip("|").split("|")] for line in document.splitlines() if line[:1] == "|"]
    return {cells[0]: cells for cells in table if cells[0] not in ("recipe", "---")}


def test_the_tables_of_recipes_name_every_recipe_and_nothing_else():
    files = {file.stem for file in (ROOT / "recipes").glob("*.py")}
    assert {name.split()[0] for name in rows(RECIPES)} == files
    assert {name.split()[0] for name in rows(README.partition("## Speed")[0])} <= files
    for name, cells in rows(RECIPES).items():
        assert f"recipes/{name.split()[0]}.py" in cells[1], name
