"""The benchmark script starts, and its first lines name all that it measures."""

from __future__ import annotations

import re
import runpy
import sys

from conftest import ROOT


def test_the_script_names_everything_that_it_measures(monkeypatch):
    monkeypatch.setattr(sys, "path", [str(ROOT / "scripts"), *sys.path])
    script = runpy.run_path(str(ROOT / "scripts/benchmark.py"))
    named = re.findall(r"^    python scripts/benchmark\.py (\w+)  +# ", script["__doc__"], re.M)
    assert named == list(script["MEASURES"])
    told = (ROOT / "README.md").read_text()
    assert f"python scripts/benchmark.py {' | '.join(named)}" in told
