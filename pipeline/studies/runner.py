"""Runs the jobs of a study, a few at a time, until all have finished or a signal stops them.

Any number of commands may do this in the same folder: each job is locked while a process runs it, and a job that
another command runs is waited for, or taken over once its process has died.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

from pipeline import locks
from pipeline.signals import StopSignals
from pipeline.studies.pool import POLL_SECONDS, Pool, Results
from pipeline.studies.processes import Child, Job


class Runner:
    """The state of the jobs while they run."""

    def __init__(self, jobs: Sequence[Job], environments: Sequence[Mapping[str, str]], say: Callable[[str], None]):
        """`environments`: one for each job that may run at the same time; `say` prints a line."""
        self.numbers = {job.name: number for number, job in enumerate(jobs, 1)}
        self.waiting = list(jobs)
        self.pool, self.say = Pool(environments, say), say
        self.elsewhere: set[str] = set()
        self.results = Results()

    def run(self) -> Results:
        """Run the jobs to their end, or until a signal stops them and they have written their checkpoints."""
        self._leave_out_finished()
        with StopSignals() as stop:
            while self.pool.children or (self.waiting and not stop.urgency):
                if stop.urgency:
                    self.pool.stop(stop.urgency)
                else:
                    self._start()
                for child, code in self.pool.ended():
                    self._report(child.job, self._outcome(child, code))
                time.sleep(POLL_SECONDS)
            self.results.urgency = stop.urgency
        return self.results

    def _leave_out_finished(self) -> None:
        count = len(self.waiting)
        self.waiting = [job for job in self.waiting if not job.is_finished()]
        if len(self.waiting) < count:
            self.say(f"{count - len(self.waiting)} of {count} have already finished")

    def _start(self) -> None:
        """Start as many jobs as there are free places."""
        for job in list(self.waiting):
            if self.pool.is_full:
                return
            lock = locks.acquire(job.lock)
            if lock is None:
                self._wait_for(job)
                continue
            self.waiting.remove(job)
            if job.is_finished():  # by another command, before we held the lock
                locks.release(lock)
                self._report(job, f"finished by another command, {job.result()}")
            else:
                self.pool.start(job, lock)

    def _wait_for(self, job: Job) -> None:
        if job.name not in self.elsewhere:
            self.elsewhere.add(job.name)
            self._report(job, "another process is running it")

    def _outcome(self, child: Child, code: int) -> str:
        """What became of a process that has ended with `code`."""
        took = f"{child.seconds:,.0f} s"
        if code == 0 and child.job.is_finished():
            return f"finished in {took}, {child.job.result()}"
        if child.was_stopped(code):
            return f"stopped after {took}"
        killed = f"killed by signal {-code}" if code < 0 else f"exit code {code}"
        self.results.failed[child.job.name] = f"{killed}, {child.last_words()} (log: {child.job.log})"
        return f"failed after {took}, {killed}"

    def _report(self, job: Job, what: str) -> None:
        total = len(self.numbers)
        self.say(f"[{self.numbers[job.name]:>{len(str(total))}}/{total}] {job.name}: {what}")
