"""Runs code in a process that cannot import this package, as on a machine that has nothing of it but a saved model."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

# `python -I` ignores PYTHONPATH and the working folder; None hides an installed copy of this package.
HIDE = "import sys\nsys.modules['pipeline'] = None\n"


def command(code: str, *arguments: object) -> list[str]:
    """The command that runs `code`, which finds the `arguments` in sys.argv."""
    return [sys.executable, "-I", "-c", HIDE + textwrap.dedent(code), *map(str, arguments)]


def environment(modules: Path) -> dict[str, str]:
    """The variables of such a process: transformers copies the code of saved models to `modules`."""
    return {**os.environ, "HF_MODULES_CACHE": str(modules)}


def printed_by(code: str, *arguments: object, folder: Path, given: str = "") -> str:
    """What `code` prints, run in `folder`; `given` is its standard input.

    Raises:
        AssertionError: the process failed; the message is what it printed on stderr.
    """
    done = subprocess.run(
        command(code, *arguments),
        input=given,
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
        cwd=folder,
        env=environment(folder / "modules"),
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
