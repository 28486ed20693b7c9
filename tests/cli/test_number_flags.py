"""Numbers on the command line: within their ranges, and finite, or refused."""

import dataclasses
import importlib
import typing

import pytest

from pipeline.cli.main import COMMANDS
from pipeline.cli.predict import Search
from pipeline.errors import UserError

# Commands that take settings of a recipe, and have no flag of their own with a fraction.
OF_RECIPES = {"run", "fetch", "doctor"}
FRACTIONS = {
    "predict": ["length-penalty"],
    "serve": ["timeout", "batch-wait"],
    "search": ["seconds"],
}


def hints(command):
    module = importlib.import_module(f"pipeline.cli.{command}")
    described = getattr(module, f"_{command}", None) or module.Options
    return typing.get_type_hints(described, include_extras=True)


def is_fraction(hint):
    return hint is float or any(is_fraction(part) for part in typing.get_args(hint))


def is_group(hint):
    return isinstance(hint, type) and dataclasses.is_dataclass(hint)


def fractions(found):
    """Names of the flags with fractions among annotations, those in groups of flags included."""
    for name, hint in found.items():
        group = next((part for part in (hint, *typing.get_args(hint)) if is_group(part)), None)
        if group:
            yield from fractions(typing.get_type_hints(group, include_extras=True))
        elif is_fraction(hint):
            yield name.replace("_", "-")


def refusal(command, arguments, capsys):
    try:
        importlib.import_module(f"pipeline.cli.{command}").command(arguments)
    except UserError as error:
        return str(error)
    except SystemExit:  # the parser has built a group of flags, and prints why it was refused
        return capsys.readouterr().err
    return None


@pytest.mark.parametrize("command", sorted(set(COMMANDS) - OF_RECIPES))
def test_every_flag_with_a_fraction_is_tried_below(command):
    assert list(fractions(hints(command))) == FRACTIONS.get(command, [])


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "1e999"])
@pytest.mark.parametrize(("command", "flag"), [(name, flag) for name, flags in FRACTIONS.items() for flag in flags])
def test_a_flag_with_a_fraction_must_be_a_finite_number(command, flag, value, capsys):
    own = ["--trials", "1"] if command == "search" else []
    found = refusal(command, ["runs/none", *own, f"--{flag}={value}"], capsys)
    assert f"{float(value)} is not a number" in found
    assert flag in found.replace("_", "-")


@pytest.mark.parametrize(
    ("command", "arguments", "message"),
    [
        ("predict", ["--length-penalty", "1000"], "length-penalty: 1000.0 is out of range; it must be <= 10.0"),
        ("predict", ["--length-penalty", "-11"], "length-penalty: -11.0 is out of range; it must be >= -10.0"),
        ("predict", ["--n-best", "0"], "n-best: 0 is out of range; it must be >= 1"),
        ("predict", ["--beams", "0"], "beams: 0 is out of range; it must be >= 1"),
        ("predict", ["--generate", "0"], "generate: 0 is out of range; it must be >= 1"),
        ("evaluate", ["--data", "x.csv", "--batch-size", "0"], "batch-size: 0 is out of range; it must be >= 1"),
        ("evaluate", ["--data", "x.csv", "--cache", "0"], "cache: 0 is out of range; it must be >= 1"),
        ("serve", ["--port", "70000"], "port: 70000 is out of range; it must be <= 65535"),
        ("demo", ["--port", "70000"], "port: 70000 is out of range; it must be <= 65535"),
        ("demo", ["--port", "-1"], "port: -1 is out of range; it must be >= 0"),
        ("predict", ["--input", ""], "input: it is empty; give a value, or leave the setting out"),
    ],
)
def test_a_flag_out_of_its_range_is_refused_by_its_name(command, arguments, message, capsys):
    assert refusal(command, ["runs/none", *arguments], capsys) == message


def test_a_length_penalty_of_zero_is_passed_on():
    assert Search(beams=2, length_penalty=0.0).options() == {"beams": 2, "length_penalty": 0.0}
