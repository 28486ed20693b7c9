"""The documents are true: their commands run, their paths exist, their tables name what exists."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import ROOT
from hub_server import REAL_HUB

PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
}
README = PAGES["README.md"]
RECIPES = (ROOT / "recipes/README.md").read_text(encoding="utf-8")
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
# Pages whose commands need nothing but the data of `workplace`, and the number of commands on each.
COMMANDS = {
    "README.md": 10,
    "docs/export.md": 3,
    "docs/data.md": 3,
    "docs/training.md": 1,
    "docs/distributed.md": 2,
    "docs/translation.md": 5,
}

# Shortens a run: the tests show that the commands work; test_recipes.py checks the figures.
SHORT = ["--data.limit", "200", "--train.max-steps", "2"]
REVIEWS = "text,label\n" + "".join(f"a funny film {n},good\nan empty mess {n},bad\n" for n in range(40))


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGES[page], re.MULTILINE | re.DOTALL)


def commands(page: str) -> list[str]:
    """The command lines of a page, without `make` and the activation of the environment."""
    lines = [line for block in blocks(page, "sh") for line in block.splitlines()]
    return [line for line in lines if line and not line.startswith(("make ", ". "))]


@pytest.fixture(scope="module")
def workplace(tmp_path_factory) -> Path:
    """A folder like a reader's: the recipes, and the reader's own data."""
    folder = tmp_path_factory.mktemp("reader")
    shutil.copytree(ROOT / "recipes", folder / "recipes")
    (folder / "reviews.csv").write_text(REVIEWS)
    # A teacher is not asked about texts that are in the training rows already.
    (folder / "new_reviews.csv").write_text(REVIEWS.replace(" film ", " new film ").replace(" mess ", " new mess "))
    (folder / "numbered.csv").write_text(REVIEWS.replace(",good", ",1").replace(",bad", ",0"))
    return folder


def run(
    command: str | list, folder: Path, says_nothing_on_stderr: bool = True, stdin: str = "", **environment: str
) -> str:
    """What `command` prints; it must succeed. Our own commands say on stderr how they read data, and nothing else;
    transformers prints bars there."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        command,
        cwd=folder,
        shell=isinstance(command, str),
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), **environment},
    )
    assert done.returncode == 0, f"{command}\n{done.stderr}"
    said = [line for line in done.stderr.splitlines() if not line.startswith("data: ")]
    assert not said or not says_nothing_on_stderr
    return done.stdout


def run_line(line: str, folder: Path, **environment: str) -> str:
    """What a line of a page prints; a training command is shortened."""
    launched = line.startswith(("torchrun", "accelerate"))
    trains = launched or "finetune run" in line or line.startswith("python recipes")
    return run(f"{line} {' '.join(SHORT)}" if trains else line, folder, not launched, **environment)


def make_run(workplace: Path) -> None:
    """The run that the README trains on the reader's own data."""
    if not (workplace / "runs/mine").is_dir():
        (line,) = (line for line in commands("README.md") if "runs/mine" in line and "finetune run" in line)
        run_line(line, workplace)


def test_every_page_is_tested_for_its_commands():
    assert {page for page in PAGES if commands(page)} == {*COMMANDS, "docs/hub.md", "docs/serving.md"}
    for page, count in COMMANDS.items():
        assert len(commands(page)) == count, page


def test_every_make_target_that_is_named_exists_and_ci_runs_the_documented_ones():
    makefile = (ROOT / "Makefile").read_text()
    named = re.findall(r"\bmake ([a-z-]+)", "".join(PAGES.values()) + CONTRIBUTING)
    assert named
    for target in set(named) - {"sure"}:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"make {target}"
    ci = (ROOT / ".ci/run").read_text()
    assert "make check" in ci
    assert "make test" in ci


@pytest.mark.parametrize("page", COMMANDS)
def test_the_commands_of_a_page_run_in_their_order(page, workplace):
    make_run(workplace)
    for line in commands(page):
        if "runs/mine" in line and "finetune run" in line:
            continue  # make_run has run it
        printed = run_line(line, workplace)
        if "--output " in line:
            assert printed == ""
            assert (workplace / line.split()[-1]).read_text().startswith("text,label,score,scores.")
        elif "translate" in line and ("predict" in line or "runner.py" in line):
            assert {"text", "translation"} <= set(json.loads(printed))
        elif "predict" in line or "runner.py" in line:
            assert set(json.loads(printed)) == {"text", "label", "score", "scores"}
        if "compare" in line:
            assert "bigru" in printed
            assert "sentiment-lstm" in printed
            (table,) = (block for block in blocks("README.md", "text") if "sentiment-bert" in block)
            assert re.findall(r"[\w/ ]*\w", table.splitlines()[1]) == re.findall(r"[\w/ ]*\w", printed.splitlines()[1])
        if "scores.json" in line:
            assert json.loads((workplace / "scores.json").read_text())["accuracy"] > 0.0
        if line.startswith(("torchrun", "accelerate")):
            folder = line.split()[-1]
            assert json.loads((workplace / folder / "metrics.json").read_text())["train"]["processes"] == 2


def test_a_run_leaves_the_files_that_the_page_on_training_lists(workplace):
    make_run(workplace)
    left = {file.name for file in (workplace / "runs/mine").iterdir()}
    (tree,) = (block for block in blocks("docs/training.md", "text") if block.startswith("runs/mine/"))
    assert left == set(re.findall(r"^  ([\w.]+)/?  ", tree, re.MULTILINE))


@pytest.mark.skipif(REAL_HUB, reason="nobody is alice there")
def test_the_commands_of_the_page_on_the_hub_run_in_their_order(workplace, server):
    make_run(workplace)
    server.reset()
    lines = commands("docs/hub.md")
    assert len(lines) == 5
    for line in lines:
        run_line(line, workplace, HF_TOKEN="hf_of_alice", HF_HUB_OFFLINE="0")
    files = server.repos["models", "alice/reviews"].files
    assert {"README.md", "recipe.json", "metrics.json", "model.safetensors"} <= files.keys()
    assert server.repos["models", "alice/reviews"].private
    assert (workplace / "runs/gathered/metrics.json").is_file()


# Runs the programs on stdin in one process, as its imports take longer than they do, each with names of its own.
PROGRAMS = """
import contextlib, io, json, sys
for program in json.load(sys.stdin):
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(program, {"__name__": "__main__"})
    print(json.dumps(printed.getvalue()))
"""


def run_all(programs: list[str], folder: Path, says_nothing_on_stderr: bool = True) -> list[str]:
    """What each of the Python programs prints."""
    command = [sys.executable, "-c", PROGRAMS]
    return [*map(json.loads, run(command, folder, says_nothing_on_stderr, stdin=json.dumps(programs)).splitlines())]


def test_the_python_of_every_page_runs_as_it_stands(workplace):
    make_run(workplace)
    if not (workplace / "exported").is_dir():
        run("finetune export runs/mine --to exported", workplace)
    own, load, build = blocks("README.md", "python")
    (small,) = blocks("docs/training.md", "python")
    (distil,) = blocks("docs/distil.md", "python")
    (push,) = blocks("docs/hub.md", "python")
    load_export, export, rows = blocks("docs/export.md", "python")
    (study,) = blocks("docs/studies.md", "python")
    count = "from pipeline.config.expansion import expand\nprint(len(expand(study)))"
    quiet = [build, small + "print(recipe)", push + "print(recipe)", load_export, study + count]
    built, recipe, pushed, answered, counted = run_all(quiet, workplace)
    assert "torch.Size([1, 3, 32]) torch.Size([1, 32])" in built
    assert "rank=8" in recipe
    assert "Hub(push=True" in pushed
    assert re.search(r"'label': '(good|bad)'", answered)
    assert counted == "18\n"
    # As a library we leave the progress bars of transformers on.
    scored, predicted, distilled, exported, shapes = run_all([own, load, distil, export, rows], workplace, False)
    assert 0.0 <= float(scored.split()[-1]) <= 1.0
    assert re.search(r"'label': '(good|bad)'", predicted)
    assert 0.0 <= float(distilled.split()[-1]) <= 1.0
    assert "tensor([[" in exported
    assert "torch.Size([2, 2, " in shapes
    assert sum(len(blocks(page, "python")) for page in PAGES) == 11


@contextlib.contextmanager
def running(line: str, folder: Path) -> Iterator[str]:
    """What a command that goes on until Ctrl-C prints when it is ready, on a port that is free."""
    line = f"{re.sub(' --port [0-9]+', '', line)} --port 0"
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(line.split(), cwd=folder, stdout=subprocess.PIPE, text=True, env=environment)
    try:
        yield process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 0
    finally:
        process.kill()
        process.communicate()


def test_the_commands_of_the_page_on_serving_run(workplace):
    make_run(workplace)
    serve, predict, health, _ = commands("docs/serving.md")
    (ask,) = blocks("docs/serving.md", "python")
    with running(serve, workplace) as ready:
        (here,) = re.findall(r"http://(127\.0\.0\.1:\d+)/predict", ready)
        assert run([sys.executable, "-c", ask.replace("localhost:8000", here)], workplace) in ("good\n", "bad\n")
        if shutil.which("curl"):
            call = predict.replace("localhost:8000", here).replace("curl", "curl --silent")
            assert [set(answer) for answer in json.loads(run(call, workplace))] == 2 * [
                {"text", "label", "score", "scores"}
            ]
            found = run(health.replace("localhost:8000", here).replace("curl", "curl --silent"), workplace)
            assert json.loads(found) == {"status": "ready", "model": "mine", "task": "sentiment"}


@pytest.mark.slow  # gradio takes seconds to import
def test_the_page_of_a_demo_is_shown(workplace, tmp_path):
    make_run(workplace)
    for name in ("mine", "mine-too"):
        shutil.copytree(workplace / "runs/mine", tmp_path / "runs" / name)
    with running(commands("docs/serving.md")[-1], tmp_path) as ready:
        assert re.fullmatch(r"the page is at http://127\.0\.0\.1:\d+; Ctrl-C stops it\n", ready)


@pytest.mark.parametrize("name", ["serve", "demo"])
def test_the_options_that_the_page_on_serving_names_exist(name):
    text = PAGES["docs/serving.md"].split("## A page to try")[name == "demo"]
    done = run(["finetune", name, "--help"], ROOT)
    for option in re.findall(r"`(--[a-z-]+)", text):
        assert option in done, option


def test_the_options_of_push_that_the_page_on_the_hub_lists_exist():
    done = run(["finetune", "push", "--help"], ROOT)
    for option in re.findall(r"^\| `(--[a-z-]+)", PAGES["docs/hub.md"], re.MULTILINE):
        assert option in done, option


def test_the_tree_names_what_is_there_and_all_of_it():
    tree = next(block for block in blocks("README.md", "text") if block.startswith("pipeline/"))
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


def test_links_and_files_that_the_documents_name_exist():
    documents = {ROOT / page: text for page, text in PAGES.items()}
    documents |= {ROOT / "CONTRIBUTING.md": CONTRIBUTING, ROOT / "recipes/README.md": RECIPES}
    for file, text in documents.items():
        for target in re.findall(r"\]\((?!http)([^)#]+)\)", text):
            assert (file.parent / target).exists(), f"{file.name}: {target}"
        for name in re.findall(r"`((?:[a-z_]+/)+\w+\.(?:py|yaml|md|sh|sbatch))`(?! \(new\))", text):
            assert (ROOT / name).exists() or (ROOT / "pipeline" / name).exists(), f"{file.name}: {name}"


def rows(document: str) -> dict[str, list[str]]:
    """Rows of the tables of recipes: name of the recipe -> its cells."""
    tables = re.findall(r"^\| recipe \|.*\n\| ---.*\n((?:\|.*\n)+)", document, re.MULTILINE)
    lines = [line for table in tables for line in table.splitlines()]
    found = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {cells[0]: cells for cells in found}


def test_the_tables_of_recipes_name_every_recipe_and_nothing_else():
    files = {file.stem for file in (ROOT / "recipes").glob("*.py")}
    assert {name.split()[0] for name in rows(RECIPES)} == files
    assert {name.split()[0] for name in rows(README)} <= files
    for name, cells in rows(RECIPES).items():
        assert f"recipes/{name.split()[0]}.py" in cells[1], name
