"""Computes items in a thread, a few ahead of their use: tokenizers work without Python's lock."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterable
from typing import TypeVar

Item = TypeVar("Item")

_END = object()


def ahead(items: Iterable[Item], size: int = 2) -> Generator[Item]:
    """`items`, in order, with up to `size` of them computed in advance; an exception is raised where it is reached.

    If the caller closes it early, the thread stops after the item that it is at.
    """
    ready: queue.Queue[tuple[object, BaseException | None]] = queue.Queue(size)
    stopped = threading.Event()

    def put(item: object, error: BaseException | None = None) -> None:
        while not stopped.is_set():
            try:
                return ready.put((item, error), timeout=0.1)
            except queue.Full:
                continue

    def work() -> None:
        try:
            for item in items:
                put(item)
                if stopped.is_set():
                    return
            put(_END)
        except BaseException as error:
            put(_END, error)

    thread = threading.Thread(target=work, name="encoding", daemon=True)
    thread.start()
    try:
        while True:
            item, error = ready.get()
            if error is not None:
                raise error
            if item is _END:
                return
            yield item  # type: ignore[misc]
    finally:
        stopped.set()
        thread.join()
