"""An environment for each library that cannot be installed beside ours, in `.venv-peers/`."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from try_pythons import find_python
from wheels import name_of

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / ".venv-peers"
PINS = Path(__file__).parent
# The library -> the Python that its pins are for: the newest that all of its packages have wheels for.
PYTHONS = {"flair": "3.11", "keras": "3.11", "ludwig": "3.12"}


def python_of(library: str) -> str:
    """The interpreter of the environment in which `library` is installed, at first or because the pins have changed.

    Args:
        library: if it has no pins, it is installed in the environment of this process.
    """
    if library not in PYTHONS:
        return sys.executable
    folder, pins = FOLDER / library, PINS / f"{library}.txt"
    python, installed = folder / "bin/python", folder / "installed.txt"
    if not installed.is_file() or installed.read_text() != pins.read_text():
        _install(library, folder, pins)
        shutil.copy(pins, installed)
    return str(python)


def _install(library: str, folder: Path, pins: Path) -> None:
    base = find_python(PYTHONS[library])
    if base is None:
        raise SystemExit(f"{library}: needs Python {PYTHONS[library]}, which is not here; name the others with --only")
    print(f"installing {library} in {folder}", file=sys.stderr)
    shutil.rmtree(folder, ignore_errors=True)
    python = folder / "bin/python"
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-build-isolation"]
    # What has no wheel is built with the pinned setuptools, so that comes first.
    builder = next(line for line in pins.read_text().splitlines() if name_of(line) == "setuptools")
    for command in ([base, "-m", "venv", str(folder)], [*pip, builder], [*pip, "--requirement", str(pins)]):
        if subprocess.run(command, check=False).returncode:
            raise SystemExit(f"{library}: could not be installed from {pins}")
