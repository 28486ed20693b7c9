"""A study runs each of its runs once, whatever is killed and however many commands work on it at the same time.

The runs here are small programs that count (fake_runs.py); the runs of `test_commands.py` train.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import fake_runs
import pytest

from pipeline import locks
from pipeline.studies.processes import cores, environments


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Callable]:
    """Starts the study in a process of its own; what is left of it is killed when the test ends."""
    begun = []

    def start(*names: str, processes: int = 1) -> subprocess.Popen:
        command = [sys.executable, fake_runs.__file__, str(tmp_path), str(processes), *names]
        begun.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
        return begun[-1]

    yield start
    for process in begun:
        process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()
    for _, _, pid, *_ in ledger(tmp_path):
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)


def ledger(folder: Path) -> list[list[str]]:
    file = folder / "ledger"
    return [line.split() for line in file.read_text().splitlines()] if file.exists() else []


def of(folder: Path, what: str) -> list[str]:
    return [name for name, event, *_ in ledger(folder) if event == what]


def wait_until(condition: Callable[[], object], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it has not happened"
        time.sleep(0.01)


def most_at_a_time(folder: Path) -> int:
    """The greatest number of runs between whose `begin` and `stop` or `end` there was a moment in common."""
    running, most = set(), 0
    for name, event, *_ in sorted(ledger(folder), key=lambda line: float(line[3])):
        (running.add if event == "begin" else running.discard)(name)
        most = max(most, len(running))
    return most


@pytest.mark.parametrize("processes", [1, 2])
def test_every_run_is_run_once_and_so_many_at_a_time(begin, tmp_path, processes):
    names = [f"run-{n}" for n in range(5)]
    out, _ = begin(*names, processes=processes).communicate()
    assert sorted(of(tmp_path, "begin")) == sorted(of(tmp_path, "end")) == names
    assert most_at_a_time(tmp_path) <= processes
    assert re.search(r"\[5/5\] run-4: finished in \d s, all counted", out)
    again, _ = begin(*names, processes=processes).communicate()
    assert again.splitlines() == ["5 of 5 have already finished", "failed: {}"]


def test_a_failed_run_is_reported_with_its_last_line_and_the_others_go_on(begin, tmp_path):
    out, _ = begin("fails", "killed", "run").communicate()
    assert of(tmp_path, "end") == ["run"]
    assert re.search(r"\[1/3\] fails: failed after \d s, exit code 1", out)
    assert re.search(r"\[2/3\] killed: failed after \d s, killed by signal 9", out)
    assert f"error: it cannot count (log: {tmp_path / 'fails.log'})" in out
    assert (tmp_path / "fails.log").read_text() == "counting\nerror: it cannot count\n"


def test_a_signal_is_passed_on_and_the_same_command_resumes(begin, tmp_path):
    names = ["slow-1", "slow-2", "run"]
    study = begin(*names, processes=2)
    wait_until(lambda: len(of(tmp_path, "begin")) == 2)
    time.sleep(0.1)
    study.send_signal(signal.SIGTERM)
    out, err = study.communicate()
    assert study.returncode == 75, err
    assert "stopping; waiting for the checkpoint of slow-1, slow-2" in out
    assert sorted(of(tmp_path, "stop")) == ["slow-1", "slow-2"]
    out, _ = begin(*names, processes=2).communicate()
    assert sorted(of(tmp_path, "end")) == sorted(names)
    resumed_at = [int(line[4]) for line in ledger(tmp_path) if line[:2] == ["slow-1", "begin"]]
    assert resumed_at[0] == 0
    assert resumed_at[1] > 0


def test_a_second_ctrl_c_ends_the_runs_at_once(begin, tmp_path):
    study = begin("stubborn")
    wait_until(lambda: of(tmp_path, "begin"))
    study.send_signal(signal.SIGINT)
    time.sleep(0.1)
    assert study.poll() is None  # the run may be writing its checkpoint
    study.send_signal(signal.SIGINT)
    _, err = study.communicate()
    assert (study.returncode, err) == (
        130,
        "stopped at once; the same command resumes every run from its last checkpoint\n",
    )
    assert of(tmp_path, "end") == []


def test_two_commands_in_one_folder_share_the_runs(begin, tmp_path):
    names = [f"run-{n}" for n in range(8)]
    both = [begin(*names), begin(*names)]
    outputs = [study.communicate()[0] for study in both]
    assert sorted(of(tmp_path, "begin")) == sorted(of(tmp_path, "end")) == names
    assert all(output.endswith("failed: {}\n") for output in outputs)


def test_a_run_whose_study_was_killed_is_waited_for(begin, tmp_path):
    first = begin("slow", "run")
    wait_until(lambda: of(tmp_path, "begin"))
    first.kill()  # its run lives on
    first.wait()
    out, _ = begin("slow", "run").communicate()
    assert sorted(of(tmp_path, "begin")) == sorted(of(tmp_path, "end")) == ["run", "slow"]
    assert "slow: another process is running it" in out
    assert "slow: finished by another command, all counted" in out


def test_a_run_that_was_killed_with_its_study_is_taken_over(begin, tmp_path):
    first = begin("slow", "run")
    wait_until(lambda: of(tmp_path, "begin"))
    first.kill()
    os.kill(int(ledger(tmp_path)[0][2]), signal.SIGKILL)
    first.wait()
    begin("slow", "run").communicate()
    assert of(tmp_path, "begin") == ["slow", "slow", "run"]
    assert of(tmp_path, "end") == ["slow", "run"]


def test_a_lock_is_free_when_all_who_share_it_have_ended(tmp_path):
    file = tmp_path / "a.lock"
    lock = locks.acquire(file)
    assert lock is not None
    assert locks.acquire(file) is None
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=(lock,))
    locks.release(lock)
    assert locks.is_held(file)
    child.communicate(b"\n")
    assert not locks.is_held(file)
    assert not locks.is_held(tmp_path / "b.lock")


def test_runs_at_the_same_time_share_the_cores_and_take_turns_with_the_gpus(monkeypatch, tmp_path):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6")
    found = environments(3, imports=tmp_path)
    assert [each["CUDA_VISIBLE_DEVICES"] for each in found] == ["4", "6", "4"]
    assert {each["OMP_NUM_THREADS"] for each in found} == {str(max(1, cores() // 3))}
    assert found[0]["PYTHONPATH"].split(os.pathsep)[0] == str(tmp_path)
    (alone,) = environments(1)
    assert "OMP_NUM_THREADS" not in alone
    assert alone["CUDA_VISIBLE_DEVICES"] == "4,6"
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert {each["OMP_NUM_THREADS"] for each in environments(2)} == {"5"}
