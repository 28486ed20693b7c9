"""Runs the jobs of a study, a few at a time, until all have finished or a signal stops them.

Any number of commands may do this in the same folder: each job is locked while a process runs it, and a job that
another command runs is waited for, or taken over once its process has died.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from pipeline.errors import Interrupted
from pipeline import locks
from pipeline.studies.processes import Child, Job, StopSignals

POLL_SECONDS = 0.05


@dataclass
class Results:
    """What became of the jobs of a study.

    Attributes:
        failed: name of a job -> why it failed.
        urgency: that of the signal that has stopped them; 0 if none has.
    """

    failed: dict[str, str] = field(default_factory=dict)
    urgency: int = 0

    def raise_if_stopped(self) -> None:
        """Raise what the command raises when a signal stops it."""
        if self.urgency > 1:
            raise KeyboardInterrupt
        if self.urgency:
            raise Interrupted


class Runner:
    """The state of the jobs while they run."""

    def __init__(self, jobs: Sequence[Job], environments: Sequence[Mapping[str, str]], say: Callable[[str], None]):
        """`environments`: one for each job that may run at the same time; `say` prints a line."""
        self.numbers = {job.name: number for number, job in enumerate(jobs, 1)}
        self.waiting = list(jobs)
        self.environments, self.say = environments, say
        self.children: dict[int, Child] = {}
        self.elsewhere: set[str] = set()
        self.results = Results()

    def run(self) -> Results:
        """Run the jobs to their end, or until a signal stops them and they have written their checkpoints."""
        self._leave_out_finished()
        with StopSignals() as stop:
            while self.children or (self.waiting and not stop.urgency):
                if stop.urgency:
                    self._stop(stop.urgency)
                else:
                    self._start()
                self._collect()
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
            free = [place for place in range(len(self.environments)) if place not in self.children]
            if not free:
                return
            lock = locks.acquire(job.lock)
            if lock is None:
                self._wait_for(job)
                continue
            self.waiting.remove(job)
            child = _start_unless_finished(job, lock, self.environments[free[0]])
            if child:
                self.children[free[0]] = child
            else:
                self._report(job, f"finished by another command, {job.result()}")

    def _wait_for(self, job: Job) -> None:
        if job.name not in self.elsewhere:
            self.elsewhere.add(job.name)
            self._report(job, "another process is running it")

    def _stop(self, urgency: int) -> None:
        if urgency > self.results.urgency:
            self.results.urgency = urgency
            if urgency == 1 and self.children:
                names = ", ".join(child.job.name for child in self.children.values())
                self.say(f"stopping; waiting for the checkpoint of {names} (Ctrl-C again to end at once)")
        for child in self.children.values():
            child.ask_to_stop(urgency)

    def _collect(self) -> None:
        for place, child in list(self.children.items()):
            code = child.poll()
            if code is not None:
                del self.children[place]
                child.release()
                self._report(child.job, self._outcome(child, code))

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


def _start_unless_finished(job: Job, lock: int, environment: Mapping[str, str]) -> Child | None:
    """The process of a job whose `lock` is held; None if another command has finished it before we held the lock."""
    if job.is_finished():
        locks.release(lock)
        return None
    return Child(job, lock, environment)
