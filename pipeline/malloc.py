"""Has glibc's malloc keep the memory that the process frees: training soon needs tensors of the same size again.

By default it returns them to the system, which clears every page before it hands it out again. For the layers of a
recurrent model this takes a third of the time.

Attributes:
    is_set_up: whether `keep_freed_memory` has done so.
"""

from __future__ import annotations

import functools
import os
from typing import Any

# Options of mallopt(3), with the numbers of malloc.h -> values, of which the first that is accepted is taken. Setting
# any of them switches off that malloc adapts the others, so none is left out.
OPTIONS = {
    # M_MMAP_THRESHOLD: smaller blocks come from the heap, as a mapping of its own is returned when freed. Older
    # versions of glibc accept no more than 32 MiB.
    -3: (1 << 30, 32 << 20),
    -1: (2**31 - 1,),  # M_TRIM_THRESHOLD: how much may be free at the end of the heap
    -2: (64 << 20,),  # M_TOP_PAD: how much the heap grows by at least
}
# A user who has set malloc up is left alone.
BY_USER = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "MALLOC_TOP_PAD_", "GLIBC_TUNABLES")

is_set_up = False


def keep_freed_memory() -> None:
    """Set malloc up for this process, if it is glibc's and its user has not. Only a command does this: a program that
    uses this package as a library has a heap of its own to care for."""
    global is_set_up
    libc, preloaded = _glibc(), os.environ.get("LD_PRELOAD", "")
    if libc is None or "malloc" in preloaded or any(name in os.environ for name in BY_USER):
        return  # jemalloc, tcmalloc and mimalloc are preloaded
    # Not the others if the first is refused: its threshold would stay at 128 KiB.
    is_set_up = all(any(libc.mallopt(option, value) == 1 for value in values) for option, values in OPTIONS.items())


def release() -> None:
    """Return free memory to the system, before the memory in use is measured."""
    if (libc := _glibc()) is not None:
        libc.malloc_trim(0)


@functools.cache
def _glibc() -> Any:
    """The C library of this process if it is glibc, else None."""
    try:
        name = os.confstr("CS_GNU_LIBC_VERSION")
    except (AttributeError, ValueError):  # not on Windows; not on macOS or with musl
        return None
    if not name:
        return None
    import ctypes

    return ctypes.CDLL(None)
