"""The layers and folders of the package: imports point down, and modules and functions stay small.

Everything is read from the source, not from a running program.
"""

from __future__ import annotations

import ast
import functools
import graphlib
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "pipeline"

# From the bottom up: a folder, or a module of the root, may import from those above it in this list, and a folder from
# itself. A module belongs to the longest prefix of its name.
LAYERS = (
    "errors",
    "signals",
    "storage",
    "locks",
    "malloc",
    "models.recurrent",
    "config",
    "run_folder",
    "predictions",
    "hub",
    "models",
    "data",
    "metrics",
    "training.divergences",
    "tasks",
    "training.hardware",
    "training.seeding",
    "training.signals",
    "training.optim",
    "training.loss",
    "training.selection",
    "training.distributed",
    "training.unfreezing",
    "training.averaging",
    "training.checkpointing.serialization",
    "training.hidden_state",
    "training.budget",
    "training.step",
    "training.evaluation",
    "training.checkpointing",
    "training.monitoring",
    "training.trainer",
    "training.batch_size_finder",
    "training.answering_speed",
    "publish",
    "assembly",
    "inference",
    "distil",
    "saving",
    "export",
    "rehearsal",
    "run",
    "compare",
    "doctor",
    "fetch",
    "studies",
    "serving",
    "demo",
    "cli",
    "__init__",
    "__main__",
)
MODULES = sorted(PACKAGE.rglob("*.py"))


@functools.cache
def tree_of(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def is_empty(file: Path) -> bool:
    """Whether `file` contains only a docstring, like the `__init__` of a folder."""
    return len(tree_of(file).body) == 1


# What has a level: every module with code in it.
LEVELLED = [file for file in MODULES if not is_empty(file)]


def room_of(module: str) -> str:
    """The folder, or the module of the root, that `module` belongs to.

    Raises:
        LookupError: it has no level.
    """
    parts = module.split(".")
    prefixes = [".".join(parts[:size]) for size in range(len(parts), 0, -1)]
    room = next((prefix for prefix in prefixes if prefix in LAYERS), None)
    if room is None:
        raise LookupError(f"{module} has no level; give its folder a place in LAYERS")
    return room


def name_of(file: Path) -> str:
    return ".".join(file.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")


def imports_of(file: Path) -> list[str]:
    found = []
    for node in ast.walk(tree_of(file)):
        if isinstance(node, ast.ImportFrom) and node.level == 0 and (node.module or "").split(".")[0] == "pipeline":
            base = (node.module or "").removeprefix("pipeline").lstrip(".")
            found += [f"{base}.{alias.name}".lstrip(".") for alias in node.names]
        elif isinstance(node, ast.Import):
            found += [
                alias.name.removeprefix("pipeline.") for alias in node.names if alias.name.startswith("pipeline.")
            ]
    return found


NAMES = {name_of(file) for file in MODULES}


def modules_of(imported: str) -> str:
    """The module that an imported name, a module or something in one, belongs to."""
    parts = imported.split(".")
    found = [".".join(parts[:size]) for size in range(len(parts), 0, -1)]
    return next((name for name in found if name in NAMES), "__init__")


def is_above(imported: str, module: str) -> bool:
    room, own = room_of(imported), room_of(module)
    return room != own and LAYERS.index(room) >= LAYERS.index(own)


def test_imports_point_down():
    found = [(name_of(file), imported) for file in LEVELLED for imported in map(modules_of, imports_of(file))]
    assert [f"{module} imports {imported}" for module, imported in found if is_above(imported, module)] == []


def test_there_are_no_import_cycles():
    graph = {name_of(file): set(map(modules_of, imports_of(file))) - {"__init__"} for file in MODULES}
    sorted_ = list(graphlib.TopologicalSorter(graph).static_order())
    assert set(graph) <= set(sorted_)


def test_every_level_belongs_to_an_existing_module():
    rooms = {room_of(name_of(file)) for file in LEVELLED}
    assert rooms == set(LAYERS)


TRAVELLING = sorted(set((PACKAGE / "models/recurrent").glob("*.py")) - {PACKAGE / "models/recurrent/__init__.py"})


@pytest.mark.parametrize("file", TRAVELLING, ids=lambda file: file.stem)
def test_code_saved_with_a_model_does_not_import_this_package(file):
    assert imports_of(file) == []
    relative = [node for node in ast.walk(tree_of(file)) if isinstance(node, ast.ImportFrom) and node.level]
    siblings = {other.stem for other in TRAVELLING}
    assert all(node.level == 1 and node.module in siblings for node in relative)


def test_each_file_says_in_its_first_line_what_it_is_for():
    assert [name_of(file) for file in MODULES if not ast.get_docstring(tree_of(file))] == []


# Lines of a module; the models and their heads belong in one file, as in transformers.
LONGEST_MODULE = 400
LONGEST = {"models.recurrent.modeling_recurrent": 640}
LONGEST_FUNCTION = 45
FEW_MODULES = 3


def test_a_module_stays_small():
    lines = {name_of(file): len(file.read_text(encoding="utf-8").splitlines()) for file in MODULES}
    assert {name: count for name, count in lines.items() if count > LONGEST.get(name, LONGEST_MODULE)} == {}


def lines_of(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function without its docstring."""
    size = function.end_lineno - function.lineno + 1
    if ast.get_docstring(function):
        docstring = function.body[0]
        size -= docstring.end_lineno - docstring.lineno + 1
    return size


def functions_of(file: Path) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    return [node for node in ast.walk(tree_of(file)) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]


def test_a_function_stays_small():
    lines = [(name_of(file), function.name, lines_of(function)) for file in MODULES for function in functions_of(file)]
    assert [found for found in lines if found[-1] > LONGEST_FUNCTION] == []


ROOMS = sorted({file.parent for file in MODULES} - {PACKAGE})


@pytest.mark.parametrize("room", ROOMS, ids=lambda room: room.relative_to(PACKAGE).as_posix())
def test_a_folder_of_many_modules_says_how_they_hang_together(room):
    modules = {file.stem for file in room.glob("*.py")} - {"__init__"}
    docstring = ast.get_docstring(tree_of(room / "__init__.py"))
    if len(modules) > FEW_MODULES:
        assert [name for name in sorted(modules) if name not in docstring] == []


def test_no_two_test_modules_have_the_same_name():
    names = [file.name for file in Path(__file__).parent.rglob("test_*.py")]
    assert sorted(name for name in set(names) if names.count(name) > 1) == []
