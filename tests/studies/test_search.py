"""A search runs each trial once with the same budget, looks at validation alone, and survives being killed.

The runs here are small programs that write scores (fake_trials.py); those of `test_commands.py` train.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import fake_trials
import pytest
from fake_trials import RECIPE, plan, search
from test_runner import ledger, of, wait_until

from pipeline import UserError, locks
from pipeline.config.loading import load_recipe
from pipeline.studies import jobs
from pipeline.studies import search as searching
from pipeline.studies.search import best_jobs, write_best


@pytest.fixture(autouse=True)
def fake_runs(monkeypatch):
    monkeypatch.setattr(jobs, "command", fake_trials.fake_command)
    for name in ("POLL_SECONDS", "WAIT_SECONDS"):
        monkeypatch.setattr(searching, name, getattr(searching, name))  # `search` shortens them
    monkeypatch.setenv("PAUSE", "0.002")


def begin(folder: Path, trials: int, pause: str = "0.01") -> subprocess.Popen:
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
    first = begin(tmp_path, 3, pause="0.06")
    wait_until(lambda: len(of(tmp_path, "begin")) == 2)
    wait_until(lambda: (tmp_path / "trial-001/history.jsonl").exists())
    first.kill()
    first.wait()
    if also_the_run:
        os.kill(int(ledger(tmp_path)[-1][2]), signal.SIGKILL)
    trials = search(plan(tmp_path, 3)).trials
    assert [trial.state.name for trial in trials.all()] == ["COMPLETE"] * 3
    assert [len(trial.intermediate_values) for trial in trials.all()] == [5] * 3
    assert sorted(of(tmp_path, "end")) == ["trial-000", "trial-001", "trial-002"]
    assert of(tmp_path, "begin").count("trial-001") == (2 if also_the_run else 1)
    (tmp_path / "whole").mkdir()
    whole = search(plan(tmp_path / "whole", 3)).trials
    assert [trial.params for trial in trials.all()] == [trial.params for trial in whole.all()]


@pytest.mark.parametrize("steps", ["drawing", "drawing again", "drawn again"])
def test_a_search_that_is_killed_between_two_steps_of_drawing_loses_no_trial(tmp_path, steps):
    trials = searching.Trials(plan(tmp_path, 2))
    if steps != "drawing":
        drawn = trials.draw().params
    if steps != "drawn again":
        trials.study.enqueue_trial({} if steps == "drawing" else drawn, user_attrs={"number": 0})
    else:
        trials.study.tell = lambda *_, **__: None
        trials.resumed(trials.unfinished()[0])
    found = search(plan(tmp_path, 2)).trials
    assert [trial.state.name for trial in found.all()] == ["COMPLETE"] * 2
    assert of(tmp_path, "end") == ["trial-000", "trial-001"]
    (tmp_path / "whole").mkdir()
    whole = search(plan(tmp_path / "whole", 2)).trials
    assert [trial.params for trial in found.all()] == [trial.params for trial in whole.all()]


def test_a_stopped_search_keeps_its_trial_for_the_next_command(tmp_path):
    first = begin(tmp_path, 2, pause="0.1")
    wait_until(lambda: (tmp_path / "trial-000/history.jsonl").exists())
    first.send_signal(signal.SIGTERM)
    out, _ = first.communicate()
    assert first.returncode == 75
    assert "stopping; waiting for the checkpoint of trial-000 (Ctrl-C again to end at once)" in out
    assert "trial-000: stopped after" in out
    trials = search(plan(tmp_path, 2)).trials
    assert of(tmp_path, "end") == ["trial-000", "trial-001"]
    assert [len(trial.intermediate_values) for trial in trials.all()] == [5, 5]


def test_two_commands_share_a_journal(tmp_path):
    both = [begin(tmp_path, 4) for _ in range(2)]
    assert [each.wait() for each in both] == [0, 0]
    assert sorted(of(tmp_path, "begin")) == sorted(of(tmp_path, "end")) == [f"trial-{n:03}" for n in range(4)]
    assert len(set(rates(tmp_path))) == 4
    for each in both:
        each.stdout.close()


def test_a_command_that_was_killed_while_it_wrote_to_the_journal_leaves_it_unlocked(tmp_path):
    lock = tmp_path / "journal.log.lock"
    code = (
        "import pathlib, sys, time\nfrom pipeline import locks\n"
        "locks.wait_for(pathlib.Path(sys.argv[1]))\nprint(flush=True)\ntime.sleep(60)"
    )
    command = [sys.executable, "-c", code, str(lock)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
        writer.stdout.readline()
        assert locks.is_held(lock)
        writer.kill()
    assert len(search(plan(tmp_path, 1)).trials.finished()) == 1


@pytest.mark.parametrize(("pruner", "trials"), [("median", 9), ("asha", 6)])
def test_a_trial_that_others_beat_is_stopped_and_all_others_get_the_whole_budget(
    tmp_path, monkeypatch, capsys, pruner, trials
):
    monkeypatch.setenv("PAUSE", "0.06")  # so that it can be stopped before it ends
    this = plan(tmp_path, trials, space=["optim.learning_rate=0.01,1.0"], sampler="random", pruner=pruner)
    found = search(this, processes=2).trials
    rates = {state: set() for state in ("PRUNED", "COMPLETE")}
    for trial in found.all():
        rates[trial.state.name].add(trial.params["optim.learning_rate"])
        evaluations = (tmp_path / f"trial-{trial.number:03}/history.jsonl").read_text().count("\n")
        assert evaluations == len(trial.intermediate_values)
        assert (evaluations < fake_trials.EVALUATIONS) == (trial.state.name == "PRUNED")
    assert rates["PRUNED"] == {1.0}
    assert 0.01 in rates["COMPLETE"]
    assert found.best().params["optim.learning_rate"] == 0.01
    assert len(found.scores()) == trials
    assert "pruned after" in capsys.readouterr().out


@pytest.mark.parametrize("pruner", ["median", "asha"])
def test_trials_are_compared_after_equally_many_evaluations_however_late_they_are_read(tmp_path, pruner):
    trials = searching.Trials(plan(tmp_path, 9, pruner=pruner))
    trials.study.set_user_attr("monitor", "accuracy")

    def is_worse(name: str, scores: list[float]) -> bool:
        run = tmp_path / name
        run.mkdir()
        records = [json.dumps({"kind": "validation", "accuracy": score}) for score in scores]
        (run / "history.jsonl").write_text("\n".join(records) + "\n")
        trial = trials.draw()
        found = any(trial.should_prune() for _ in trials.report(trial, run, 0))
        if not found:
            trials.study.tell(trial, scores[-1])
        return found

    assert not any(is_worse(f"long-{number}", [0.2, 0.3, 0.4]) for number in range(5))
    assert not is_worse("just begun", [0.2])
    assert is_worse("worse from the beginning", [0.1, 0.5])


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


def test_the_folder_of_another_search_is_refused_with_what_differs(tmp_path):
    search(plan(tmp_path, 1))
    with pytest.raises(UserError, match=re.escape("(space: optim.learning_rate 0.0001..0.1:log, was 0.0001..1.0:log)")):
        search(plan(tmp_path, 2, space=["optim.learning_rate=1e-4..1e-1:log"]))
    with pytest.raises(UserError, match=r"model.layers 1,2, was not drawn; space: optim.learning_rate not drawn"):
        search(plan(tmp_path, 2, space=["model.layers=1,2"]))
    bigger = replace(RECIPE, model=replace(RECIPE.model, hidden_size=9), train=replace(RECIPE.train, accumulation=2))
    changed = rf"journal.log: it holds another search \(model.hidden_size 9, was {RECIPE.model.hidden_size}; "
    with pytest.raises(UserError, match=changed + "train.accumulation 2, was 1"):
        search(replace(plan(tmp_path, 2), recipe=bigger))


def test_a_journal_is_not_shared_by_two_folders_and_a_folder_keeps_its_trials_in_one_place(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    for folder in (one, two):
        folder.mkdir()
    search(plan(one, 1))
    with pytest.raises(UserError, match=f"journal.log holds the trials of {one}; add --folder {one}"):
        search(plan(two, 1, journal=one / "journal.log"))
    with pytest.raises(UserError, match="one: its trials are in a journal; name that with --journal"):
        search(plan(one, 1, journal=None))
    one.rename(tmp_path / "moved")
    assert len(search(plan(tmp_path / "moved", 1)).trials.finished()) == 1
    (two / "search.db").touch()
    with pytest.raises(UserError, match=r"--journal: .*two keeps its trials in .*search.db; leave out --journal"):
        search(plan(two, 1))


@pytest.mark.parametrize("journal", [None, "journal.log"])
def test_a_file_that_holds_no_trials_is_refused(tmp_path, journal):
    file = tmp_path / (journal or "search.db")
    file.write_text("a diary\nof several lines\n")
    with pytest.raises(UserError, match=f"{file.name}: not the trials of a search: .*; name another"):
        search(plan(tmp_path, 1, journal=journal and file))
