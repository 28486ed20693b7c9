"""A search runs each trial once with the same budget, looks at validation alone, and survives being killed.

The runs here are small programs that write scores (fake_trials.py); those of `test_commands.py` train.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import fake_trials
import pytest
from fake_trials import plan, search
from test_runner import ledger, of, wait_until

from pipeline import UserError
from pipeline.config.loading import load_recipe
from pipeline.studies import jobs
from pipeline.studies.search import best_jobs, write_best


@pytest.fixture(autouse=True)
def fake_runs(monkeypatch):
    monkeypatch.setattr(jobs, "command", fake_trials.fake_command)
    monkeypatch.setenv("PAUSE", "0.01")


def begin(folder: Path, trials: int, pause: str = "0.05") -> subprocess.Popen:
    command = [sys.executable, fake_trials.__file__, str(folder), str(trials)]
    return subprocess.Popen(command, env={**os.environ, "PAUSE": pause}, stdout=subprocess.PIPE, text=True)


def rates(folder: Path) -> list[str]:
    """The learning rate of each trial."""
    return [line[4] for line in sorted(ledger(folder)) if line[1] == "end"]


def test_the_best_is_that_of_validation_and_its_recipe_loads(tmp_path):
    trials = search(plan(tmp_path, 6, pruner="none")).trials
    drawn = [trial.params["optim.learning_rate"] for trial in trials.finished()]
    assert len(set(drawn)) == 6
    best = load_recipe(str(write_best(trials)))
    assert best.optim.learning_rate == min(drawn, key=lambda rate: abs(rate / 0.01 if rate > 0.01 else 0.01 / rate))
    assert best.model == fake_trials.RECIPE.model
    names = [job.recipe.name for job in best_jobs(trials, [0, 1, 2])]
    assert names == [f"fake-seed-{seed}.json" for seed in range(3)]


def test_a_search_goes_on_where_it_ended_and_draws_what_it_would_have_drawn(tmp_path):
    (tmp_path / "whole").mkdir()
    (tmp_path / "parts").mkdir()
    whole = search(plan(tmp_path / "whole", 4)).trials
    for count in (1, 2, 4):
        parts = search(plan(tmp_path / "parts", count, journal=None)).trials  # in a database
        assert len(parts.all()) == count
    assert [trial.params for trial in parts.all()] == [trial.params for trial in whole.all()]
    assert len(of(tmp_path / "parts", "begin")) == 4


def test_a_better_best_does_not_remove_the_runs_of_the_one_before(tmp_path):
    file = write_best(search(plan(tmp_path, 1)).trials)
    (file.parent / "fake-seed-0").mkdir()
    trials = search(plan(tmp_path, 8, pruner="none")).trials
    assert trials.best().number > 0
    assert write_best(trials) == file
    assert [path.name for path in file.parent.iterdir()] == ["recipe.json"]
    assert (tmp_path / "best-before-1" / "fake-seed-0").is_dir()


@pytest.mark.parametrize("also_the_run", [False, True])
def test_a_killed_search_is_resumed_and_no_trial_run_twice(tmp_path, also_the_run):
    first = begin(tmp_path, 3, pause="0.2")
    wait_until(lambda: len(of(tmp_path, "begin")) == 2)
    time.sleep(0.3)
    first.kill()
    first.wait()
    if also_the_run:
        os.kill(int(ledger(tmp_path)[-1][2]), signal.SIGKILL)
    trials = search(plan(tmp_path, 3)).trials
    assert [trial.state.name for trial in trials.all()] == ["COMPLETE"] * 3
    assert sorted(of(tmp_path, "end")) == ["trial-000", "trial-001", "trial-002"]
    assert of(tmp_path, "begin").count("trial-001") == (2 if also_the_run else 1)


def test_a_stopped_search_keeps_its_trial_for_the_next_command(tmp_path):
    first = begin(tmp_path, 2, pause="0.2")
    wait_until(lambda: of(tmp_path, "begin"))
    time.sleep(0.5)
    first.send_signal(signal.SIGTERM)
    out, _ = first.communicate()
    assert first.returncode == 75
    assert "trial-000: stopped after" in out
    trials = search(plan(tmp_path, 2)).trials
    assert of(tmp_path, "end") == ["trial-000", "trial-001"]
    assert [len(trial.intermediate_values) for trial in trials.all()] == [5, 5]


def test_two_commands_share_a_journal(tmp_path):
    both = [begin(tmp_path, 6) for _ in range(2)]
    assert [each.wait() for each in both] == [0, 0]
    assert sorted(of(tmp_path, "begin")) == sorted(of(tmp_path, "end")) == [f"trial-{n:03}" for n in range(6)]
    assert len(set(rates(tmp_path))) == 6
    for each in both:
        each.stdout.close()


def test_a_trial_below_the_median_is_stopped_and_never_the_best(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PAUSE", "0.15")  # so that it can be stopped before it ends
    trials = search(plan(tmp_path, 10, space=["optim.learning_rate=0.01,1.0"], sampler="random"), processes=2).trials
    pruned = [trial for trial in trials.all() if trial.state.name == "PRUNED"]
    assert pruned
    assert {trial.params["optim.learning_rate"] for trial in pruned} == {1.0}
    assert trials.best().params["optim.learning_rate"] == 0.01
    assert len(trials.scores()) == 10
    assert "pruned after" in capsys.readouterr().out
    assert sorted(of(tmp_path, "stop")) == [f"trial-{trial.number:03}" for trial in pruned]


def test_a_trial_that_fails_is_reported_and_the_others_go_on(tmp_path, capsys):
    trials = search(
        plan(tmp_path, 6, space=["model.layers=1,9", "optim.learning_rate=0.1..1"], sampler="random")
    ).trials
    failed = [trial for trial in trials.all() if trial.state.name == "FAIL"]
    assert failed
    assert all(trial.params["model.layers"] == 9 for trial in failed)
    assert "error: nine layers are too many" in failed[0].user_attrs["why"]
    assert trials.best().params["model.layers"] == 1
    assert len(trials.scores()) == 6 - len(failed)


def test_a_search_whose_first_trials_all_fail_ends_with_the_reason(tmp_path):
    with pytest.raises(UserError, match="no trial has succeeded; error: nine layers are too many"):
        search(plan(tmp_path, 20, space=["model.layers=9"]))
    assert len(of(tmp_path, "begin")) == 3


def test_the_folder_of_another_search_is_refused(tmp_path):
    search(plan(tmp_path, 1))
    with pytest.raises(UserError, match="it holds another search, with the space"):
        search(plan(tmp_path, 2, space=["optim.learning_rate=1e-4..1e-1:log"]))
