"""The commands `finetune study` and `finetune search`: refusals at once, and small real runs from end to end."""

from __future__ import annotations

import functools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, finetune
from test_runner import wait_until

from pipeline import UserError, locks
from pipeline.cli import main, search, startup, study
from pipeline.config.loading import load_recipe
from pipeline.config.study import load_study
from pipeline.studies import jobs, trials
from pipeline.studies.jobs import runs_of

STUDY = """
from pipeline import Budget, Data, Recipe, Recurrent, Study, Train

recipe = Recipe(name="tiny", task="sentiment", data=Data(source="reviews.csv"),
                model=Recurrent(hidden_size=8, embedding_size=8), train=Train(batch_size=16))
study = Study(name="small", recipes=[recipe], grid={"model.cell": ["rnn", "gru"]}, seeds=[0],
              budget=Budget(updates=4))
"""


@pytest.fixture
def workplace(tmp_path: Path) -> Path:
    rows = [f'"warm and funny {n}",good\n"dull and empty {n}",bad\n' for n in range(60)]
    (tmp_path / "reviews.csv").write_text("text,label\n" + "".join(rows))
    (tmp_path / "small.py").write_text(STUDY)
    return tmp_path


def refusal(done: subprocess.CompletedProcess) -> str:
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    return line


def test_a_study_lists_and_counts_its_runs(workplace):
    assert finetune("study", "small.py", "--count", cwd=workplace).stdout == "2\n"
    lines = finetune("study", "small.py", "--list", "--folder", "here", cwd=workplace).stdout.splitlines()
    assert lines[1].split("\t") == ["1", "here/tiny-cell-gru-seed-0", "model.cell=gru train.seed=0"]
    file = finetune("study", "small.py", "--recipe", "1", cwd=workplace).stdout.strip()
    assert load_recipe(str(workplace / file)).model.cell == "gru"
    assert not any((workplace / "runs/small").glob("tiny*"))


def test_what_stops_any_run_is_refused_before_the_first(workplace):
    assert "smal.py: no such file; did you mean small.py?" in refusal(finetune("study", "smal.py", cwd=workplace))
    assert "only: there is no run 2 in this study; it has 2, from 0 to 1" in refusal(
        finetune("study", "small.py", "--only", "2", cwd=workplace)
    )
    (workplace / "reviews.csv").rename(workplace / "gone.csv")
    assert "tiny-cell-rnn-seed-0: data.source: " in refusal(finetune("study", "small.py", cwd=workplace))
    assert not (workplace / "runs/small/tiny-cell-rnn-seed-0").exists()


def test_a_folder_whose_runs_have_other_settings_is_refused(workplace):
    (run, *_) = runs_of(load_study(str(workplace / "small.py")), workplace / "runs/small")
    run.folder.mkdir(parents=True)
    (run.folder / "recipe.json").write_text(run.recipe.to_json().replace('"hidden_size": 8', '"hidden_size": 9'))
    (run.folder / "metrics.json").write_text("{}")
    line = refusal(finetune("study", "small.py", "--folder", workplace / "runs/small", cwd=workplace))
    assert "it holds a run with other settings (model.hidden_size 8, was 9); remove it" in line


def test_a_study_does_not_import_torch_before_its_runs(workplace):
    code = (
        "import sys; sys.argv[1:] = ['study', 'small.py', '--recipe', '0']\n"
        "from pipeline.cli import study\nstudy.command(sys.argv[2:])\n"
        "print([name for name in ('torch', 'transformers', 'optuna') if name in sys.modules])"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], cwd=workplace, env=environment, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[]", done.stderr


def test_a_search_without_optuna_says_what_to_install(monkeypatch):
    monkeypatch.setattr(trials.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'finetune-pipeline\[search\]'"):
        trials.check_installed()


@pytest.fixture
def here(workplace, monkeypatch) -> Path:
    """The workplace as the working folder, in which commands may be called without a process of their own."""
    monkeypatch.chdir(workplace)
    monkeypatch.setattr(startup, "stop_on_signals", lambda: None)
    return workplace


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--list", "--count"], "--list and --count: each says what to do; give one of them"),
        (["--count", "--recipe", "0"], "--count and --recipe: "),
        (["--recipe", "0", "--only", "1"], "--recipe and --only: "),
        (["--list", "--processes", "2"], "--list: it starts one run at most, so --processes 2 says nothing"),
        (["--only", "0", "--processes", "2"], "--only: it starts one run at most"),
        (["--processes", "0"], "processes: 0 is out of range"),
        (["--only", "-1"], "only: there is no run -1 in this study; it has 2, from 0 to 1"),
        (["--folder", "reviews.csv"], "train.output_dir: reviews.csv is a file; name a folder"),
    ],
)
def test_flags_of_a_study_of_which_one_would_be_ignored_are_refused(here, flags, message):
    with pytest.raises(UserError, match=re.escape(message)):
        study.command(["small.py", *flags])
    assert not (here / "runs").exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--space", "model.layer=1,2"], "space: model.layer: no such setting; did you mean model.layers"),
        (["--updates", "5", "--space", "train.max_steps=5,6"], "the budget determines it"),
        (["--updates", "5", "--tokens", "6"], "budget.tokens: budget.updates already limits each run"),
        (["--seeds", "1", "2", "1"], "search.seeds: 1 is listed twice; remove one"),
        (["--seeds"], "search.seeds: it is empty; name at least one seed"),
        (["--journal", "nowhere/journal.log"], "--journal: there is no folder nowhere; name a file in an existing one"),
        (["--journal", "."], "--journal: . is a folder; name a file"),
        (["--folder", "reviews.csv"], "folder: reviews.csv is a file; name a folder"),
    ],
)
def test_a_search_that_cannot_be_run_is_refused(here, flags, message):
    (here / "tiny.py").write_text(STUDY.partition("study =")[0])
    with pytest.raises(UserError, match=re.escape(message)):
        search.command(["tiny.py", "--trials", "3", *flags])
    assert not (here / "runs").exists()


@pytest.mark.skipif(not shutil.which("flock"), reason="flock is part of Linux")
def test_a_task_of_an_array_and_a_study_do_not_train_the_same_run_at_once(workplace, monkeypatch):
    """Without Slurm: the place of its commands, and of train.sbatch, is taken by others that do nothing."""
    monkeypatch.chdir(workplace)
    (run, *_) = jobs.prepare(load_study("small.py"), Path("runs/small"))
    (workplace / "scontrol").write_text(f"#!/bin/sh\necho '   Command={workplace}/sweep.sbatch'\n")
    (workplace / "scontrol").chmod(0o755)
    (workplace / "sweep.sbatch").touch()
    (workplace / "train.sbatch").write_text("echo training; read -r end")
    slurm = {"SLURM_ARRAY_TASK_ID": "0", "SLURM_ARRAY_JOB_ID": "7", "SLURM_JOB_ID": "7", "LOCK_SECONDS": "0"}
    own = {"PATH": f"{workplace}:{os.environ['PATH']}", "PYTHON": sys.executable, "PYTHONPATH": str(ROOT)}
    task = functools.partial(
        subprocess.Popen, ["bash", str(ROOT / "scripts/slurm/sweep.sbatch"), "small.py"], cwd=workplace, text=True,
        env={**os.environ, **slurm, **own}, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )  # fmt: skip
    lock = locks.acquire(run.lock)
    out, _ = task().communicate()
    assert "job 7: another process is running this" in out
    assert "training" not in out
    locks.release(lock)
    with task() as second:
        wait_until(lambda: "training" in second.stdout.readline())
        assert locks.acquire(run.lock) is None
        second.communicate("\n")
    assert not locks.is_held(run.lock)


def test_both_commands_are_listed_with_what_they_do():
    assert {"study", "search"} <= set(main.COMMANDS)


@pytest.mark.slow  # four processes that train: 20 seconds
def test_a_study_that_is_stopped_while_it_trains_ends_with_all_runs_and_the_page(workplace):
    command = [sys.executable, "-m", "pipeline", "study", "small.py", "--processes", "2"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    first = subprocess.Popen(command, cwd=workplace, env=environment, stdout=subprocess.PIPE, text=True)
    wait_until(lambda: any(workplace.glob("runs/small/*/history.jsonl")), 60)
    first.send_signal(signal.SIGTERM)
    first.communicate()
    assert first.returncode in (0, 75)
    done = finetune("study", "small.py", "--processes", "2", cwd=workplace)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    runs = sorted(path.parent.name for path in workplace.glob("runs/small/*/metrics.json"))
    assert runs == ["tiny-cell-gru-seed-0", "tiny-cell-rnn-seed-0"]
    for run in runs:
        metrics = json.loads((workplace / "runs/small" / run / "metrics.json").read_text())
        assert metrics["train"]["updates"] == 4
    assert "page: runs/small/page.html" in done.stdout
    assert "tiny-cell-gru" in (workplace / "runs/small/page.html").read_text()
    assert "1 of 1 have already finished" in finetune("study", "small.py", "--only", "1", cwd=workplace).stdout


@pytest.mark.slow  # three processes that train: 20 seconds
def test_a_search_ends_with_the_best_recipe_trained_with_each_seed(workplace):
    (workplace / "tiny.py").write_text(STUDY.partition("study =")[0])
    flags = ["--trials", "2", "--updates", "4", "--space", "optim.learning_rate=1e-3..1e-1:log", "--seeds", "0", "1"]
    done = finetune("search", "tiny.py", *flags, "--processes", "2", cwd=workplace)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    home = workplace / "runs/tiny-search"
    best = load_recipe(str(home / "best/recipe.json"))
    found = re.findall(r"validation accuracy ([\d.]+); optim.learning_rate=([\d.e-]+)", done.stdout)
    assert len(found) == 2
    assert f"{best.optim.learning_rate:.3g}" in {rate for score, rate in found if score == max(found)[0]}
    assert sorted(path.parent.name for path in home.glob("best/*/metrics.json")) == ["tiny-seed-0", "tiny-seed-1"]
    assert (home / "page.html").is_file()
    assert "expected best validation accuracy" in (home / "search.svg").read_text()
