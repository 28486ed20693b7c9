"""How a command starts: what a signal does before training has begun, and how the libraries are imported."""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import signal
import sys
from collections.abc import Iterator
from types import FrameType

from pipeline.cli.quiet import quiet
from pipeline.errors import EXIT_CTRL_C, EXIT_INTERRUPTED, STOPPING, Interrupted

STOPPED = "stopped; everything written so far is complete, and the same command resumes from there"
# Of a command that leaves nothing to resume, or has not begun; one that does says more, in its KeyboardInterrupt.
KILLED = "stopped"


def stop_on_signals() -> None:
    """Let a signal end a run before training with the same exit code as during training: a scheduler requeues both."""
    for number in STOPPING:
        signal.signal(number, _interrupt)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise Interrupted


@contextlib.contextmanager
def _ending_at_once() -> Iterator[None]:
    """Let a signal end the process without an exception: raised within an import, it may be swallowed or turned into
    another one, and there is nothing to clean up yet."""
    replaced = {
        number: handler
        for number in STOPPING
        if (handler := signal.getsignal(number)) in (_interrupt, signal.default_int_handler)
    }
    for number, handler in replaced.items():
        ending = (STOPPED, EXIT_INTERRUPTED) if handler is _interrupt else (KILLED, EXIT_CTRL_C)
        signal.signal(number, lambda *_, ending=ending: _end(*ending))
    try:
        yield
    finally:
        for number, handler in replaced.items():
            signal.signal(number, handler)


def _end(message: str, code: int) -> None:
    print(message, file=sys.stderr, flush=True)
    os._exit(code)


@contextlib.contextmanager
def importing(*modules: str) -> Iterator[None]:
    """Import torch and the libraries of the Hub inside, quickly and silently.

    Args:
        modules: imported first: what the command will import only when it is called, from inside a function.

    Imports create millions of objects and almost no garbage, yet they trigger hundreds of collections, each of which
    visits everything that exists: a fifth of the time to import transformers. Afterwards `gc.freeze` takes what was
    imported out of later collections, including the one at exit, which is another fifth.
    """
    quiet()
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        with _ending_at_once():
            for module in modules:
                importlib.import_module(module)
            yield
    finally:
        gc.freeze()
        if was_enabled:
            gc.enable()
    quiet()
