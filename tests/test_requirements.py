"""What is installed: every import is required, every requirement pinned, no pin built without a reason."""

from __future__ import annotations

import ast
import importlib.metadata
import re
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from io import BytesIO

import pytest
from conftest import ROOT
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

if sys.version_info < (3, 11):
    import tomli as tomllib
else:
    import tomllib

sys.path.insert(0, str(ROOT / "scripts"))
from try_pythons import lowest, summary
from wheels import PYTHONS, name_of, problems, read_pins, read_reasons

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CONSTRAINTS = (ROOT / "constraints.txt").read_text()
MINIMUM = (ROOT / "constraints-min.txt").read_text()
# Packages whose name is not that of their module.
PACKAGES = {"sklearn": "scikit-learn", "tensorflow": "tensorflow-cpu", "yaml": "pyyaml"}
# Imported if the user has it (spacy), by type checkers only, or as a part of Python from 3.11 on (tomllib).
OPTIONAL = {"spacy", "-typeshed", "tomllib"}


def required(*extras: str) -> list[Requirement]:
    """The requirements of the package and of some of its extras."""
    lists = [PROJECT["dependencies"], *(PROJECT["optional-dependencies"][extra] for extra in extras)]
    return [Requirement(line) for lines in lists for line in lines]


def imported(folder: str) -> Iterator[tuple[str, str]]:
    """File and top-level name of each absolute import, wherever in a file it stands."""
    for file in sorted((ROOT / folder).rglob("*.py")):
        if "compat/folders" not in str(file):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                if isinstance(node, ast.ImportFrom) and node.level == 0:
                    names = [node.module or ""]
                yield from ((str(file), name.split(".")[0]) for name in names)


@pytest.mark.parametrize(
    ("folder", "extras"),
    [
        ("pipeline", ("lora", "deepspeed", "mlflow", "search", "export", "serve", "demo")),
        ("recipes", ()),
        ("scripts", ("dev",)),
        ("tests", ("dev", "lora", "mlflow", "tools")),
    ],
)
def test_every_import_is_of_a_requirement(folder, extras):
    """Not of something that another requirement happens to bring today."""
    files = [file for own in ("scripts", "tests", folder) for file in (ROOT / own).rglob("*.py")]
    own = {"pipeline", "seqeval"} | {file.stem for file in files} | {file.parent.name for file in files}
    allowed = OPTIONAL | {canonicalize_name(requirement.name) for requirement in required(*extras)}
    for file, name in imported(folder):
        if name not in sys.stdlib_module_names and name not in own:
            package = PACKAGES.get(name, canonicalize_name(name))
            required_here = peer_pins(file) or allowed
            assert package in required_here, f"{file} imports {name}, which is not required there"


def peer_pins(file: str) -> set[str]:
    """What the environment of another library holds, if `file` runs in one."""
    library = re.fullmatch(r".*/benchmarks/peers/in_(\w+)\.py", file)
    pins = ROOT / f"scripts/benchmarks/peers/{library[1]}.txt" if library else None
    return {*filter(None, map(name_of, pins.read_text().splitlines()))} if pins and pins.is_file() else set()


def test_every_package_in_the_environments_of_other_libraries_is_pinned():
    for file in sorted((ROOT / "scripts/benchmarks/peers").glob("*.txt")):
        lines = file.read_text().splitlines()
        assert "--only-binary :all:" in lines
        assert all(re.fullmatch(r"[\w.-]+==[\w.]+", line) for line in lines if name_of(line)), file
        assert "setuptools" in map(name_of, lines)  # what the file names after --no-binary is built with it
        reasons = read_reasons(lines)
        assert all(reasons.values())
        assert {*reasons} <= {*map(name_of, lines)}


def test_every_package_that_make_setup_installs_is_pinned():
    """Except those that torch names by version itself, its CUDA libraries."""
    pinned = {name_of(line) for line in CONSTRAINTS.splitlines()}
    seen, waiting = set(), required("samples", "translation", "dev")
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        key = (name, *sorted(requirement.extras))
        applies = [{"extra": extra} for extra in ("", *requirement.extras)]
        if key in seen or name.startswith(("nvidia-", "cuda-", "triton")):
            continue
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        seen.add(key)
        assert name in pinned, f"{requirement} is installed, and constraints.txt does not name its version"
        for line in importlib.metadata.requires(name) or []:
            below = Requirement(line)
            if below.marker is None or any(below.marker.evaluate(environment) for environment in applies):
                below.marker = None
                waiting.append(below)
    assert len(seen) > 80


def test_the_lowest_versions_are_the_lower_bounds():
    """What is allowed has been tried: `scripts/try_pythons.py --min` installs these versions."""
    bounds = {
        canonicalize_name(requirement.name): Version(bound.version)
        for requirement in required("dev", "lora", "tensorboard")
        for bound in requirement.specifier
        if bound.operator == ">="
    }
    lines = filter(name_of, MINIMUM.splitlines())
    assert {name_of(line): Version(re.search(r"==([\w.]+)", line)[1]) for line in lines} == bounds


def test_the_lowest_versions_replace_the_newest_ones():
    found = lowest("# a\n--only-binary :all:\nnumpy==2.4.6\ntorch==2.13.0\n", "# b\nNumPy==2.2.0\n")
    assert found == "# a\n--only-binary :all:\ntorch==2.13.0\n# b\nNumPy==2.2.0\n"


def test_the_pythons_that_are_tried_are_those_that_the_package_names():
    named = [line.rpartition(" ")[2] for line in PROJECT["classifiers"] if "Python :: 3." in line]
    assert tuple(named) == PYTHONS
    assert PROJECT["requires-python"] == f">={PYTHONS[0]}"


def test_the_last_line_of_pytest_is_the_summary():
    log = "1 passed in 2.00s\n...\n= 2 failed, 30 passed, 4 skipped in 5.12s =\n"
    assert summary(log) == "2 failed, 30 passed, 4 skipped"
    assert summary("make: *** no rule") == "did not run"


def test_a_pin_without_a_wheel_is_named_unless_there_is_a_reason():
    lines = ["a==1", 'b==2; python_version >= "3.12"', "# c==3", "d==4 # why", "--no-binary d # it is small"]
    pins, reasons = read_pins(lines), read_reasons(lines)
    assert pins == {"a==1": PYTHONS, "b==2": ("3.12", "3.13"), "d==4": PYTHONS}
    wheels = {(pin, python): pin != "d==4" for pin in pins for python in pins[pin]}
    assert problems(pins, reasons, wheels) == []
    assert problems(pins, {}, wheels) == [
        "d==4: no wheel for Python 3.10, 3.11, 3.12, 3.13; pin another version, or give a reason"
    ]
    assert problems(pins, {"d": "", "e": "small"}, wheels) == [
        "--no-binary d: say why, in a comment",
        "--no-binary e: no version is pinned",
    ]
    del wheels["a==1", "3.11"]
    assert problems(pins, reasons, wheels) == [
        "a==1: not looked up for Python 3.11; run: python scripts/wheels.py --look-up"
    ]


def test_every_pin_has_a_wheel_or_a_reason():
    done = subprocess.run([sys.executable, "scripts/wheels.py"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_pip_builds_nothing_that_the_constraints_do_not_name(tmp_path):
    """pip reads the options in a constraints file, of which its documentation says nothing."""
    with tarfile.open(tmp_path / "unheard-of-1.0.tar.gz", "w:gz") as archive:
        content = b"raise SystemExit('built')"
        entry = tarfile.TarInfo("unheard-of-1.0/setup.py")
        entry.size = len(content)
        archive.addfile(entry, BytesIO(content))
    pip = [sys.executable, "-m", "pip", "--isolated", "--disable-pip-version-check", "install", "--dry-run"]
    index = ["--no-index", "--find-links", str(tmp_path), "--no-build-isolation", "--use-pep517"]
    for constraints, message in ((CONSTRAINTS, "No matching distribution found"), ("", "built")):
        (tmp_path / "constraints.txt").write_text(constraints)
        command = [*pip, *index, "--constraint", str(tmp_path / "constraints.txt"), "unheard-of"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert message in done.stderr + done.stdout


@pytest.mark.parametrize("folder", ["pipeline", "recipes", "tests"])
def test_no_class_variable_is_annotated_without_its_type(folder):
    """transformers resolves the annotations of models, and Python 3.10 refuses a bare ClassVar there."""
    for file in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            bare = isinstance(node, ast.AnnAssign) and ast.unparse(node.annotation).endswith("ClassVar")
            assert not bare or "compat/folders" in str(file), f"{file}:{node.lineno}: ClassVar has no type"
