"""What a command tells malloc, and that a program which uses the package as a library is left alone."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from pipeline import malloc

pytestmark = pytest.mark.skipif(malloc._glibc() is None, reason="this system has another C library than glibc")


def printed(code: str, **environment: str) -> str:
    plain = {name: value for name, value in os.environ.items() if name not in malloc.BY_USER}
    result = subprocess.run(
        [sys.executable, "-c", code], env={**plain, **environment}, capture_output=True, text=True, check=True
    )
    return result.stdout.strip()


class Accepting:
    """A glibc whose threshold for mappings is at most `most` bytes."""

    def __init__(self, most: int):
        self.most = most
        self.accepted: dict[int, int] = {}

    def mallopt(self, option: int, value: int) -> int:
        if option == -3 and value > self.most:
            return 0
        self.accepted[option] = value
        return 1


SET_UP = "from pipeline import malloc; malloc.keep_freed_memory(); print(malloc.is_set_up)"


def test_glibc_is_set_up():
    assert printed(SET_UP) == "True"


@pytest.mark.parametrize("name", malloc.BY_USER)
def test_a_user_who_has_set_malloc_up_is_left_alone(name):
    assert printed(SET_UP, **{name: "glibc.malloc.check=0" if name == "GLIBC_TUNABLES" else "1000000"}) == "False"


def test_another_malloc_is_left_alone(monkeypatch):
    libc = Accepting(most=1 << 40)
    monkeypatch.setattr(malloc, "_glibc", lambda: libc)
    monkeypatch.setattr(malloc, "is_set_up", False)
    monkeypatch.setenv("LD_PRELOAD", "/usr/lib/libjemalloc.so.2")
    for name in malloc.BY_USER:
        monkeypatch.delenv(name, raising=False)
    malloc.keep_freed_memory()
    assert not malloc.is_set_up
    assert not libc.accepted


@pytest.mark.parametrize(("most", "threshold"), [(1 << 40, 1 << 30), (32 << 20, 32 << 20), (0, None)])
def test_an_older_glibc_gets_the_threshold_that_it_accepts_or_is_left_as_it_is(monkeypatch, most, threshold):
    libc = Accepting(most)
    monkeypatch.setattr(malloc, "_glibc", lambda: libc)
    monkeypatch.setattr(malloc, "is_set_up", False)
    for name in (*malloc.BY_USER, "LD_PRELOAD"):
        monkeypatch.delenv(name, raising=False)
    malloc.keep_freed_memory()
    assert malloc.is_set_up == (threshold is not None)
    assert libc.accepted == ({} if threshold is None else {-3: threshold, -1: 2**31 - 1, -2: 64 << 20})


def test_freed_memory_is_kept_until_it_is_released():
    code = """
import ctypes, sys
from pathlib import Path
from pipeline import malloc
def pages(): return int(Path("/proc/self/statm").read_text().split()[1])
malloc.keep_freed_memory()
before = pages()
block = bytearray(100 << 20)
del block
kept = pages() - before
malloc.release()
print(kept * 4096 >> 20 >= 99, (pages() - before) * 4096 >> 20 < 10)
"""
    assert printed(code) == "True True"


def test_a_command_sets_malloc_up_and_an_import_does_not():
    command = "import contextlib, sys; sys.argv = ['finetune']; from pipeline.cli.main import entry\n"
    command += "with contextlib.suppress(SystemExit): entry()"
    assert printed(f"{command}\nfrom pipeline import malloc; print(malloc.is_set_up)").endswith("True")
    assert printed("import pipeline.cli.main; from pipeline import malloc; print(malloc.is_set_up)") == "False"
