"""Answers the texts of concurrent requests together: a queue, and one thread that runs the model."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, NamedTuple

# Contents and options -> an answer for each content, in order.
Predict = Callable[[list[Any], dict[str, Any]], Iterable[dict[str, Any]]]
# Called with the number of texts of a batch and the seconds that the model took.
Report = Callable[[int, float], None]

# Batches that are taken from the queue at a time: the more, the more alike are the lengths in each of them.
BATCHES_AT_ONCE = 4


class QueueFull(Exception):
    """Too many texts are waiting, so no more are accepted."""


@dataclass
class Job:
    """The texts of one request.

    Attributes:
        future: gets the list of answers, or the exception that one of the texts has caused.
    """

    contents: list[Any]
    options: dict[str, Any]
    future: Future[list[dict[str, Any]]] = field(default_factory=Future)
    answers: dict[int, dict[str, Any]] = field(default_factory=dict)

    def put(self, number: int, answer: dict[str, Any]) -> None:
        self.answers[number] = answer
        if len(self.answers) == len(self.contents):
            with contextlib.suppress(InvalidStateError):  # the client has gone
                self.future.set_result([self.answers[text] for text in range(len(self.contents))])

    def fail(self, error: Exception) -> None:
        with contextlib.suppress(InvalidStateError):
            self.future.set_exception(error)


class Text(NamedTuple):
    """A text of a job that waits."""

    job: Job
    number: int
    arrived: float

    @property
    def content(self) -> Any:
        return self.job.contents[self.number]

    @property
    def kind(self) -> str:
        """What the texts of a batch have in common: the options, and being all texts, pairs or lists of words."""
        return repr((sorted(self.job.options.items()), type(self.content)))

    @property
    def length(self) -> int:
        return len(self.content) if isinstance(self.content, str) else sum(map(len, self.content))


class Batcher:
    """Runs the model in a thread of its own, on batches of the texts that wait.

    Args:
        batch_size: texts in a batch, at most.
        wait: seconds that a text waits for others, at most, while the model is free.
        max_queue: texts that may wait at a time.
    """

    def __init__(
        self,
        predict: Predict,
        batch_size: int,
        wait: float,
        max_queue: int,
        report: Report = lambda size, seconds: None,
    ):
        self._predict, self._report = predict, report
        self._batch_size, self._wait, self._max_queue = batch_size, wait, max_queue
        self._queue: deque[Text] = deque()
        self._changed = threading.Condition()
        self._is_stopped = False
        # A daemon: a model that does not return must not keep the process alive.
        self._thread = threading.Thread(target=self._work, name="model", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """The number of texts that wait."""
        return len(self._queue)

    def submit(self, contents: Sequence[Any], options: dict[str, Any]) -> Future[list[dict[str, Any]]]:
        """Queue the texts of a request; without any, the answer is there at once. Texts of a future that is cancelled
        before their turn do not go through the model.

        Raises:
            QueueFull: there is no room for all of them.
        """
        job, now = Job(list(contents), options), time.monotonic()
        if not job.contents:
            job.future.set_result([])
            return job.future
        with self._changed:
            if len(self._queue) + len(job.contents) > self._max_queue:
                # Clients that have gone must not keep a place from others.
                live = [text for text in self._queue if not text.job.future.done()]
                if len(live) + len(job.contents) > self._max_queue:
                    raise QueueFull
                self._queue = deque(live)  # only now: the thread ends if it wakes up and finds none
            self._queue.extend(Text(job, number, now) for number in range(len(job.contents)))
            self._changed.notify()
        return job.future

    def stop(self, seconds: float) -> bool:
        """End the thread once it has answered what waits, and return whether it has ended within this many seconds."""
        with self._changed:
            self._is_stopped = True
            self._changed.notify()
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _work(self) -> None:
        while texts := self._next():
            for batch in self._batches(texts):
                self._answer(batch)

    def _next(self) -> list[Text]:
        """The texts that have waited longest, once there are enough for a batch or the first has waited long enough;
        none after `stop`."""
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._is_stopped)
            while self._queue and len(self._queue) < self._batch_size and not self._is_stopped:
                remaining = self._queue[0].arrived + self._wait - time.monotonic()
                if remaining <= 0.0:
                    break
                self._changed.wait(remaining)
            count = min(len(self._queue), BATCHES_AT_ONCE * self._batch_size)
            return [self._queue.popleft() for _ in range(count)]

    def _batches(self, texts: list[Text]) -> Iterator[list[Text]]:
        """Batches of one kind, and of similar lengths."""
        texts.sort(key=lambda text: (text.kind, text.length))
        for _, alike in groupby(texts, key=lambda text: text.kind):
            own = list(alike)
            for start in range(0, len(own), self._batch_size):
                yield own[start : start + self._batch_size]

    def _answer(self, batch: list[Text]) -> None:
        """Answer the texts of a batch. If the model fails, the texts of each job are tried again without the others."""
        batch = [text for text in batch if not text.job.future.done()]  # cancelled, or another text of it has failed
        if not batch:
            return
        started = time.perf_counter()
        try:
            answers = self._predict([text.content for text in batch], batch[0].job.options)
            for text, answer in zip(batch, list(answers), strict=True):
                text.job.put(text.number, answer)
        except Exception as error:  # whatever the model raises belongs to the request, not to this thread
            jobs = {id(text.job): text.job for text in batch}
            if len(jobs) == 1:
                batch[0].job.fail(error)
                return
            for job in jobs.values():
                self._answer([text for text in batch if text.job is job])
        else:
            self._report(len(batch), time.perf_counter() - started)
