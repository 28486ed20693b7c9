"""`pipeline` as a library leaves the program that imports it alone; only the command silences other libraries."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

from pipeline.cli.quiet import ENVIRONMENT

# Without the variables that decide instead of the program: a test of the command in this process has set them.
UNDECIDED = {**{name: value for name, value in os.environ.items() if name not in ENVIRONMENT}, "PYTHONPATH": str(ROOT)}

# What a program may have set, read before and after it uses the library.
SETTINGS = """
import json, logging, os, signal, sys, warnings

import datasets, huggingface_hub, torch, transformers
import evaluate as metrics

def settings():
    loggers = [logging.root, *(logging.getLogger(name) for name in NAMES)]
    return {
        "levels": {logger.name: (logger.level, logger.propagate, logger.disabled) for logger in loggers},
        "filters": {logger.name: len(logger.filters) for logger in loggers},
        "handlers": len(logging.root.handlers),
        "warnings": repr(warnings.filters[:3]),
        "transformers": (transformers.logging.get_verbosity(), transformers.utils.logging.is_progress_bar_enabled()),
        "datasets": (datasets.logging.get_verbosity(), datasets.is_progress_bar_enabled()),
        "huggingface_hub": huggingface_hub.logging.get_verbosity(),
        "bars of the Hub": huggingface_hub.utils.are_progress_bars_disabled(),
        "excepthook": repr(sys.excepthook),
        "signals": [repr(signal.getsignal(number)) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)],
        "environment": dict(os.environ),
        "threads": (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()),
        "cudnn": (torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic),
        "grad": torch.is_grad_enabled(),
        "dtype": str(torch.get_default_dtype()),
    }

NAMES = ["transformers", "datasets", "huggingface_hub", "accelerate", "accelerate.tracking", "DeepSpeed", "evaluate"]
for name in NAMES:
    logging.getLogger(name).setLevel(logging.INFO)
warnings.filterwarnings("once", message="of the caller's own")
torch.set_num_threads(1)
torch.use_deterministic_algorithms(DETERMINISTIC)
"""

USE = """
from dataclasses import replace

from pipeline import Data, Recipe, Recurrent, Train, evaluate, predict, train

recipe = Recipe(name="tiny", task="sentiment", data=Data(source="reviews.csv"),
                model=Recurrent(hidden_size=8, embedding_size=8),
                train=Train(epochs=1, batch_size=32, deterministic=not DETERMINISTIC))
before = settings()
train(recipe)
evaluate("runs/tiny", Data(source="reviews.csv"))
list(predict("runs/tiny", ["fine"]))
print(json.dumps([before, settings()]))
"""


@pytest.mark.parametrize("deterministic", [False, True])
def test_training_and_prediction_leave_the_settings_of_the_program_as_they_were(reviews, tmp_path, deterministic):
    program = tmp_path / "application.py"
    program.write_text(f"DETERMINISTIC = {deterministic}\n{SETTINGS}{USE}")
    before, after = run(program, tmp_path)
    for name, value in before.items():
        assert after[name] == value, name


def run(program: Path, folder: Path) -> list[dict]:
    """The two objects that `program` prints in its last line."""
    done = subprocess.run(
        [sys.executable, program],
        cwd=folder,
        env=UNDECIDED,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize(
    ("name", "text", "hooked"),
    [
        ("application", "from pipeline import Recipe, train", False),
        ("recipe", "from pipeline import Recipe, main", True),
        ("importer", "from recipe import main", False),
    ],
)
def test_only_a_recipe_script_gets_a_hook_for_its_mistakes(tmp_path, name, text, hooked):
    (tmp_path / "recipe.py").write_text("from pipeline import Recipe, main\n")
    file = tmp_path / f"{name}.py"
    # On Python 3.10 anyio's exceptiongroup sets a hook as well.
    changed = "getattr(sys.excepthook, '__module__', '').startswith('pipeline')"
    file.write_text(f"import json, sys\n{text}\nprint(json.dumps({changed}))\n")
    assert run(file, tmp_path) == hooked


def test_the_command_keeps_a_verbosity_that_the_user_has_set():
    program = (
        "from pipeline.cli.quiet import quiet; quiet(); import transformers\n"
        "print(transformers.logging.get_verbosity())"
    )
    levels = []
    for environment in ({}, {"TRANSFORMERS_VERBOSITY": "info"}):
        done = subprocess.run(
            [sys.executable, "-c", program],
            env={**UNDECIDED, **environment},
            capture_output=True,
            text=True,
            check=True,
        )
        levels.append(int(done.stdout))
    assert levels == [40, 20]
