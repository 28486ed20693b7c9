"""The one exception that a user's mistake raises, and the one line that it prints.

Everything else that is raised is a fault of ours and keeps its traceback.
"""

from __future__ import annotations

import contextlib
import difflib
import errno
import os
import re
import signal
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType

EXIT_USER_ERROR = 2
EXIT_LOST = 69  # EX_UNAVAILABLE: another process of the run has died, and this one with it
EXIT_INTERRUPTED = 75  # EX_TEMPFAIL: stopped by a signal, to be continued; a scheduler may requeue
STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)  # what asks a run to stop in this way

DISK_TROUBLE = {
    getattr(errno, name)
    for name in ("ENOSPC", "EDQUOT", "EFBIG", "EROFS", "EACCES", "EPERM", "EIO", "ENOTDIR", "EISDIR", "EEXIST")
}
_OS_ERROR = re.compile(r"\(os error (\d+)\)")  # as Rust writes it

SHOWN_NAMES = 20
# `json.decoder.JSONDecodeError: `, also in the middle of a message
_CLASS_NAME = re.compile(r"\b(?:\w+\.)*\w+(?:Error|Exception)\b(?:\(\w*\))?:?\s*")


class UserError(ValueError):
    """A mistake that the user can mend: `where` it is, what is wrong, and the remedy, in one line.

    Args:
        message: one line; names the setting, file or row, the value found and what to do.
    """

    def __init__(self, message: str):
        super().__init__(" ".join(str(message).split()))


class Interrupted(BaseException):
    """A run that stopped on a signal; what it has written is complete, and the same command continues it.

    As KeyboardInterrupt, no Exception: it may be raised anywhere, also in a library that goes on after errors.
    """


def suggest(name: str, known: Iterable[str]) -> str:
    """`"; did you mean X?"` for the name in `known` that is nearest to `name`, else the list of them."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    return f"; did you mean {near[0]}?" if near else f"; there are: {listing(names)}"


def listing(names: Sequence[str]) -> str:
    """Names for a message: however many or long they are, it stays one that can be read."""
    shown = [shorten(name, 60) for name in names[:SHOWN_NAMES]]
    return ", ".join(shown) + f" and {len(names) - SHOWN_NAMES} more" * (len(names) > SHOWN_NAMES)


def shorten(text: str, length: int) -> str:
    """`text`, or its beginning with three dots."""
    return text if len(text) <= length else f"{text[: length - 3]}..."


@contextlib.contextmanager
def writing(setting: str, folder: Path) -> Iterator[None]:
    """Tell in one line that `folder`, which `setting` names, cannot be written to: a full disk is no fault of ours.

    Raises:
        UserError: what was done inside failed for the disk's sake; whatever else it raises passes.
    """
    try:
        yield
    except Exception as error:
        told = _disk_trouble(error)
        if told is None:
            raise
        raise UserError(f"{setting}: cannot write to {folder}: {told}; make room or name another folder") from error


def _disk_trouble(error: Exception) -> str | None:
    """What the disk told, also where a library has made an exception of its own of it."""
    found = _OS_ERROR.search(str(error))
    number = int(found[1]) if found else getattr(error, "errno", None)
    return os.strerror(number) if isinstance(number, int) and number in DISK_TROUBLE else None


def reason(error: BaseException) -> str:
    """What a library says went wrong, as a part of our line: short, without the names of exception classes."""
    told = _CLASS_NAME.sub("", " ".join(str(error).split()))
    return shorten(told.replace("Error", "error").replace("Exception", "exception"), 300) or "no reason given"


def report(error: UserError) -> int:
    """Print `error` as one line on stderr and return the exit code that goes with it."""
    print(f"error: {error}", file=sys.stderr)
    return EXIT_USER_ERROR


def _hook(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    if isinstance(error, UserError):
        raise SystemExit(report(error))
    sys.__excepthook__(kind, error, traceback)


def install_hook() -> None:
    """Let a recipe file that is run as a script refuse its own mistakes in one line, too.

    The mistake is raised while the file builds its `Recipe`, before any function of ours is called, so only the
    interpreter's last resort can shorten it. A hook that someone else has installed is left in place.
    """
    if sys.excepthook is sys.__excepthook__:
        sys.excepthook = _hook
