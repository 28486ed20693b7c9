"""docs/tools.md names each test of this folder once, and the versions that are tested."""

from __future__ import annotations

import ast
import re
from collections import Counter
from pathlib import Path

from conftest import ROOT

HERE = Path(__file__).parent
PAGE = (ROOT / "docs/tools.md").read_text(encoding="utf-8")


def rows(text: str) -> list[list[str]]:
    """The cells of each row of a table, without its head."""
    found = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:2] == "| "]
    return [row for row in found if row[0] not in ("tool", "---")]


TOOLS, WORKS = rows(PAGE), rows(PAGE.partition("## What does not work")[0])


def functions_of_tests() -> list[str]:
    """The tests of each module that runs tools."""
    modules = [ast.parse(file.read_text(encoding="utf-8")) for file in HERE.glob("test_*.py") if file != Path(__file__)]
    functions = [node.name for module in modules for node in module.body if isinstance(node, ast.FunctionDef)]
    return [name for name in functions if name.startswith("test_")]


def test_each_row_of_what_works_names_a_test_and_each_test_has_a_row():
    named = [name for row in TOOLS for name in re.findall(r"`(test_\w+)`", row[-1])]
    assert Counter(named) == Counter(functions_of_tests())
    assert all(re.fullmatch(r"`test_\w+`", row[-1]) for row in WORKS)
    assert len(TOOLS) - len(WORKS) > 2


def test_the_versions_are_those_that_are_installed_for_the_tests():
    pins = dict(
        re.findall(r"^([\w.-]+)==([\w.]+)(?=$|; python_version >=)", (ROOT / "constraints.txt").read_text(), re.M)
    )
    for row in TOOLS:
        name, _, version = row[1].rpartition(" ")
        if name:
            assert pins[name] == version, row[0]
