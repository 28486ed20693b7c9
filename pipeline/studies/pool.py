"""A fixed number of processes at a time: started in free places, asked to stop together, and collected at their end."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from pipeline.errors import Interrupted
from pipeline.studies.processes import Child, Job

POLL_SECONDS = 0.05
AT_ONCE = "stopped at once; the same command resumes every run from its last checkpoint"


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
            raise KeyboardInterrupt(AT_ONCE)
        if self.urgency:
            raise Interrupted


class Pool:
    """The processes of one command that run at the same time."""

    def __init__(self, environments: Sequence[Mapping[str, str]], say: Callable[[str], None]):
        """`environments`: one for each process that may run at the same time; `say` prints a line."""
        self.environments, self.say = environments, say
        self.children: dict[int, Child] = {}
        self.urgency = 0

    @property
    def is_full(self) -> bool:
        return len(self.children) == len(self.environments)

    def start(self, job: Job, lock: int) -> Child:
        """Start the process of `job`, whose `lock` is held, in a free place."""
        place = next(place for place in range(len(self.environments)) if place not in self.children)
        self.children[place] = Child(job, lock, self.environments[place])
        return self.children[place]

    def stop(self, urgency: int) -> None:
        """Pass signals up to `urgency` on to all processes; the first one lets them write their checkpoints."""
        if urgency == 1 and self.urgency == 0 and self.children:
            names = ", ".join(child.job.name for child in self.children.values())
            self.say(f"stopping; waiting for the checkpoint of {names} (Ctrl-C again to end at once)")
        self.urgency = urgency
        for child in self.children.values():
            child.ask_to_stop(urgency)

    def ended(self) -> Iterator[tuple[Child, int]]:
        """Each process that has ended, with its exit code. Its job is unlocked when the caller asks for the next one,
        so that no other command finds it before what has become of it is recorded."""
        for place, child in list(self.children.items()):
            code = child.poll()
            if code is not None:
                del self.children[place]
                yield child, code
                child.release()
