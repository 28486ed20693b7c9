"""Locks that belong to living processes: the system releases them when their holders end, however they end."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path


def acquire(file: Path) -> int | None:
    """Lock `file`, which is created if necessary, and return its descriptor; None if another process holds it.

    A child that inherits the descriptor shares the lock: it is free once all who share it have closed it or ended.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def release(descriptor: int) -> None:
    """Give up a lock, unless a child shares it."""
    os.close(descriptor)


def wait_for(file: Path) -> int:
    """Lock `file` as `acquire` does, after waiting for it if another process holds it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    return descriptor


@contextlib.contextmanager
def held(file: Path) -> Iterator[None]:
    """Hold the lock on `file`, after waiting for it if another process does."""
    descriptor = wait_for(file)
    try:
        yield
    finally:
        release(descriptor)


def is_held(file: Path) -> bool:
    """Whether a living process holds the lock on `file`."""
    if not file.is_file():
        return False
    descriptor = acquire(file)
    if descriptor is None:
        return True
    os.close(descriptor)
    return False
