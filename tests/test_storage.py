"""Files and folders are complete or absent, even if writing fails or several processes write the same."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pipeline import storage


def fill_with(text: str):
    def fill(folder: Path) -> None:
        (folder / "inner").mkdir()
        (folder / "inner/file").write_text(text)

    return fill


def content(folder: Path) -> str:
    return (folder / "inner/file").read_text()


def test_a_published_folder_replaces_an_earlier_one_and_leaves_nothing_next_to_it(tmp_path):
    target = tmp_path / "new/target"
    for text in ("one", "two"):
        storage.publish_folder(target, fill_with(text))
        assert content(target) == text
    assert list(target.parent.iterdir()) == [target]


def test_a_folder_that_cannot_be_filled_leaves_the_earlier_one_as_it_was(tmp_path):
    def fail(folder: Path) -> None:
        fill_with("half")(folder)
        raise OSError("disk full")

    target = tmp_path / "target"
    storage.publish_folder(target, fill_with("one"))
    with pytest.raises(OSError, match="disk full"):
        storage.publish_folder(target, fail)
    assert content(target) == "one"
    assert list(tmp_path.iterdir()) == [target]


def test_everything_in_a_folder_is_on_the_disk_before_the_folder_gets_its_name(tmp_path, monkeypatch):
    synced, fsync, rename, missing = set(), os.fsync, Path.rename, []

    def renamed(path, target):
        missing.extend(part for part in (path, *path.rglob("*")) if part.stat().st_ino not in synced)
        return rename(path, target)

    monkeypatch.setattr(os, "fsync", lambda handle: (synced.add(os.fstat(handle).st_ino), fsync(handle)))
    monkeypatch.setattr(Path, "rename", renamed)
    storage.publish_folder(tmp_path / "target", fill_with("one"), manifest=True)
    assert synced
    assert missing == []


def test_leftovers_of_a_killed_process_are_no_obstacle(tmp_path):
    target = tmp_path / "target"
    for name in (target.name, storage.ASIDE + target.name, storage.OLD + target.name):
        (tmp_path / name).mkdir()
        (tmp_path / name / "left").write_text("over")
    storage.publish_folder(target, fill_with("one"))
    assert list(tmp_path.iterdir()) == [target]
    assert [path.name for path in target.iterdir()] == ["inner"]


@pytest.mark.parametrize(("is_as_good", "kept"), [(True, "theirs"), (False, "ours")])
def test_of_two_processes_that_publish_the_same_folder_the_first_wins_if_its_folder_is_whole(
    tmp_path, is_as_good, kept
):
    target = tmp_path / "target"

    def fill(folder: Path) -> None:
        fill_with("ours")(folder)
        storage.publish_folder(target, fill_with("theirs"), keep_existing=lambda _: False)

    storage.publish_folder(target, fill, keep_existing=lambda path: is_as_good and path.exists())
    assert content(target) == kept
    assert list(tmp_path.iterdir()) == [target]


def test_a_manifest_finds_changes_in_any_subfolder(tmp_path):
    target = tmp_path / "target"
    storage.publish_folder(target, fill_with("one"), manifest=True)
    assert storage.damage(target) is None
    (target / "inner/file").write_text("two")
    assert storage.damage(target) == "inner/file is not what was written (sha256)"
    (target / "inner/file").write_text("three")
    assert storage.damage(target) == "inner/file has 5 bytes, was written with 3"
    (target / "inner/file").unlink()
    assert storage.damage(target) == "file cannot be read: No such file or directory"
