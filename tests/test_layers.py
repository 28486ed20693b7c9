"""The layers of the package: an import may only point down. Read from the source, not from a running program."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "pipeline"

# Level of a module, by its longest prefix; a module may import from its own room or from below.
LEVELS = {
    "errors": 0,
    "metrics": 0,
    "models.recurrent": 0,
    "settings": 1,
    "samples": 1,
    "recipe": 1,
    "paths": 1,
    "online": 1,
    "pins": 1,
    "fetched": 1,
    "trouble": 1,
    "depths": 1,
    "folder": 1,
    "recipe_file": 1,
    "unusual": 2,
    "data": 2,
    "models": 2,
    "training": 2,
    "tasks": 3,
    "hub": 4,
    "loaded": 4,
    "run": 5,
    "doctor": 6,
    "fetch": 6,
    "report": 6,
    "commands": 7,
    "cli": 8,
    "": 9,
}
MODULES = sorted(PACKAGE.rglob("*.py"))


def level(module: str) -> tuple[int, str]:
    parts = module.split(".")
    prefixes = [".".join(parts[:size]) for size in range(len(parts), -1, -1)]
    room = next(prefix for prefix in prefixes if prefix in LEVELS)
    return LEVELS[room], room


def name_of(file: Path) -> str:
    return ".".join(file.relative_to(PACKAGE).with_suffix("").parts).removesuffix("__init__").rstrip(".")


def imports_of(file: Path) -> list[str]:
    found = []
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level == 0 and (node.module or "").split(".")[0] == "pipeline":
            base = (node.module or "").removeprefix("pipeline").lstrip(".")
            found += [f"{base}.{alias.name}".lstrip(".") for alias in node.names]
        elif isinstance(node, ast.Import):
            found += [
                alias.name.removeprefix("pipeline.") for alias in node.names if alias.name.startswith("pipeline.")
            ]
    return found


@pytest.mark.parametrize("file", MODULES, ids=name_of)
def test_imports_point_down(file):
    own, room = level(name_of(file))
    for imported in imports_of(file):
        other, other_room = level(imported)
        assert other_room == room or other < own or (other == own == 1), f"{name_of(file)} imports {imported}"


TRAVELLING = sorted(set((PACKAGE / "models/recurrent").glob("*.py")) - {PACKAGE / "models/recurrent/__init__.py"})


@pytest.mark.parametrize("file", TRAVELLING, ids=lambda file: file.stem)
def test_code_that_travels_with_a_model_imports_nothing_of_ours(file):
    assert imports_of(file) == []
    relative = [
        node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.ImportFrom) and node.level
    ]
    siblings = {other.stem for other in TRAVELLING}
    assert all(node.level == 1 and node.module in siblings for node in relative)


@pytest.mark.parametrize("file", MODULES, ids=name_of)
def test_each_file_says_in_its_first_line_what_it_is_for(file):
    assert ast.get_docstring(ast.parse(file.read_text(encoding="utf-8")))
