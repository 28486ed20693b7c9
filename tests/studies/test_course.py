"""The script that measures the claims of the course: its recipes differ in one thing, and it runs from end to end."""

from __future__ import annotations

import importlib.util
import json
import math
import os
import subprocess
import sys
from dataclasses import asdict

import pytest
from conftest import ROOT

from pipeline import storage
from pipeline.config.expansion import expand
from pipeline.errors import UserError
from pipeline.studies.claims import timing

SCRIPT = ROOT / "recipes/studies/course.py"


@pytest.fixture(scope="module")
def course():
    spec = importlib.util.spec_from_file_location("course", SCRIPT)
    module = sys.modules["course"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def differing(one, other) -> set[str]:
    """Settings in which two recipes differ, but for their names."""
    found = set()
    for section, values in asdict(one).items():
        others = asdict(other)[section]
        if isinstance(values, dict):
            found |= {f"{section}.{name}" for name in values if values[name] != others.get(name)}
        elif values != others:
            found.add(section)
    return found - {"name"}


@pytest.mark.parametrize(
    ("name", "setting"),
    [
        ("cells", "model.cell"),
        ("both-ways", "model.bidirectional"),
        ("ner", "model.bidirectional"),
        ("layers", "model.layers"),
        ("attention", "model.pooling"),
        ("positions", "model.positions"),
        ("gpt2", "model.positions"),
    ],
)
def test_contenders_differ_in_one_setting(course, name, setting):
    _, (first, *others) = course.COMPARISONS[name]
    assert all(differing(first, other) == {setting} for other in others)


def test_the_pretrained_model_and_its_twin_from_scratch_have_the_same_data_and_budget(course):
    _, (pretrained, scratch) = course.COMPARISONS["pretraining"]
    assert {name for name in differing(pretrained, scratch) if not name.startswith("model.")} == {
        "data.tokenizer",
        "optim.learning_rate",
    }


def test_contenders_of_the_same_name_are_the_same_in_all_comparisons_so_that_they_share_runs(course):
    found = {}
    for _, recipes in course.COMPARISONS.values():
        for recipe in recipes:
            assert found.setdefault(recipe.name, recipe) == recipe


def test_a_study_holds_the_runs_of_the_chosen_claims_only_and_none_stops_early(course, tmp_path):
    runs = expand(course.study(course.Options(folder=tmp_path, claims=(1, 4), seeds=(0, 1))), tmp_path)
    names = {run.recipe.name for run in runs}
    recalled = {f"recall-{cell}-all" for cell in course.CELLS}
    assert names == {*recalled, "lstm", "lstm-both-ways", "ner-one-way", "ner-both-ways"}
    assert len(runs) == 2 * len(names)
    assert all(run.recipe.train.patience is None for run in runs)
    everything = expand(course.study(course.Options(folder=tmp_path)), tmp_path)
    assert len(everything) == 3 * 29


@pytest.mark.parametrize(
    "wrong", [{"claims": (9,)}, {"claims": ()}, {"scale": 0.0}, {"scale": 2.0}, {"scale": math.nan}]
)
def test_claims_and_scales_that_do_not_exist_are_refused_before_anything_is_written(course, tmp_path, wrong):
    with pytest.raises(UserError, match="from 1 to 8"):
        course.main(course.Options(folder=tmp_path / "course", **wrong))
    assert not (tmp_path / "course").exists()


def test_the_claim_about_parallel_work_is_measured_alone_though_it_needs_no_run(course, tmp_path):
    seconds = {
        model: {action: {str(length): [1.0] * 9 for length in timing.LENGTHS} for action in timing.ACTIONS}
        for model in timing.MODELS
    }
    (tmp_path / "figures").mkdir()
    for threads in (1, 2):  # times that have been measured are kept
        measured = {"seconds": seconds, "cores": 2, "torch": "2.0", "load": 0.5, "waited": 0.01}
        storage.write(tmp_path / f"figures/timing-{threads}.json", json.dumps(measured))
    course.main(course.Options(folder=tmp_path, claims=(6,)))
    assert "Transformers work in parallel" in (tmp_path / "page.html").read_text()
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow  # about twenty short runs, each in a process of its own, and all times per token
def test_the_script_measures_writes_the_page_and_the_chapter_and_keeps_what_it_has(tmp_path):
    command = [sys.executable, SCRIPT, "--folder", "course", "--claims", "1", "3", "4", "6", "--seeds", "0", "1"]
    command += ["--scale", "0.01", "--processes", "2", "--chapter", "docs/course.md"]

    def measure() -> str:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, env=environment)
        assert done.returncode == 0, done.stderr
        return done.stdout

    printed = measure()
    assert "measuring gradients" in printed
    written = {file: file.read_bytes() for file in [tmp_path / "docs/course.md", tmp_path / "course/page.html"]}
    times = json.loads((tmp_path / "course/figures/timing-2.json").read_text())
    assert times["threads"] == 2
    assert {file.name for file in (tmp_path / "docs/images").iterdir()} == {f"course-{n}.svg" for n in (1, 3, 4, 6)}
    assert (tmp_path / "course/ner.html").is_file()
    again = measure()
    assert "measuring" not in again
    assert written == {file: file.read_bytes() for file in written}
    assert str(tmp_path) not in (tmp_path / "docs/course.md").read_text()
