"""Folders that are whole or absent: written aside, hashed, forced to the disk and only then given their name."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

MANIFEST = "manifest.json"
# What a killed process has not finished begins with the first.
ASIDE, OLD = ".writing-", ".old-"


def write(file: Path, text: str) -> None:
    """Write `text` aside, force it to the disk and rename, so that `file` is never half-written."""
    aside = file.with_name(ASIDE + file.name)
    aside.write_text(text, encoding="utf-8")
    sync(aside)
    aside.replace(file)
    sync(file.parent)


def sync(path: Path) -> None:
    """Force a file's bytes, or a folder's entries, to the disk before anything relies on them."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def publish(target: Path, fill: Callable[[Path], None]) -> None:
    """Let `fill` write files into a new folder, and call that `target` once every byte of it is on the disk."""
    aside = target.with_name(ASIDE + target.name)
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    try:
        fill(aside)
        seal(aside)
        _rename(aside, target)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)  # on a full disk its bytes are wanted
        raise


def seal(folder: Path) -> None:
    """Write the manifest of the files in `folder`, and force all of them to the disk."""
    files = [file for file in sorted(folder.iterdir()) if file.name != MANIFEST]
    facts = {file.name: {"sha256": _sha256(file), "bytes": file.stat().st_size} for file in files}
    (folder / MANIFEST).write_text(json.dumps(facts, indent=2), encoding="utf-8")
    for path in (*folder.iterdir(), folder):
        sync(path)


def _rename(aside: Path, target: Path) -> None:
    old = target.with_name(OLD + target.name)
    if target.exists():  # a damaged one
        target.replace(old)
    aside.rename(target)
    sync(target.parent)
    sync(target.parent.parent)
    shutil.rmtree(old, ignore_errors=True)


def _sha256(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as opened:
        while chunk := opened.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def discard(path: Path) -> None:
    """Remove a folder, or what stands in its place; of a link, not what it leads to."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def damage(folder: Path) -> str | None:
    """What of `folder` is not as it was written, or None."""
    try:
        files = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        for name, written in files.items():
            size = (folder / name).stat().st_size
            if size != written["bytes"]:
                return f"{name} has {size} bytes, was written with {written['bytes']}"
            if _sha256(folder / name) != written["sha256"]:
                return f"{name} is not what was written (sha256)"
    except OSError as error:
        return f"{Path(error.filename or folder).name} cannot be read: {error.strerror}"
    except (ValueError, TypeError, LookupError, AttributeError):
        return f"{MANIFEST} is damaged"
    return None


class Writer:
    """Writes beside what goes on, one thing at a time."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._error: Exception | None = None

    def submit(self, work: Callable[[], None]) -> None:
        """Do `work` in a thread; what was given before must have been waited for."""
        assert self._thread is None
        # A process that is told to leave at once does not wait for it: what is half-written has another name.
        self._thread = threading.Thread(target=self._do, args=(work,), name="checkpoint", daemon=True)
        self._thread.start()

    def _do(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:  # told to who waits
            self._error = error

    def wait(self) -> Exception | None:
        """Wait for what is under way, and return what it has raised."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        error, self._error = self._error, None
        return error

    @contextlib.contextmanager
    def running(self) -> Iterator[Writer]:
        """Whatever ends what is done inside, save an order to leave at once, nothing is being written afterwards.

        Raises:
            Exception: what was being written could not be.
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
