"""docs/tools.md names each test of this folder once, and the versions that are tested."""

from __future__ import annotations

import ast
import re
from collections import Counter
from pathlib import Path

from conftest import ROOT

HERE = Path(__file__).parent
PAGE = (ROOT / "docs/tools.md").read_text(encoding="utf-8")
ROWS = [[cell.strip() for cell in line.strip("|").split("|")] for line in PAGE.splitlines() if line.startswith("| ")]
TOOLS = [row for row in ROWS if row[0] not in ("tool", "---")]


def functions_of_tests() -> list[str]:
    """The tests of each module that runs tools."""
    modules = [ast.parse(file.read_text(encoding="utf-8")) for file in HERE.glob("test_*.py") if file != Path(__file__)]
    functions = [node.name for module in modules for node in module.body if isinstance(node, ast.FunctionDef)]
    return [name for name in functions if name.startswith("test_")]


def test_each_row_of_what_works_names_a_test_and_each_test_has_a_row():
    named = [name for row in TOOLS for name in re.findall(r"`(test_\w+)`", row[-1])]
    assert Counter(named) == Counter(functions_of_tests())
    works, fails = PAGE.split("## What does not work")
    assert all(
        line.rstrip(" |").endswith("`") for line in works.splitlines() if line.startswith("| ") and "test_" in line
    )
    assert fails.count("\n| ") > 2


def test_the_versions_are_those_that_are_installed_for_the_tests():
    pins = dict(
        re.findall(r"^([\w.-]+)==([\w.]+)(?=$|; python_version >=)", (ROOT / "constraints.txt").read_text(), re.M)
    )
    for row in TOOLS:
        name, _, version = row[1].rpartition(" ")
        if name:
            assert pins[name] == version, row[0]
