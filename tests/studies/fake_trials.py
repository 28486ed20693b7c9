"""A search without training: its runs write the validation scores that their learning rate deserves.

As a program this is the search itself: `python fake_trials.py FOLDER TRIALS`. Each evaluation of a
run takes PAUSE seconds.
"""

from __future__ import annotations

import sys
from pathlib import Path

from pipeline import Data, Recipe, Recurrent
from pipeline.cli.main import exit_code
from pipeline.cli.study import say
from pipeline.studies import jobs, space
from pipeline.studies import search as searching
from pipeline.studies.processes import environments
from pipeline.studies.search import Search
from pipeline.studies.trial_storage import Plan

EVALUATIONS = 5
# Its score is best at a learning rate of 0.01. Test scores say the opposite: nothing may look at them.
RUN = """
import json, math, os, pathlib, signal, sys, time
recipe = json.loads(pathlib.Path(sys.argv[1]).read_text())
folder = pathlib.Path(recipe["train"]["output_dir"])
folder.mkdir(exist_ok=True)
rate = recipe["optim"]["learning_rate"]
score = 1 - abs(math.log10(rate) + 2) / 4
def note(what):
    with open(folder.parent / "ledger", "a") as ledger:
        ledger.write(f"{folder.name} {what} {os.getpid()} {time.time()} {rate}\\n")
stopped = []
signal.signal(signal.SIGTERM, lambda *_: stopped.append(1))
history = folder / "history.jsonl"
done = len(history.read_text().splitlines()) if history.exists() else 0
note("begin")
for step in range(done + 1, 6):
    time.sleep(float(os.environ.get("PAUSE", "0.02")))
    if recipe["model"]["layers"] == 9:
        sys.exit("error: nine layers are too many")
    if stopped:
        note("stop")
        sys.exit(75)
    with open(history, "a") as opened:
        opened.write(json.dumps({"kind": "validation", "step": step, "loss": 1 - score, "accuracy": score * step / 5}))
        opened.write("\\n")
metrics = {"train": {"monitor": "accuracy"}, "validation": {"accuracy": score}, "test": {"accuracy": 1 - score}}
(folder / "metrics.json").write_text(json.dumps(metrics))
note("end")
"""
RECIPE = Recipe(name="fake", task="sentiment", data=Data(source="reviews.csv"), model=Recurrent())


def fake_command(name: str, recipe: str) -> tuple[str, ...]:
    return (sys.executable, "-S", "-c", RUN, recipe)  # it needs no packages, and should start soon


def plan(folder: Path, trials: int, **options) -> Plan:
    texts = options.pop("space", ["optim.learning_rate=1e-4..1:log"])
    options = {"journal": folder / "journal.log", **options}  # a database takes a second to create
    return Plan(RECIPE, space.parse(texts, RECIPE), trials, folder, **options)


def search(this: Plan, processes: int = 1) -> Search:
    """The finished search."""
    jobs.command, searching.POLL_SECONDS, searching.WAIT_SECONDS = fake_command, 0.01, 0.1
    found = Search(this, environments(processes), say)
    found.run().raise_if_stopped()
    return found


if __name__ == "__main__":
    place, number = sys.argv[1:]
    sys.exit(exit_code(lambda: search(plan(Path(place), int(number), pruner="none"))))
