"""Runs code as a user of a tool does: in a clean process that has the tool and a saved folder, and not this package."""

from __future__ import annotations

import json
import subprocess
import textwrap
from pathlib import Path
from typing import Any

import clean_process

MARKER = "RESULT "  # begins the last line that the process prints

PRELUDE = """
import json, sys

given = json.load(sys.stdin)
import torch, transformers

torch.set_num_threads(1)
torch.manual_seed(0)
transformers.utils.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()
"""


def environment(modules: Path) -> dict[str, str]:
    """Variables of the processes: no network, and the code of saved models is copied to `modules`."""
    quiet = {
        "TOKENIZERS_PARALLELISM": "false",
        "HF_DATASETS_CACHE": str(modules / "datasets"),
        "WANDB_DISABLED": "true",
    }
    return {**clean_process.environment(modules), "HF_HUB_OFFLINE": "1", **quiet}


def outside(code: str, work: Path, **given: Any) -> Any:
    """What `code` assigns to `result`, a value of JSON.

    Args:
        code: finds `given` as a dictionary of that name; torch and transformers are imported.
        work: an empty folder of its own, where the process runs.

    Raises:
        AssertionError: the process failed; the message is what it printed on stderr.
    """
    program = f'{PRELUDE}\n{textwrap.dedent(code)}\nprint("\\n{MARKER}" + json.dumps(result))\n'
    done = subprocess.run(
        clean_process.command(program),
        input=json.dumps(given, default=str),
        capture_output=True,
        text=True,
        cwd=work,
        env=environment(work / "modules"),
        check=False,
    )
    _, marker, result = done.stdout.rpartition(f"\n{MARKER}")
    assert done.returncode == 0, f"{done.stdout[-1500:]}\n{done.stderr[-4000:]}"
    assert marker, done.stdout[-1500:]
    return json.loads(result)
