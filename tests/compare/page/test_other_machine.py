"""The page of a comparison on another machine: the same bytes, from the folders of the runs alone."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT
from run_folders import write_run

KINDS = ("classes", "several_labels", "numbers", "entities", "next_words", "translations")
SEEDS = (0, 0, 1)  # two contenders, of which one has two seeds
SYSTEM = (Path("/usr"), Path("/etc"), Path("/proc"), Path("/sys"), Path("/dev"))
# Writes a page for each kind, and prints every file that was opened for reading.
WRITE = """
import os, sys

opened = set()
sys.addaudithook(lambda event, given: opened.add(given[0]) if event == "open" and given[0] is not None else None)

from pipeline.cli import main

for kind in sys.argv[1:]:
    runs = sorted(name for name in os.listdir() if name.startswith(kind + "-"))
    main._dispatch(["compare", *runs, "--html", kind + ".html"])
sys.stdout = sys.__stdout__
for name in opened:
    print("opened", name if isinstance(name, int) else os.path.realpath(os.fsdecode(name)))
"""


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> Path:
    where = tmp_path_factory.mktemp("here")
    for kind in KINDS:
        for number, seed in enumerate(SEEDS):
            skill = 0.9 - 0.2 * min(number, 1)
            write_run(where / f"{kind}-{number}", kind, rows=60, skill=skill, seed=seed, hidden_size=8 + min(number, 1))
    return where


def write_pages(folder: Path, home: Path, **environment: str) -> set[Path]:
    """Write the page of each kind into `folder`, on a machine with this home and environment; the files it has read."""
    home.mkdir()
    machine = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "HOME": str(home), "MPLCONFIGDIR": str(home)}
    command = [sys.executable, "-c", WRITE, *KINDS]
    done = subprocess.run(command, cwd=folder, env=machine | environment, capture_output=True, text=True, check=False)
    printed = [line for line in done.stderr.splitlines() if "font cache" not in line]  # of matplotlib, if it is slow
    assert (done.returncode, printed) == (0, [])
    return {Path(line.split(" ", 1)[1]) for line in done.stdout.splitlines() if line.startswith("opened /")}


@pytest.mark.slow  # twelve pages, in two processes: half a minute
def test_two_machines_write_the_same_page_from_the_same_folders_and_read_no_other_file_of_a_user(folders, tmp_path):
    there = tmp_path / "there"
    shutil.copytree(folders, there)
    for file in there.rglob("*"):
        os.utime(file, (0, 0))
    here_read = write_pages(
        folders, tmp_path / "one", PYTHONHASHSEED="1", TZ="Asia/Tokyo", LC_ALL="C.UTF-8", OMP_NUM_THREADS="1"
    )
    write_pages(there, tmp_path / "two", PYTHONHASHSEED="2", TZ="UTC", LC_ALL="C", OMP_NUM_THREADS="2", COLUMNS="60")
    for kind in KINDS:
        assert (folders / f"{kind}.html").read_bytes() == (there / f"{kind}.html").read_bytes()
    own = {file.relative_to(folders) for file in here_read if file.is_relative_to(folders)}
    assert {file.name for file in own} >= {"metrics.json", "recipe.json", "history.jsonl"}
    places = (folders, tmp_path / "one", ROOT, Path(sys.prefix), Path(sys.base_prefix), *SYSTEM)
    assert [file for file in here_read if not any(file.is_relative_to(place.resolve()) for place in places)] == []
