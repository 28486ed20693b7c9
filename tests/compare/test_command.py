"""`finetune compare` as a process: what it prints where, and what it refuses."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, finetune, finetune_here
from run_folders import write_run


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> list[Path]:
    folder = tmp_path_factory.mktemp("runs")
    return [write_run(folder / "good", skill=0.9), write_run(folder / "poor", skill=0.6, hidden_size=16)]


def test_json_is_alone_on_stdout_and_warnings_are_on_stderr(runs, tmp_path):
    unfinished = tmp_path / "unfinished"
    unfinished.mkdir()
    (unfinished / "recipe.json").write_text((runs[0] / "recipe.json").read_text())
    done = finetune("compare", *runs, unfinished, "--json")
    assert (done.returncode, done.stderr) == (0, f"{unfinished}: it has not finished, and is left out\n")
    found = json.loads(done.stdout)
    assert found["sentences"][0].startswith("good is better than poor by ")
    assert 0.0 < found["pairs"][0]["p_value"] < 1e-6


def test_the_table_is_followed_by_the_sentences(runs):
    done = finetune("compare", *runs)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1].startswith("- good is better than poor by ")
    assert finetune("compare", *runs).stdout == done.stdout


def test_markdown_goes_to_stdout(runs):
    done = finetune("compare", *runs, "--markdown")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("| run | test accuracy |")


def test_other_rows_end_with_one_line_and_code_2(runs, tmp_path):
    other = write_run(tmp_path / "other", rows=50)
    done = finetune("compare", runs[0], other)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: {runs[0]} and {other}: their test rows differ: 200 and 50 rows, 50 of them in both")
    done = finetune("compare", runs[0], other, "--common")
    assert (done.returncode, done.stderr) == (0, "")
    assert "note: compared on the 50 rows that all runs have (good has 200)" in done.stdout


@pytest.mark.parametrize(
    ("folder", "message"),
    [
        ("good/model", r"^error: good/model: it is not the folder .* in it; name the run whose model it is: good$"),
        (".", r"^error: \.: it is not the folder .* in it; name the runs in it: good, poor$"),
        ("best", r"^error: best: it is not the folder .* in it; name the runs in it: best/seed-0$"),
        ("exported", r"^error: exported: it is not the folder of a run; there is no metrics\.json in it$"),
        ("empty", r"^error: empty: it is not the folder of a run; there is no metrics\.json in it$"),
    ],
)
def test_a_folder_near_a_run_is_refused_with_the_one_to_name(runs, tmp_path, capfd, folder, message):
    for run in runs:
        shutil.copytree(run, tmp_path / run.name)
    shutil.copytree(runs[0], tmp_path / "best/seed-0")  # as a search leaves it
    (tmp_path / "exported").mkdir()
    (tmp_path / "exported/model.onnx").touch()
    (tmp_path / "empty").mkdir()
    (tmp_path / "good/model").mkdir(exist_ok=True)
    for other in ("good/model", "best", "exported"):
        (tmp_path / other / "recipe.json").write_text("{}")
    done = finetune_here(capfd, "compare", folder, cwd=tmp_path)
    assert done.returncode == 2
    assert re.search(message, done.stderr.strip())


@pytest.mark.parametrize("flag", ["--comon", "--split", "--jsn"])
def test_a_typo_in_a_flag_is_refused(runs, flag):
    done = finetune("compare", *runs, flag)
    assert (done.returncode, done.stdout) == (2, "")
    assert flag in done.stderr
    assert "Traceback" not in done.stderr


def test_a_reader_that_stops_early_is_no_error(runs):
    command = [
        sys.executable,
        "-c",
        "from pipeline.cli.main import entry; entry()",
        "compare",
        *map(str, runs),
        "--json",
    ]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait() == 141
    process.stderr.close()


def test_neither_torch_nor_the_metrics_of_evaluate_are_imported(runs):
    command = [sys.executable, "-X", "importtime", "-c", "from pipeline.cli.main import entry; entry()", "compare"]
    done = subprocess.run([*command, *map(str, runs)], cwd=ROOT, capture_output=True, text=True, check=True)
    imported = {line.rsplit("|", 1)[-1].strip() for line in done.stderr.splitlines()}
    assert not {"torch", "transformers", "datasets", "evaluate", "pandas", "matplotlib"} & imported - {"pandas"}
