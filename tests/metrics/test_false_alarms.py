"""The tests find differences between equal systems about as often as they should: `scripts/false_alarms.py`, shortened.

The rates in docs/compare.md come from more pairs. With 200, a rate of 5 % has a standard deviation of 1.5 points.
"""

from __future__ import annotations

import importlib.util
import sys

import pytest
from conftest import ROOT

from pipeline.metrics import comparison

SIMULATIONS = 200
# A p-value is then a multiple of 1/200, and of those of a perfect test 4.5 % are below 0.05.
RESAMPLES = 199


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("false_alarms", ROOT / "scripts/false_alarms.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


@pytest.mark.parametrize(
    ("line", "test"),
    [
        ("accuracy, 100 rows", "McNemar mid-p"),
        ("macro F1, 100 rows", comparison.RANDOMIZATION),
        ("loss, 100 rows", comparison.BOOTSTRAP),
        ("accuracy, 3 seeds, spread 0.5, 100 rows", comparison.SEEDS_AND_ROWS),
    ],
)
def test_equal_systems_differ_in_about_five_of_a_hundred_pairs(script, line, test):
    (design,) = [design for design in script.designs() if design.name == line]
    shares = script.measure(design, SIMULATIONS, RESAMPLES)
    assert 0.01 <= shares[test] <= 0.1
    assert 0.9 <= shares["interval of the difference holds 0"] <= 0.99
    assert 0.90 <= shares["interval of the score holds it"] <= 0.995


def test_rows_of_these_runs_alone_say_nothing_of_other_seeds(script):
    (design,) = [design for design in script.designs() if design.name == "accuracy, 3 seeds, spread 0.5, 853 rows"]
    assert script.measure(design, 30, RESAMPLES)["rows of these runs alone"] > 0.4
