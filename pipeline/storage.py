"""Files and folders that are complete or absent: written under another name, flushed to disk, then renamed.

`write` and `published` do this for a file and `publish_folder` for a folder. A folder can carry a manifest with the
hash of each of its files, from which `damage` finds what has changed since.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

MANIFEST = "manifest.json"
# Prefixes of what a killed process may leave behind: a file or folder that it was writing, a folder that it was
# replacing.
ASIDE, OLD = ".writing-", ".old-"


def write(file: Path, text: str) -> None:
    """Write `text` to `file`, which is never seen half-written."""
    aside = file.with_name(ASIDE + file.name)
    aside.write_text(text, encoding="utf-8")
    sync(aside)
    aside.replace(file)
    sync(file.parent)


@contextlib.contextmanager
def published(file: Path) -> Iterator[Path]:
    """The name of a new file that becomes `file` once the block is done; if the block raises, nothing is left of it."""
    aside = file.with_name(f"{ASIDE}{uuid.uuid4().hex[:8]}-{file.name}")
    try:
        yield aside
        sync(aside)
        aside.replace(file)
        sync(file.parent)
    finally:
        aside.unlink(missing_ok=True)


def publish_folder(
    target: Path,
    fill: Callable[[Path], None],
    *,
    manifest: bool = False,
    keep_existing: Callable[[Path], bool] | None = None,
) -> None:
    """Make the folder `target`: let `fill` write its files to a temporary folder, flush them to disk, and rename it.

    If `fill` raises, everything that it wrote is removed, and an earlier `target` stays as it was.

    Args:
        target: replaced if it exists; missing parents are created.
        fill: called with a new, empty folder next to `target`.
        manifest: whether to add a file with the size and hash of each other file, see `damage`.
        keep_existing: for a `target` that several processes may publish at once. Called when ours is ready, it says
            whether the one in place is as good; if so, that is kept and ours is thrown away.

    Raises:
        OSError: the disk is full, or the folder cannot be written to. Exceptions of `fill` pass unchanged.
    """
    aside = target.with_name(ASIDE + target.name)
    if keep_existing is not None:  # another process may be doing the same
        aside = aside.with_name(f"{aside.name}-{uuid.uuid4().hex[:8]}")
    _make_empty(aside)
    try:
        fill(aside)
        if manifest:
            seal(aside)
        else:
            sync_tree(aside)
        _rename(aside, target, keep_existing or (lambda _: False))
    finally:
        shutil.rmtree(aside, ignore_errors=True)  # gone if renamed; else its bytes may be what a full disk lacks


def _make_empty(folder: Path) -> None:
    is_first = not folder.parent.is_dir()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    if is_first:
        sync(folder.parent.parent)


def _rename(aside: Path, target: Path, keep_existing: Callable[[Path], bool]) -> None:
    if keep_existing(target):
        return
    old = target.with_name(OLD + target.name)
    try:
        if target.exists() or target.is_symlink():
            discard(old)
            target.rename(old)
        aside.rename(target)
    except OSError:
        if not keep_existing(target):  # no other process was faster
            raise
        return
    sync(target.parent)
    with contextlib.suppress(OSError):
        discard(old)


def seal(folder: Path) -> None:
    """Add the manifest of the files in `folder`, and flush all of them to disk."""
    files = [file for file in sorted(folder.rglob("*")) if file.is_file() and file != folder / MANIFEST]
    entries = {str(file.relative_to(folder)): _entry(file) for file in files}
    (folder / MANIFEST).write_text(json.dumps(entries, indent=2), encoding="utf-8")
    sync_tree(folder)


def damage(folder: Path) -> str | None:
    """What in `folder` differs from its manifest, in a few words; None if nothing does."""
    try:
        entries = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        for name, written in entries.items():
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


def _entry(file: Path) -> dict[str, Any]:
    return {"sha256": _sha256(file), "bytes": file.stat().st_size}


def _sha256(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as opened:
        while chunk := opened.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def sync(path: Path) -> None:
    """Flush a file's bytes, or a folder's entries, to disk before anything relies on them."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_tree(folder: Path) -> None:
    """`sync` everything in `folder`, and `folder` itself."""
    for path in (*folder.rglob("*"), folder):
        sync(path)


def discard(path: Path) -> None:
    """Remove a file, a folder or a link, if there is one; the target of a link stays."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
