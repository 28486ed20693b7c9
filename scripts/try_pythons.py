"""`make setup` and the fast tests in a clean clone of the last commit, with several versions of Python. Prints a table.

    python scripts/try_pythons.py                  # every version that pyproject.toml names
    python scripts/try_pythons.py 3.10 3.13 -- tests/data tests/metrics
    python scripts/try_pythons.py 3.11 --min       # with the versions of constraints-min.txt

Interpreters are looked up in pyenv and on PATH. What follows `--` goes to pytest. A version takes up to 6 GB on disk,
because torch for Linux comes with CUDA, and 10 minutes or more on two cores. Exits with 1 if one is missing or fails.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import tyro
from wheels import PYTHONS, ROOT, name_of

HEADINGS = ("Python", "make setup", "tests", "took")


@dataclass(frozen=True)
class Options:
    """Try the installation and the fast tests with several versions of Python."""

    pythons: tyro.conf.Positional[tuple[str, ...]] = PYTHONS
    """Versions, such as 3.12."""
    min: bool = False
    """Install the lowest versions that pyproject.toml allows instead of the newest."""
    folder: Path | None = None
    """Keeps clones, environments and logs here, and reuses them; by default they are deleted."""


@dataclass(frozen=True)
class Outcome:
    """A row of the table, and whether everything in it succeeded."""

    cells: tuple[str, ...]
    ok: bool


def find_python(version: str) -> str | None:
    """An interpreter of `version`: the newest of pyenv, or else the one on PATH."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    found = [folder for folder in pyenv.glob(f"{version}.*") if folder.name.rpartition(".")[2].isdigit()]
    newest = max(found, key=lambda folder: int(folder.name.rpartition(".")[2]), default=None)
    return str(newest / "bin/python") if newest else shutil.which(f"python{version}")


def lowest(constraints: str, minimum: str) -> str:
    """The lines of a constraints file, in which those of `minimum` replace the lines of the same packages."""
    replaced = {name_of(line) for line in minimum.splitlines()} - {None}
    kept = [line for line in constraints.splitlines() if name_of(line) not in replaced]
    return "\n".join([*kept, *minimum.splitlines(), ""])


def clone(folder: Path, minimum: bool) -> None:
    """Bring the last commit into `folder`, with what an earlier try has installed there."""
    if not (folder / ".git").exists():
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder)], check=True)
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    subprocess.run(["git", "fetch", "--quiet", "origin", commit.strip()], cwd=folder, check=True)
    subprocess.run(["git", "reset", "--quiet", "--hard", commit.strip()], cwd=folder, check=True)
    if minimum:
        constraints = folder / "constraints.txt"
        constraints.write_text(lowest(constraints.read_text(), (folder / "constraints-min.txt").read_text()))


def attempt(version: str, folder: Path, minimum: bool, arguments: list[str]) -> Outcome:
    """Install and test with one version; the output goes to `folder`.log."""
    python, start = find_python(version), time.monotonic()
    if python is None:
        return Outcome((version, "not found", "", ""), False)
    clone(folder, minimum)
    log = folder.with_name(f"{folder.name}.log")
    tests = [".venv/bin/python", "-m", "pytest", *arguments]
    with log.open("w") as output:
        setup = subprocess.run(
            ["make", "setup", f"PYTHON={python}"], cwd=folder, stdout=output, stderr=subprocess.STDOUT, check=False
        )
        if setup.returncode:
            return Outcome((version, f"failed, see {log}", "", took(start)), False)
        tested = subprocess.run(tests, cwd=folder, stdout=output, stderr=subprocess.STDOUT, check=False)
    return Outcome((version_of(folder), "passed", summary(log.read_text()), took(start)), tested.returncode == 0)


def version_of(folder: Path) -> str:
    code = "import platform; print(platform.python_version())"
    return subprocess.run([folder / ".venv/bin/python", "-c", code], capture_output=True, text=True).stdout.strip()


def summary(log: str) -> str:
    """The last line of pytest, such as `2 failed, 3000 passed, 4 skipped`."""
    found = re.findall(r"^=*\s*((?:\d+ \w+(?:, )?)+) in [\d.]+s", log, re.M)
    return found[-1] if found else "did not run"


def took(start: float) -> str:
    return f"{(time.monotonic() - start) / 60:.0f} min"


def table_row(cells: tuple[str, ...]) -> str:
    return f"| {' | '.join(cells)} |"


def main(options: Options, arguments: list[str]) -> int:
    """Exit status: 1 if a version is missing or fails."""
    print(table_row(HEADINGS), table_row(("---",) * len(HEADINGS)), sep="\n", flush=True)
    ok = True
    for version in options.pythons:
        with tempfile.TemporaryDirectory() as temporary:
            folder = (options.folder or Path(temporary)).resolve() / f"{version}{'-min' if options.min else ''}"
            folder.parent.mkdir(parents=True, exist_ok=True)
            outcome = attempt(version, folder, options.min, arguments)
        print(table_row(outcome.cells), flush=True)
        ok &= outcome.ok
    return int(not ok)


if __name__ == "__main__":
    own, arguments = sys.argv[1:], []
    if "--" in own:
        own, arguments = own[: own.index("--")], own[own.index("--") + 1 :]
    sys.exit(main(tyro.cli(Options, args=own), arguments))
