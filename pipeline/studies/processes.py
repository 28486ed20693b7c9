"""A child process of a study: its threads, device and log, and the signals that are passed on to it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline import locks
from pipeline.errors import EXIT_CTRL_C, EXIT_INTERRUPTED, shorten

# The first request to stop lets a run write a checkpoint; the second, only on Ctrl-C, ends it where it is.
SIGNALS = {1: signal.SIGTERM, 2: signal.SIGINT}
_DRIVER = Path("/proc/driver/nvidia/gpus")


@dataclass(frozen=True)
class Job:
    """A process that leaves something behind, and is not needed any more once it has done so.

    Attributes:
        name: how it is called in messages; no two jobs of a study have the same.
        recipe: file of the recipe that it is about.
        command: the program and its arguments.
        log: file to which its output is appended.
        lock: file that is locked while it runs.
        is_finished: whether there is nothing left to do.
        result: what it has left, in a few words.
    """

    name: str
    recipe: Path
    command: tuple[str, ...]
    log: Path
    lock: Path
    is_finished: Callable[[], bool]
    result: Callable[[], str]


class Child:
    """The running process of a job."""

    def __init__(self, job: Job, lock: int, environment: Mapping[str, str]):
        """`lock`: descriptor of its locked file, which the process shares; see `release`."""
        self.job, self._lock = job, lock
        self.started = time.monotonic()
        self.urgency = 0
        job.log.parent.mkdir(parents=True, exist_ok=True)
        with job.log.open("ab") as log:
            # In a session of its own, so that Ctrl-C at the terminal reaches it once, from us.
            self.process = subprocess.Popen(
                job.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=dict(environment),
                pass_fds=(lock,),
                start_new_session=True,
            )

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started

    def ask_to_stop(self, urgency: int = 1) -> None:
        """Send the signals up to `urgency` that have not been sent yet; beyond the last, kill the process."""
        while self.urgency < urgency:
            self.urgency += 1
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(SIGNALS.get(self.urgency, signal.SIGKILL))

    def poll(self) -> int | None:
        """Its exit code, negative if a signal has killed it; None while it runs."""
        return self.process.poll()

    def release(self) -> None:
        """Give up the lock on its job, once what has become of it is recorded."""
        locks.release(self._lock)

    def was_stopped(self, code: int) -> bool:
        """Whether it ended with `code` because it was asked to stop, and not by itself."""
        return self.urgency > 0 and (
            code in (EXIT_INTERRUPTED, EXIT_CTRL_C) or code < 0 or code == 128 + signal.SIGTERM
        )

    def last_words(self) -> str:
        """The last line of its log."""
        lines = self.job.log.read_text(encoding="utf-8", errors="replace").splitlines()
        return shorten(next((line.strip() for line in reversed(lines) if line.strip()), "it has printed nothing"), 300)


def environments(processes: int, imports: Path | None = None) -> list[dict[str, str]]:
    """The environment of each of `processes` processes that run at the same time.

    Several share the cores (OMP_NUM_THREADS, unless it is set) and take turns with the GPUs.

    Args:
        imports: a folder whose modules they can import, such as the one with the file of the study.
    """
    base = {**os.environ, "PYTHONUNBUFFERED": "1"}  # so that its last line in the log is what it has printed last
    if imports is not None:
        base["PYTHONPATH"] = os.pathsep.join(filter(None, (str(imports.resolve()), base.get("PYTHONPATH"))))
    if processes == 1:
        return [base]
    base.setdefault("OMP_NUM_THREADS", str(max(1, cores() // processes)))
    gpus = _gpus(base)
    if not gpus:
        return [base] * processes
    return [{**base, "CUDA_VISIBLE_DEVICES": gpus[slot % len(gpus)]} for slot in range(processes)]


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _gpus(environment: Mapping[str, str]) -> list[str]:
    if "CUDA_VISIBLE_DEVICES" in environment:
        return [name for name in environment["CUDA_VISIBLE_DEVICES"].split(",") if name.strip()]
    return [str(number) for number in range(len(list(_DRIVER.iterdir())))] if _DRIVER.is_dir() else []
