"""A thread that writes one checkpoint at a time during training."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator


class Writer:
    """Runs one piece of work at a time in a thread, and passes its error to whoever waits for it."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._error: Exception | None = None

    def submit(self, work: Callable[[], None]) -> None:
        """Start `work`; the previous work must have been waited for."""
        assert self._thread is None
        # A daemon: a process that must end at once does not wait for it. Half-written files have another name.
        self._thread = threading.Thread(target=self._do, args=(work,), name="checkpoint", daemon=True)
        self._thread.start()

    def _do(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:  # raised again by whoever waits
            self._error = error

    def wait(self) -> Exception | None:
        """Wait for the work under way, and return the error that it raised, if any."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        error, self._error = self._error, None
        return error

    @contextlib.contextmanager
    def running(self) -> Iterator[Writer]:
        """However the block ends, the last work is finished first. Only a KeyboardInterrupt does not wait for it.

        Raises:
            Exception: the work failed.
        """
        try:
            yield self
        except KeyboardInterrupt:
            raise
        except BaseException:
            self._raise_error()
            raise
        self._raise_error()

    def _raise_error(self) -> None:
        error = self.wait()
        if error is not None:
            raise error
