"""What a command imports: help and refusals without the heavy libraries, and no command more than it needs."""

from __future__ import annotations

import functools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import ROOT, finetune

from pipeline.cli.main import COMMANDS

HEAVY = ("torch", "transformers", "datasets", "accelerate", "evaluate", "huggingface_hub", "numpy", "pandas")
RECIPES = sorted((ROOT / "recipes").glob("*.py"))
# Handle SIGINT like a program in a terminal: a process started in the background ignores it.
INTERRUPTIBLE = (
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from pipeline.cli.main import entry"
)
# Runs `python -m pipeline` with its arguments, then prints which of the modules in LOOK_FOR were imported.
REPORT = """
import os, runpy, sys
try:
    runpy.run_module("pipeline", run_name="__main__", alter_sys=True)
except SystemExit as end:
    assert not end.code, end.code
print("imported:", *(name for name in os.environ["LOOK_FOR"].split() if name in sys.modules))
"""
# Runs scripts with --help, one after another; prints how each ended, what it printed, and which modules had been
# imported by then.
HELP_OF_SCRIPTS = """
import contextlib, io, json, os, runpy, sys
_, *scripts = sys.argv
sys.path.insert(0, os.path.dirname(scripts[0]))
for script in scripts:
    sys.argv = [script, "--help"]
    end = "it did not exit"
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        try:
            runpy.run_path(script, run_name="__main__")
        except SystemExit as stop:
            end = stop.code
    modules = [name for name in os.environ["LOOK_FOR"].split() if name in sys.modules]
    print(json.dumps([end, printed.getvalue(), modules]))
"""


def run(program: str, *arguments: str | Path, names: tuple[str, ...] = HEAVY, stdin: str = "") -> str:
    """What a program that looks for imports of `names` prints."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "LOOK_FOR": " ".join(names)}
    command = [sys.executable, "-c", program, *map(str, arguments)]
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False, env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def imported(*arguments: str | Path, names: tuple[str, ...] = HEAVY, stdin: str = "") -> tuple[set[str], str]:
    """Which of `names` the command has imported when it ends, and what it printed before."""
    printed, _, found = run(REPORT, *arguments, names=names, stdin=stdin).rpartition("imported:")
    return set(found.split()), printed


@functools.cache
def help_of(command: str) -> tuple[set[str], str]:
    return imported(*command.split(), "--help")


@pytest.fixture(scope="module")
def help_of_recipes() -> dict[Path, tuple[int | str, str, list[str]]]:
    lines = run(HELP_OF_SCRIPTS, *RECIPES).splitlines()
    return dict(zip(RECIPES, map(json.loads, lines), strict=True))


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_is_printed_before_anything_heavy_is_imported(command):
    found, printed = help_of(command)
    assert found == set()
    assert printed.startswith(f"usage: finetune {command or 'COMMAND'}")


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_each_command_describes_it_with_an_example(command):
    _, printed = help_of(command)
    assert f"finetune {command} " in printed.split("Example:")[1]


@pytest.mark.parametrize("command", ["run", "fetch", "doctor"])
def test_the_settings_of_a_recipe_are_listed_before_anything_heavy_is_imported(command):
    found, printed = imported(command, ROOT / "recipes/ner_bilstm.py", "--help")
    assert found == set()
    assert "--train.epochs" in printed


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda file: file.stem)
def test_a_recipe_script_lists_its_settings_before_anything_heavy_is_imported(recipe, help_of_recipes):
    end, printed, found = help_of_recipes[recipe]
    assert end == 0
    assert found == []
    assert "--train.epochs" in printed


def test_the_list_of_commands_imports_none_of_them():
    found, _ = imported("--help", names=("tyro", *(f"pipeline.cli.{name}" for name in COMMANDS)))
    assert found == set()


@pytest.mark.parametrize("command", [["predict", "--help"], ["run", "recipes/ner_bilstm.py"]], ids=" ".join)
def test_ctrl_c_at_any_time_ends_a_command_without_a_traceback(command, tmp_path):
    own = [sys.executable, "-c", f"{INTERRUPTIBLE}; print('ready', flush=True); entry()"]
    settings = ["--train.output-dir", str(tmp_path)] if command[0] == "run" else []
    for delay in (0.05, 0.2, 0.6):
        process = subprocess.Popen([*own, *command, *settings], cwd=ROOT, text=True, stdin=subprocess.PIPE,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # fmt: skip
        assert process.stdout
        process.stdout.readline()
        time.sleep(delay)
        process.send_signal(signal.SIGINT)
        _, printed = process.communicate(timeout=60)
        assert process.returncode in (0, 75, 130)
        assert len(printed.splitlines()) == (process.returncode != 0), printed


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """The folder of a finished run."""
    folder = tmp_path_factory.mktemp("finished")
    rows = "".join(f"warm and funny {number},good\ndull and empty {number},bad\n" for number in range(40))
    (folder / "reviews.csv").write_text(f"text,label\n{rows}")
    done = finetune("run", "recipes/sentiment_rnn.py", "--data.source", folder / "reviews.csv", "--train.epochs", "1",
                    "--train.output-dir", folder / "run", cwd=ROOT)  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder / "run"


def test_predict_imports_nothing_that_reads_data_trains_or_scores(finished):
    unused = ("datasets", "evaluate", "pandas", "peft", "scipy.stats", "sklearn")
    own = ("pipeline.assembly", "pipeline.training.trainer", "pipeline.publish.push")
    found, printed = imported("predict", finished, names=(*unused, *own), stdin="fine\n")
    code = f"import sys; from transformers import AutoModel; print(*({set(unused)!r} & set(sys.modules)))"
    theirs = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert found - set(theirs) == set()  # transformers 5.20, the last one for Python 3.10, imports scikit-learn itself
    assert '"text": "fine"' in printed


def test_evaluate_imports_nothing_that_trains(finished):
    unused = ("peft", "pipeline.assembly", "pipeline.training.trainer", "pipeline.publish.push")
    data = finished.parent / "reviews.csv"
    found, printed = imported("evaluate", finished, "--data", data, names=unused)
    assert found == set()
    assert '"accuracy"' in printed


def test_ctrl_c_while_standard_input_is_read_ends_without_a_traceback(finished):
    own = [sys.executable, "-c", f"{INTERRUPTIBLE}; entry()", "predict", str(finished)]
    process = subprocess.Popen(own, cwd=ROOT, text=True, stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # fmt: skip
    assert process.stdin
    assert process.stdout
    process.stdin.write("fine\n" * 64)  # one batch: its predictions are printed, and the next line is waited for
    process.stdin.flush()
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, printed = process.communicate(timeout=60)
    assert process.returncode == 130
    assert printed == "stopped\n"  # it has no checkpoint, and nothing to resume
