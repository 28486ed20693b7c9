"""A search: trials that draw settings of a recipe, each a run of its own with the same budget, pruned by validation.

Any number of commands may work on one search: what draws a trial, or takes over one whose command has died, holds a
lock, and each trial is locked while its run lives.
"""

from __future__ import annotations

import itertools
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline import locks, run_folder, storage
from pipeline.config.changes import with_settings
from pipeline.config.expansion import seeded
from pipeline.config.recipe import Recipe
from pipeline.errors import UserError
from pipeline.signals import StopSignals
from pipeline.studies import expected_best, jobs
from pipeline.studies.pool import POLL_SECONDS, Pool, Results
from pipeline.studies.processes import Child, Job
from pipeline.studies.trial_storage import Plan
from pipeline.studies.trials import Trials, number_of

if TYPE_CHECKING:
    from optuna.trial import Trial

PICTURE = "search.svg"
# A search all of whose first trials fail is wrong in what they have in common.
FIRST_TRIALS = 3
# Between two looks at the storage for trials to take over.
WAIT_SECONDS = 1.0


@dataclass
class RunningTrial:
    """A trial whose run is a process of this command.

    Attributes:
        read: bytes of its history that have been looked at.
        reported: validation scores in it that have been reported.
        is_pruned: whether its process has been asked to stop because others were better.
    """

    trial: Trial
    recipe: Recipe
    child: Child
    read: int = 0
    reported: int = 0
    is_pruned: bool = False

    @property
    def run(self) -> Path:
        return self.recipe.folder


class Search:
    """The state of a search in one command."""

    def __init__(self, plan: Plan, environments: Sequence[Mapping[str, str]], say: Callable[[str], None]):
        """`environments`: one for each trial that may run at the same time; `say` prints a line."""
        self.plan, self.say = plan, say
        self.pool = Pool(environments, say)
        (plan.folder / jobs.STATE).mkdir(parents=True, exist_ok=True)
        with drawing(self.plan):
            self.trials = Trials(plan)
        self.running: dict[str, RunningTrial] = {}
        self.results = Results()
        self.next_look = 0.0

    def run(self) -> Results:
        """Run trials until there are as many as planned, or a signal stops them.

        Raises:
            UserError: the first trials have all failed.
        """
        if done := len(self.trials.finished()):
            asked = self.plan.trials
            more = f"; with --trials {asked} there is none to add" if done > asked else ""
            self.say(f"{done} of {max(done, asked)} trials have already finished{more}")
        with StopSignals() as stop:
            while self.running or not (stop.urgency or self._is_over()):
                if stop.urgency:
                    self.pool.stop(stop.urgency)
                else:
                    self._begin()
                self._watch()
                time.sleep(POLL_SECONDS)
            self.results.urgency = stop.urgency
        if not stop.urgency and self._is_hopeless():
            self.trials.best()  # says why the last one has failed
        return self.results

    def _is_hopeless(self) -> bool:
        finished = self.trials.finished()
        return len(finished) >= FIRST_TRIALS and all(trial.state.name == "FAIL" for trial in finished)

    def _is_over(self) -> bool:
        if time.monotonic() < self.next_look:
            return False
        everything = self.trials.all()
        return self._is_hopeless() or (
            len(everything) >= self.plan.trials and all(trial.state.is_finished() for trial in everything)
        )

    def _begin(self) -> None:
        """Fill the free places with trials whose command has died, or with new ones."""
        if self.pool.is_full or time.monotonic() < self.next_look:
            return
        with drawing(self.plan):
            while not self.pool.is_full:
                if not (self._take_over() or self._draw()):
                    self.next_look = time.monotonic() + WAIT_SECONDS
                    return

    def _take_over(self) -> bool:
        for frozen in self.trials.unfinished():
            lock = locks.acquire(self._lock(number_of(frozen)))
            if lock is not None:
                self._start(self.trials.resumed(frozen), lock)
                return True
        return False

    def _draw(self) -> bool:
        if len(self.trials.all()) >= self.plan.trials or self._is_hopeless():
            return False
        trial = self.trials.draw()
        lock = locks.acquire(self._lock(number_of(trial)))
        assert lock is not None, "the number of a trial is new"
        self._start(trial, lock)
        return True

    def _lock(self, number: int) -> Path:
        return self.plan.folder / jobs.STATE / f"{_name(number)}.lock"

    def _start(self, trial: Trial, lock: int) -> None:
        """Start the run of `trial`, or finish the trial if the run has ended already or its settings are impossible."""
        folder = self.plan.folder / _name(number_of(trial))
        try:
            recipe = with_settings(self.plan.recipe, {**trial.params, "train.output_dir": str(folder)})
        except UserError as error:
            self.trials.fail(trial, str(error))
            self._report(trial, f"impossible settings, {error}")
            locks.release(lock)
            return
        job = jobs.run_job(recipe, self.plan.folder)
        if job.is_finished():  # its command has died before it recorded this
            self._complete(trial, job, "finished before")
            locks.release(lock)
            return
        self.running[job.name] = RunningTrial(trial, recipe, self.pool.start(job, lock))

    def _watch(self) -> None:
        for each in self.running.values():
            if not each.child.urgency and self._is_worse(each):
                each.is_pruned = True
                each.child.ask_to_stop()
        for child, code in self.pool.ended():
            self._end(self.running.pop(child.job.name), code)

    def _is_worse(self, each: RunningTrial) -> bool:
        """Whether the new validation scores of a trial, if there are any, are a reason to stop it."""
        history = each.run / run_folder.HISTORY
        size = history.stat().st_size if history.is_file() else 0
        if size == each.read or self.trials.monitor is None:
            return False
        each.read = size
        for evaluation in self.trials.report(each.trial, each.run, each.reported):
            each.reported = evaluation
            if each.trial.should_prune():
                return True
        return False

    def _end(self, each: RunningTrial, code: int) -> None:
        """Record how the process of a trial has ended; one that a signal has stopped is resumed by the same command."""
        child, took = each.child, f"after {each.child.seconds:,.0f} s"
        if code == 0 and child.job.is_finished():
            self._complete(each.trial, child.job, f"finished {took}", each.reported)
        elif each.is_pruned and child.was_stopped(code):
            self.trials.prune(each.trial, each.run, each.reported)
            shutil.rmtree(each.run / run_folder.CHECKPOINTS, ignore_errors=True)
            self._report(each.trial, f"pruned {took}, others were better")
        elif child.was_stopped(code):
            self._report(each.trial, f"stopped {took}")
        else:
            self.trials.fail(each.trial, f"{child.last_words()} (log: {child.job.log})")
            self._report(each.trial, f"failed {took}, {child.last_words()}")

    def _complete(self, trial: Trial, job: Job, what: str, reported: int = 0) -> None:
        score = self.trials.complete(trial, self.plan.folder / job.name, reported)
        shown = "no finite score" if score is None else f"validation {self.trials.monitor} {score:.4f}"
        self._report(trial, f"{what}, {shown}")

    def _report(self, trial: Trial, what: str) -> None:
        settings = " ".join(f"{name}={_shown(value)}" for name, value in trial.params.items())
        number = number_of(trial)
        self.say(f"[{number + 1}/{self.plan.trials}] {_name(number)}: {what}; {settings}")


def drawing(plan: Plan) -> AbstractContextManager[None]:
    """Held while trials are drawn and taken over, so that there are never too many, nor two runs of one."""
    return locks.held(plan.folder / jobs.STATE / "drawing.lock")


def _name(number: int) -> str:
    return f"trial-{number:03}"


def _shown(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _best_recipe(trials: Trials) -> Recipe:
    return with_settings(trials.plan.recipe, trials.best().params)


def write_best(trials: Trials) -> Path:
    """Write the recipe of the best trial, and return its file. If another trial was the best before, its folder, with
    the runs in it, gets another name.

    Raises:
        UserError: no trial has succeeded.
    """
    text = _best_recipe(trials).to_json()
    file = trials.plan.folder / jobs.BEST / run_folder.RECIPE
    with drawing(trials.plan):
        if file.is_file() and file.read_text(encoding="utf-8") != text:
            names = (file.parent.with_name(f"{jobs.BEST}-before-{number}") for number in itertools.count(1))
            file.parent.rename(next(name for name in names if not name.exists()))
        file.parent.mkdir(exist_ok=True)
        storage.write(file, text)
    return file


def best_jobs(trials: Trials, seeds: Sequence[int]) -> list[Job]:
    """The jobs that train the recipe of the best trial with `seeds`, in the folder `best`.

    Raises:
        UserError: no trial has succeeded, or the folder of a run holds one with other settings.
    """
    recipe = _best_recipe(trials)
    home = trials.plan.folder / jobs.BEST
    recipes = [seeded(recipe, seed, home / f"{recipe.name}-seed-{seed}") for seed in seeds]
    for each in recipes:
        jobs.refuse_other_run(each)
    return [jobs.run_job(each, trials.plan.folder) for each in recipes]


def draw_curve(trials: Trials) -> Path | None:
    """Draw the expected best validation score against the number of trials; None if no trial has a score."""
    scores = trials.scores()
    if not scores:
        return None
    file = trials.plan.folder / PICTURE
    expected_best.plot(scores, trials.lower_is_better, str(trials.monitor), file)
    return file
