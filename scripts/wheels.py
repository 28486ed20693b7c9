"""Which pinned versions have a wheel. What has none is built with tools that its own files choose, and fails with them.

    python scripts/wheels.py            # part of make check; offline: the wheels of a version are looked up only once
    python scripts/wheels.py --look-up  # asks the package index about new pins, and adds the answers to wheels.tsv

The pins are those of constraints.txt and constraints-min.txt. Every one needs a wheel for each Python that its marker
leaves (on Linux, x86-64, where wheels.tsv was written), or a line `--no-binary NAME # reason` in constraints.txt. pip
follows these lines, too: it builds what they name, and takes nothing but wheels otherwise.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import tyro
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
FILES = (ROOT / "constraints.txt", ROOT / "constraints-min.txt")
RECORD = ROOT / "scripts/wheels.tsv"
PYTHONS = ("3.10", "3.11", "3.12", "3.13")
ANSWERS = {True: "wheel", False: "source", None: "-"}

Pins = dict[str, tuple[str, ...]]
"""name==version -> versions of Python that it is for."""
Wheels = dict[tuple[str, str], bool]
"""name==version, version of Python -> whether there is a wheel."""


@dataclass(frozen=True)
class Options:
    """Name each pinned version that has no wheel and no reason."""

    look_up: bool = False
    """Ask the package index about pins that are not in wheels.tsv."""


def name_of(line: str) -> str | None:
    """The package that a line of a constraints file pins, in the index's spelling; none in a comment or an option."""
    text = line.partition(" #")[0].strip()
    return canonicalize_name(Requirement(text).name) if text and not text.startswith(("#", "-")) else None


def read_pins(lines: Iterable[str]) -> Pins:
    """The pins in the lines of constraints files, by their names in the index's spelling."""
    found: Pins = {}
    for line in lines:
        if own_name := name_of(line):
            pin = Requirement(line.partition(" #")[0])
            name, marker = f"{own_name}{pin.specifier}", pin.marker
            own = [python for python in PYTHONS if not marker or marker.evaluate({"python_version": python})]
            found[name] = tuple(python for python in PYTHONS if python in (*found.get(name, ()), *own))
    return found


def read_reasons(lines: Iterable[str]) -> dict[str, str]:
    """The packages that may be built, and the reason for each; it is empty if none is given."""
    found = (re.fullmatch(r"--no-binary\s+([\w.-]+)(?:\s+#\s*(.*))?", line.strip()) for line in lines)
    return {canonicalize_name(match[1]): match[2] or "" for match in found if match}


def problems(pins: Pins, reasons: dict[str, str], wheels: Wheels) -> list[str]:
    """A line for each pin that has no wheel and is not built for a reason, or that was not looked up."""
    names = {pin.partition("==")[0] for pin in pins}
    found = [f"--no-binary {name}: say why, in a comment" for name, reason in reasons.items() if not reason]
    found += [f"--no-binary {name}: no version is pinned" for name in reasons if name not in names]
    for pin, pythons in pins.items():
        if new := [python for python in pythons if (pin, python) not in wheels]:
            found.append(f"{pin}: not looked up for Python {', '.join(new)}; run: python scripts/wheels.py --look-up")
        missing = [python for python in pythons if wheels.get((pin, python)) is False]
        if missing and pin.partition("==")[0] not in reasons:
            found.append(f"{pin}: no wheel for Python {', '.join(missing)}; pin another version, or give a reason")
    return found


def look_up(pins: Pins, reasons: Iterable[str], known: Wheels) -> Wheels:
    """The answers about all pins: those that are known, and those of the index about the others.

    It is asked for what is built apart from the rest, since every miss costs another question about the same pins.
    """
    answers = {key: known[key] for key in ((pin, python) for pin in pins for python in pins[pin]) if key in known}
    for python in PYTHONS:
        new = [pin for pin in pins if python in pins[pin] and (pin, python) not in known]
        built = {pin for pin in new if pin.partition("==")[0] in reasons}
        newest = {pin.partition("==")[0]: pin for pin in new if pin not in built}.values()
        # pip takes one version of a package at a time.
        for batch in (built, {*newest}, {*new} - built - {*newest}):
            missing = without_wheel(batch, python)
            answers |= {(pin, python): pin not in missing for pin in batch}
    return answers


def without_wheel(pins: set[str], python: str) -> set[str]:
    """Those of the pins for which pip finds no wheel. It stops at the first, so it is asked again without that one.

    Raises:
        RuntimeError: pip fails for another reason. Without network it finds no wheel of pip itself either.
    """
    missing: set[str] = set()
    while rest := sorted(pins - missing):
        with tempfile.TemporaryDirectory() as folder:
            flags = ["--quiet", "--dry-run", "--no-deps", "--ignore-installed", "--only-binary", ":all:"]
            command = [sys.executable, "-m", "pip", "install", *flags, "--python-version", python, "--target", folder]
            done = subprocess.run([*command, "pip", *rest], capture_output=True, text=True, check=False)
        if done.returncode == 0:
            break
        found = re.search(r"No matching distribution found for (\S+)", done.stderr)
        if found is None or found[1] not in rest:
            raise RuntimeError(done.stderr)
        missing.add(found[1])
    return missing


def read_record() -> Wheels:
    header, *rows = [line.split("\t") for line in RECORD.read_text().splitlines()]
    cells = [(row[0], python, cell) for row in rows for python, cell in zip(header[1:], row[1:], strict=True)]
    return {(pin, python): cell == ANSWERS[True] for pin, python, cell in cells if cell != ANSWERS[None]}


def write_record(wheels: Wheels) -> None:
    """One row per pin, one column per Python."""
    pins = sorted({pin for pin, _ in wheels})
    rows = [[pin, *(ANSWERS[wheels.get((pin, python))] for python in PYTHONS)] for pin in pins]
    RECORD.write_text("".join("\t".join(row) + "\n" for row in [["pin", *PYTHONS], *rows]))


def main(options: Options) -> int:
    """Exit status: 1 if there are problems, which are printed."""
    lines = [line for file in FILES for line in file.read_text().splitlines()]
    pins, reasons, wheels = read_pins(lines), read_reasons(lines), read_record()
    if options.look_up:
        wheels = look_up(pins, reasons, wheels)
        write_record(wheels)
    found = problems(pins, reasons, wheels)
    for line in found:
        print(line, file=sys.stderr)
    print(f"{len(pins)} pinned versions; built from source: {', '.join(reasons)}")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Options)))
