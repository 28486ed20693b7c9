"""Checks that the Dockerfile and apptainer.def copy files that exist, install the pinned versions and match each other.

The tests do not build the images: that needs an image registry.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

DOCKER = (ROOT / "Dockerfile").read_text()
APPTAINER = (ROOT / "apptainer.def").read_text()
PROJECT = (ROOT / "pyproject.toml").read_text()


def copied_by_docker() -> list[str]:
    return [source for line in re.findall(r"^COPY (.+)$", DOCKER, re.M) for source in line.split()[:-1]]


def copied_by_apptainer() -> list[str]:
    section = re.search(r"^%files\n(.*?)^%", APPTAINER, re.M | re.S)[1]
    pairs = [line.split() for line in section.splitlines() if line.strip()]
    assert all(len(pair) == 2 for pair in pairs)  # apptainer takes one source per line
    assert all(target == f"/opt/finetune/{source}" for source, target in pairs)
    return [source for source, _ in pairs]


@pytest.mark.parametrize("copied", [copied_by_docker, copied_by_apptainer])
def test_the_copied_files_exist_and_are_enough_to_build_the_package(copied, tmp_path):
    names = copied()
    assert all((ROOT / name).exists() for name in names)
    tracked = subprocess.run(["git", "ls-files", *names], cwd=ROOT, capture_output=True, text=True, check=True)
    for name in tracked.stdout.splitlines():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    code = "import hatchling.build; print(hatchling.build.build_wheel('dist'))"
    (tmp_path / "dist").mkdir()
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert list((tmp_path / "dist").glob("finetune_pipeline-*.whl"))


def test_dockerignore_lists_exactly_the_files_that_the_dockerfile_copies():
    included = re.findall(r"^!(.+)$", (ROOT / ".dockerignore").read_text(), re.M)
    assert sorted(included) == sorted(copied_by_docker())


def test_both_images_install_the_same_pinned_versions_and_extras_on_the_same_base():
    installs = [re.search(r"pip install [^\n]*'\.\[(.+)\]'", text) for text in (DOCKER, APPTAINER)]
    assert installs[0][0] == installs[1][0]
    assert "--constraint constraints.txt --no-build-isolation" in installs[0][0]
    for text, install in zip((DOCKER, APPTAINER), installs, strict=True):  # what builds the package is pinned, too
        assert re.search(
            r"pip install [^\n]*--constraint constraints.txt hatchling setuptools", text[: install.start()]
        )
    extras = re.search(r"\[project.optional-dependencies\]\n(.*?)^\[", PROJECT, re.M | re.S)[1]
    assert set(installs[0][1].split(",")) <= set(re.findall(r"^(\w+) = ", extras, re.M))
    assert re.search(r"^FROM (\S+)", DOCKER, re.M)[1] == re.search(r"^From: (\S+)", APPTAINER, re.M)[1]


def test_the_shell_commands_of_both_files_parse():
    script = re.search(r"^%post\n(.*?)^%", APPTAINER, re.M | re.S)[1]
    layers = [line.replace("\\\n", " ") for line in re.findall(r"^RUN ((?:.*\\\n)*.*)$", DOCKER, re.M)]
    for text in (script, *layers):
        subprocess.run(["bash", "-n", "-c", text], check=True)
        assert shlex.split(text)
    assert Path("/work") == Path(re.findall(r"^WORKDIR (\S+)$", DOCKER, re.M)[-1])


def test_the_source_distribution_has_the_pages_that_its_readme_and_its_tests_read():
    included = re.search(r"^include = \[(.+)\]$", PROJECT, re.M)[1]
    assert {"docs", "tests", "recipes"} <= set(re.findall(r'"/?([\w.]+)"', included))
