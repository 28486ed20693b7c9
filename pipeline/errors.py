"""The exception for mistakes that a user can fix, and the single line that it prints.

Any other exception is a bug and keeps its traceback.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import signal
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType

EXIT_USER_ERROR = 2
EXIT_LOST = 69  # EX_UNAVAILABLE: another process of the run has died, so this one cannot continue
EXIT_INTERRUPTED = 75  # EX_TEMPFAIL: stopped by a signal and can be resumed; a scheduler may requeue the job
EXIT_CTRL_C = 130
STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)  # signals that stop a run with EXIT_INTERRUPTED

DISK_ERRORS = {
    getattr(errno, name)
    for name in ("ENOSPC", "EDQUOT", "EFBIG", "EROFS", "EACCES", "EPERM", "EIO", "ENOTDIR", "EISDIR", "EEXIST")
}
_RUST_OS_ERROR = re.compile(r"\(os error (\d+)\)")  # safetensors and tokenizers format an OS error like this

SHOWN_NAMES = 20
# `json.decoder.JSONDecodeError: `, also in the middle of a message
_CLASS_NAME = re.compile(r"\b(?:\w+\.)*\w+(?:Error|Exception)\b(?:\(\w*\))?:?\s*")


class UserError(ValueError):
    """A mistake that the user can fix. Its message says in one line where it is, what is wrong, and how to fix it.

    Args:
        message: names the setting, file or row, the value found there, and what to do. Line breaks become spaces.
    """

    def __init__(self, message: str):
        super().__init__(" ".join(str(message).split()))


class Interrupted(BaseException):
    """A signal stopped the run; everything it has written is complete, and the same command resumes it.

    Like KeyboardInterrupt, it is not an Exception, so a library that catches exceptions does not swallow it.
    """


def suggest(name: str, known: Iterable[str]) -> str:
    """`"; did you mean X?"` for the known name closest to `name`, or the list of known names if none is close."""
    import difflib  # only here: every command imports this module before anything else

    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    return f"; did you mean {near[0]}?" if near else f"; there are: {listing(names)}"


def listing(names: Sequence[str]) -> str:
    """Names, separated by commas, for a message; many or long ones are abbreviated."""
    shown = [shorten(name, 60) for name in names[:SHOWN_NAMES]]
    return ", ".join(shown) + f" and {len(names) - SHOWN_NAMES} more" * (len(names) > SHOWN_NAMES)


def shorten(text: str, length: int) -> str:
    """`text`, cut to `length` characters that end with three dots if it is longer."""
    return text if len(text) <= length else f"{text[: length - 3]}..."


@contextlib.contextmanager
def writing(setting: str, folder: Path) -> Iterator[None]:
    """Report a full or read-only disk in one line that names `folder` and the `setting` that chose it.

    Raises:
        UserError: the block failed because of the disk. Other exceptions pass unchanged.
    """
    try:
        yield
    except Exception as error:  # libraries wrap the error of the system in their own
        found = _disk_error(error)
        if found is None:
            raise
        raise UserError(f"{setting}: cannot write to {folder}: {found}; make room or name another folder") from error


def _disk_error(error: Exception) -> str | None:
    """The operating system's message if `error` comes from the disk, even if a library has wrapped it."""
    found = _RUST_OS_ERROR.search(str(error))
    number = int(found[1]) if found else getattr(error, "errno", None)
    return os.strerror(number) if isinstance(number, int) and number in DISK_ERRORS else None


def reason(error: BaseException) -> str:
    """The message of a library's exception, for use in our own line: short, without the names of exception classes."""
    message = _CLASS_NAME.sub("", " ".join(str(error).split()))
    return shorten(message.replace("Error", "error").replace("Exception", "exception"), 300) or "no reason given"


def report(error: UserError) -> int:
    """Print `error` as one line on stderr and return the exit code for it."""
    print(f"error: {error}", file=sys.stderr)
    return EXIT_USER_ERROR


def _hook(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    if isinstance(error, UserError):
        raise SystemExit(report(error))
    sys.__excepthook__(kind, error, traceback)


def install_hook() -> None:
    """Report a mistake in one line also if a recipe is run as a script.

    The script raises it while it builds its `Recipe`, before it calls any function of ours, so only `sys.excepthook`
    can shorten it. The hook is installed when the running program itself imports `main`, as recipes do; notebooks and
    applications keep their own, and so does a script that has set one.
    """
    if sys.excepthook is sys.__excepthook__:
        sys.excepthook = _hook
