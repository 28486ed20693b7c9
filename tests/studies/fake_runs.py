"""Runs of a study without training: tiny programs that count, write checkpoints when they are stopped, and resume.

As a program this is the study itself, so that tests can kill it: `python fake_runs.py FOLDER PROCESSES NAME...`. What a
name begins with says what its run does: `fails`, `slow`, `stubborn`, or counts to its end at once.
"""

from __future__ import annotations

import sys
from pathlib import Path

from pipeline.cli.main import exit_code
from pipeline.cli.study import say
from pipeline.studies import runner
from pipeline.studies.processes import Job, environments
from pipeline.studies.runner import Runner

# Counts to 40; `begin`, `stop` and `end` of each process go into one file.
RUN = """
import os, pathlib, signal, sys, time
folder, name, pause = pathlib.Path(sys.argv[1]), sys.argv[2], float(sys.argv[3])
home = folder / name
home.mkdir(exist_ok=True)
checkpoint = home / "checkpoint"
begun = int(checkpoint.read_text()) if checkpoint.exists() else 0
def note(what):
    with open(folder / "ledger", "a") as ledger:
        ledger.write(f"{name} {what} {os.getpid()} {time.time()} {begun}\\n")
stopped = []
signal.signal(signal.SIGTERM, lambda *_: stopped.append(1))
if name.startswith("stubborn"):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
note("begin")
for step in range(begun, 40):
    time.sleep(pause)
    if name.startswith("killed") and step == 20:
        os.kill(os.getpid(), signal.SIGKILL)
    if name.startswith("fails"):
        print("counting")
        sys.exit("error: it cannot count")
    if stopped:
        checkpoint.write_text(str(step))
        note("stop")
        sys.exit(75)
note("end")
(home / "metrics.json").write_text("{}")
"""


def job(folder: Path, name: str) -> Job:
    pause = "0.02" if name.startswith(("slow", "stubborn")) else "0.001"
    return Job(
        name=name,
        recipe=folder / f"{name}.json",
        command=(sys.executable, "-S", "-c", RUN, str(folder), name, pause),
        log=folder / f"{name}.log",
        lock=folder / f"{name}.lock",
        is_finished=(folder / name / "metrics.json").is_file,
        result=lambda: "all counted",
    )


def main(folder: Path, processes: int, names: list[str]) -> None:
    runner.POLL_SECONDS = 0.01
    results = Runner([job(folder, name) for name in names], environments(processes), say).run()
    results.raise_if_stopped()
    print("failed:", results.failed, flush=True)


if __name__ == "__main__":
    place, number, *jobs = sys.argv[1:]
    sys.exit(exit_code(lambda: main(Path(place), int(number), jobs)))
