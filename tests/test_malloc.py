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


SET_UP = "from pipeline import malloc; malloc.keep_freed_memory(); print(malloc.is_set_up)"


def test_glibc_is_set_up():
    assert printed(SET_UP) == "True"


@pytest.mark.parametrize("name", malloc.BY_USER)
def test_a_user_who_has_set_malloc_up_is_left_alone(name):
    assert printed(SET_UP, **{name: "glibc.malloc.check=0" if name == "GLIBC_TUNABLES" else "1000000"}) == "False"


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
